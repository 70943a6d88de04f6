-- The functions and triggers that keep result_totals and game_totals, for the schema that comes first in the
-- search path when this is run: each function keeps that path. Running it again does no harm.
--
-- All triggers work on whole statements, with deltas, and touch the lines in the order of their keys.
-- Dynamic SQL, since a plan that was made and kept for one row would be a bad one for a million.

-- For a row whose game is neither there nor noted (see sgdb_had_results): rather no row than a wrong total.
-- Somebody has stored results on a game that another was just deleting; the second attempt sees them.
CREATE OR REPLACE FUNCTION sgdb_unknown_set(game bigint, operation text) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $function$
BEGIN
    RAISE EXCEPTION 'cannot tell the set of game %, whose results are to be counted', game
    USING ERRCODE = CASE operation WHEN 'DELETE' THEN 'serialization_failure' ELSE 'foreign_key_violation' END;
END
$function$;

-- Rather no change than a wrong total, where rows that others have committed meanwhile belong to the change and
-- cannot be seen.
CREATE OR REPLACE FUNCTION sgdb_require_sight(change text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $function$
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION '%: only in a transaction that is READ COMMITTED, since the totals could go wrong', change
        USING ERRCODE = 'feature_not_supported', HINT = 'BEGIN ISOLATION LEVEL READ COMMITTED';
    END IF;
END
$function$;

-- Adds what a statement did to game_results, or what a move of games to another set means for them.
CREATE OR REPLACE FUNCTION sgdb_keep_result_totals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $function$
DECLARE
    changed boolean;
    departing boolean := false;
    columns text := 'bot_id, tiles_cleared, singles_remaining, moves_made, completed';
    set_of_game text := 'game.benchmark_set_id';
    changes text;
    empty_sets integer[];
    empty_bots integer[];
    below_zero boolean;
BEGIN
    IF TG_TABLE_NAME = 'games' THEN
        changed := EXISTS (
            SELECT FROM removed JOIN added USING (id)
            WHERE removed.benchmark_set_id <> added.benchmark_set_id
        );
    ELSIF TG_OP = 'DELETE' THEN
        changed := EXISTS (SELECT FROM removed);
    ELSE
        changed := EXISTS (SELECT FROM added);
    END IF;
    IF NOT changed THEN
        RETURN NULL;
    END IF;

    IF TG_TABLE_NAME = 'games' THEN
        PERFORM sgdb_require_sight('games go to another set');
        -- Who is changing one of these results has looked at its old set, or waits here and looks at the new one.
        EXECUTE
            'SELECT FROM game_results WHERE game_id IN (
                SELECT id FROM removed JOIN added USING (id)
                WHERE removed.benchmark_set_id <> added.benchmark_set_id
            ) ORDER BY id FOR SHARE';
        changes := format(
            'SELECT sign, benchmark_set_id, %s FROM (
                SELECT removed.id, unnest(ARRAY[-1, 1]) AS sign,
                    unnest(ARRAY[removed.benchmark_set_id, added.benchmark_set_id]) AS benchmark_set_id
                FROM removed JOIN added USING (id)
                WHERE removed.benchmark_set_id <> added.benchmark_set_id
            ) AS move JOIN game_results ON game_id = move.id', columns);
    ELSE
        IF TG_OP <> 'INSERT' THEN
            departing := EXISTS (SELECT FROM departing_games);
        END IF;
        IF departing THEN
            set_of_game := 'coalesce(game.benchmark_set_id, (
                SELECT gone.benchmark_set_id FROM departing_games AS gone WHERE gone.game_id = result.game_id))';
        END IF;
        changes := CASE TG_OP
            WHEN 'INSERT' THEN 'SELECT 1 AS sign, game_id, %1$s FROM added'
            WHEN 'DELETE' THEN 'SELECT -1 AS sign, game_id, %1$s FROM removed'
            ELSE 'SELECT -1 AS sign, game_id, %1$s FROM removed UNION ALL SELECT 1, game_id, %1$s FROM added'
        END;
        changes := format(
            'SELECT sign, coalesce(%2$s, sgdb_unknown_set(game_id, %3$L)) AS benchmark_set_id, %1$s
            FROM (' || changes || ') AS result LEFT JOIN games AS game ON game.id = game_id',
            columns, set_of_game, TG_OP);
    END IF;

    EXECUTE format(
        'WITH line AS (
            INSERT INTO result_totals AS total (
                benchmark_set_id, bot_id, results, completed, tiles_cleared_sum, tiles_cleared_square_sum,
                singles_remaining_sum, moves_made_sum, revision
            )
            SELECT benchmark_set_id, bot_id, sum(sign), coalesce(sum(sign) FILTER (WHERE completed), 0),
                sum(sign * tiles_cleared::bigint), sum(sign * tiles_cleared::bigint * tiles_cleared),
                sum(sign * singles_remaining::bigint), sum(sign * moves_made::bigint), gen_random_uuid()
            FROM (%s) AS change
            GROUP BY benchmark_set_id, bot_id ORDER BY benchmark_set_id, bot_id
            ON CONFLICT (benchmark_set_id, bot_id) DO UPDATE SET
                results = total.results + excluded.results,
                completed = total.completed + excluded.completed,
                tiles_cleared_sum = total.tiles_cleared_sum + excluded.tiles_cleared_sum,
                tiles_cleared_square_sum = total.tiles_cleared_square_sum + excluded.tiles_cleared_square_sum,
                singles_remaining_sum = total.singles_remaining_sum + excluded.singles_remaining_sum,
                moves_made_sum = total.moves_made_sum + excluded.moves_made_sum,
                revision = excluded.revision
            RETURNING benchmark_set_id, bot_id, results
        )
        SELECT array_agg(benchmark_set_id) FILTER (WHERE results = 0),
            array_agg(bot_id) FILTER (WHERE results = 0), bool_or(results < 0)
        FROM line', changes
    ) INTO empty_sets, empty_bots, below_zero;
    IF below_zero AND current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION 'the games of these results have gone to another set since the transaction began'
        USING ERRCODE = 'serialization_failure';
    END IF;
    IF empty_sets IS NOT NULL THEN
        DELETE FROM result_totals AS total
        USING unnest(empty_sets, empty_bots) AS line (benchmark_set_id, bot_id)
        WHERE total.benchmark_set_id = line.benchmark_set_id AND total.bot_id = line.bot_id;
    END IF;
    IF departing AND TG_OP = 'DELETE' THEN
        -- Of a statement that deletes results and games, the games' other results are still to go.
        DELETE FROM departing_games AS gone USING removed
        WHERE gone.game_id = removed.game_id
        AND NOT EXISTS (SELECT FROM game_results AS left_over WHERE left_over.game_id = gone.game_id);
    END IF;
    RETURN NULL;
