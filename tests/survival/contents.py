"""What a database holds, without anything that two ways to the same content may do differently: keys,
times, and the runs themselves."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, text

from tests.totals import untrue

_SET = "concat_ws('x', c.num_rows, c.num_cols, c.num_colors) || ' ' || b.base_seed"
_OF_SET = "JOIN benchmark_sets b ON b.id = g.benchmark_set_id JOIN game_configs c ON c.id = b.config_id"

# Every table with the columns that say something; rows of others are named by what they are, not by key.
_QUERIES = {
    "game_configs": """
        SELECT c.num_rows, c.num_cols, c.num_colors, c.name, c.metadata, f.path
        FROM game_configs c LEFT JOIN source_files f ON f.id = c.source_file_id""",
    "benchmark_sets": f"""
        SELECT {_SET}, b.name, b.num_games, b.description, f.path
        FROM benchmark_sets b JOIN game_configs c ON c.id = b.config_id
        LEFT JOIN source_files f ON f.id = b.source_file_id""",
    "games": f"""
        SELECT {_SET}, g.game_index, g.board_state::text, g.seed, g.metadata, f.path
        FROM games g {_OF_SET} LEFT JOIN source_files f ON f.id = g.source_file_id""",
    "bots": """
        SELECT o.name, o.bot_type, o.version, o.metadata, f.path
        FROM bots o LEFT JOIN source_files f ON f.id = o.source_file_id""",
    "game_results": f"""
        SELECT {_SET}, g.game_index, o.name, r.tiles_cleared, r.singles_remaining, r.moves_made, r.completed,
            r.execution_time_ms, r.metadata, f.path
        FROM game_results r JOIN games g ON g.id = r.game_id JOIN bots o ON o.id = r.bot_id {_OF_SET}
        LEFT JOIN source_files f ON f.id = r.source_file_id""",
    "source_files": f"""
        SELECT f.path, f.sha256, f.size_bytes, f.status, f.error, {_SET}, a.sha256, f.contents - 'of',
            f.counts #- '{{extended,benchmark_set_id}}', f.notes
        FROM source_files f LEFT JOIN benchmark_sets b ON b.id = f.benchmark_set_id
        LEFT JOIN game_configs c ON c.id = b.config_id LEFT JOIN archives a ON a.id = f.archive_id""",
    "archives": """
        SELECT a.sha256, a.size_bytes, a.compression, a.stored_bytes, count(k), md5(
            coalesce(string_agg(k.data, ''::bytea ORDER BY k.chunk_index), ''::bytea))
        FROM archives a LEFT JOIN archive_chunks k ON k.archive_id = a.id GROUP BY a.id""",
    "archive_chunks": "SELECT count(*) FROM archive_chunks",
    "game_histories": "SELECT count(*) FROM game_histories",
    "training_sessions": """
        SELECT s.uid, o.name, s.name, s.hyperparameters, s.start_time, s.end_time, s.status, s.metadata,
            f.path
        FROM training_sessions s JOIN bots o ON o.id = s.bot_id
        LEFT JOIN source_files f ON f.id = s.source_file_id""",
    "model_checkpoints": """
        SELECT s.uid, c.epoch, c.weights_sha256, c.optimizer_sha256, c.metrics, md5(c.metadata::text), f.path
        FROM model_checkpoints c JOIN training_sessions s ON s.id = c.training_session_id
        LEFT JOIN source_files f ON f.id = c.source_file_id""",
    "blobs": "SELECT sha256, size_bytes, data IS NULL FROM blobs",
}

_LONG = ("games", "game_results")  # told apart by a digest, the others line by line

Contents = dict[str, tuple[Any, ...]]


def contents(engine: Engine) -> Contents:
    """What each table says, all at the same moment."""
    found: Contents = {}
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        assert untrue(connection) == []
        for table, query in _QUERIES.items():
            line = 'q::text COLLATE "C"'
            if table in _LONG:
                said = f"count(*), md5(coalesce(string_agg(q::text, '; ' ORDER BY {line}), ''))"
            else:
                said = f"coalesce(array_agg(q::text ORDER BY {line}), '{{}}')"
            found[table] = tuple(connection.execute(text(f"SELECT {said} FROM ({query}) q")).one())
    return found