END
$function$;

-- Adds what a statement did to games.
CREATE OR REPLACE FUNCTION sgdb_keep_game_totals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $function$
DECLARE
    changed boolean;
    empty_sets integer[];
BEGIN
    IF TG_OP = 'DELETE' THEN
        changed := EXISTS (SELECT FROM removed);
    ELSE
        changed := EXISTS (SELECT FROM added);
    END IF;
    IF NOT changed THEN
        RETURN NULL;
    END IF;
    EXECUTE format(
        'WITH line AS (
            INSERT INTO game_totals AS total (benchmark_set_id, games, revision)
            SELECT benchmark_set_id, sum(sign), gen_random_uuid() FROM (%s) AS change
            GROUP BY benchmark_set_id ORDER BY benchmark_set_id
            ON CONFLICT (benchmark_set_id) DO UPDATE SET
                games = total.games + excluded.games, revision = excluded.revision
            RETURNING benchmark_set_id, games
        )
        SELECT array_agg(benchmark_set_id) FROM line WHERE games = 0',
        CASE TG_OP
            WHEN 'INSERT' THEN 'SELECT 1 AS sign, benchmark_set_id FROM added'
            WHEN 'DELETE' THEN 'SELECT -1 AS sign, benchmark_set_id FROM removed'
            ELSE 'SELECT -1 AS sign, benchmark_set_id FROM removed
                UNION ALL SELECT 1, benchmark_set_id FROM added'
        END
    ) INTO empty_sets;
    IF empty_sets IS NOT NULL THEN
        DELETE FROM game_totals WHERE benchmark_set_id = ANY (empty_sets);
    END IF;
    RETURN NULL;
END
$function$;

-- When the results of a deleted game are counted out, the game is gone, and with it the name of its set. So
-- the set of each game that takes results with it is noted before. STABLE: asked is the moment at which the
-- statement began, so that results count which it has deleted itself by now. The body is bound to the table
-- when it is made, and needs no search path.
CREATE OR REPLACE FUNCTION sgdb_had_results(game bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER
RETURN EXISTS (SELECT FROM game_results WHERE game_id = game);

CREATE OR REPLACE FUNCTION sgdb_note_departure() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $function$
BEGIN
    INSERT INTO departing_games (game_id, benchmark_set_id) VALUES (OLD.id, OLD.benchmark_set_id)
    ON CONFLICT (game_id) DO UPDATE SET benchmark_set_id = excluded.benchmark_set_id;
    RETURN OLD;
END
$function$;

CREATE OR REPLACE FUNCTION sgdb_empty_totals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $function$
BEGIN
    PERFORM sgdb_require_sight(format('TRUNCATE %I', TG_TABLE_NAME));
    IF TG_TABLE_NAME = 'games' THEN
        DELETE FROM game_totals;
    ELSE
        DELETE FROM result_totals;
    END IF;
    RETURN NULL;
END
$function$;

-- Whoever could attach them to a table of his own could write what he likes into the totals.
REVOKE EXECUTE ON FUNCTION
    sgdb_keep_result_totals(), sgdb_keep_game_totals(), sgdb_note_departure(), sgdb_empty_totals()
FROM PUBLIC;
-- Asked in the name of whoever deletes a game.
GRANT EXECUTE ON FUNCTION sgdb_had_results(bigint) TO PUBLIC;

CREATE OR REPLACE TRIGGER sgdb_results_inserted AFTER INSERT ON game_results
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION sgdb_keep_result_totals();
CREATE OR REPLACE TRIGGER sgdb_results_updated AFTER UPDATE ON game_results
    REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION sgdb_keep_result_totals();
CREATE OR REPLACE TRIGGER sgdb_results_deleted AFTER DELETE ON game_results
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION sgdb_keep_result_totals();
CREATE OR REPLACE TRIGGER sgdb_results_truncated AFTER TRUNCATE ON game_results
    FOR EACH STATEMENT EXECUTE FUNCTION sgdb_empty_totals();

CREATE OR REPLACE TRIGGER sgdb_games_inserted AFTER INSERT ON games
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION sgdb_keep_game_totals();
CREATE OR REPLACE TRIGGER sgdb_games_updated AFTER UPDATE ON games
    REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION sgdb_keep_game_totals();
CREATE OR REPLACE TRIGGER sgdb_games_deleted AFTER DELETE ON games
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION sgdb_keep_game_totals();
CREATE OR REPLACE TRIGGER sgdb_games_truncated AFTER TRUNCATE ON games
    FOR EACH STATEMENT EXECUTE FUNCTION sgdb_empty_totals();
CREATE OR REPLACE TRIGGER sgdb_games_moved AFTER UPDATE ON games
    REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION sgdb_keep_result_totals();
CREATE OR REPLACE TRIGGER sgdb_game_departs BEFORE DELETE ON games
    FOR EACH ROW WHEN (sgdb_had_results(OLD.id))
    EXECUTE FUNCTION sgdb_note_departure();
