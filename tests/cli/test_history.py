"""`sgdb query history`: moves for people and scripts, and games played back."""

from __future__ import annotations

import csv
import io
import json

import pytest

from sgdb.cli.output import Output, board_text
from tests.cli.conftest import Process


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_moves_in_every_format_and_frames(sgdb_process: Process) -> None:
    """JSON has board and moves, the others a row a move; --play draws the start and the board after each
    move, one below the other where there is no terminal."""
    run = ("benchmark", "run", "--config", "3x4x3", "--games", 1, "--bot", "RandomBot", "--record-moves")
    assert sgdb_process(*run).returncode == 0
    show = ("query", "history", "--set", 1, "--game", 0, "--bot", "RandomBot")
    document = json.loads(sgdb_process(*show, "--format", "json").stdout)
    moves = document["moves"]
    assert moves
    rows = list(csv.DictReader(sgdb_process(*show, "--format", "csv").stdout.splitlines()))
    assert [[int(row["row"]), int(row["col"])] for row in rows] == moves
    assert len(sgdb_process(*show).stdout.splitlines()) == 2 + len(moves)
    played = sgdb_process(*show, "--play", "--delay", 60)
    assert (played.returncode, played.stderr, "\x1b" in played.stdout) == (0, "", False)
    lines = [line.rstrip() for line in played.stdout.splitlines()]
    assert lines[0] == f"RandomBot, game 0: 12 tiles, {len(moves)} moves"
    assert lines[1:4] == ["  " + " ".join(map(str, row)) for row in document["board"]]
    assert sum(line.startswith("RandomBot, game 0: move ") for line in lines) == len(moves)
    done = sgdb_process(*show, "--play", "--format", "json")
    assert (done.returncode, done.stdout) == (2, "")
    done = sgdb_process(*show[:-1], "LargestGroupBot")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("colors", [True, False])
def test_a_terminal_draws_in_place(colors: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each board over the one before, the cell of the next click marked; without colours under NO_COLOR."""
    monkeypatch.setenv("TERM", "xterm-256color")
    if not colors:
        monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    boards = [board_text([[1, 2], [1, 0]], (0, 0)), board_text([[2, 0], [0, 0]])]
    Output(terminal, terminal).frames(boards, 0)
    said = terminal.getvalue()
    assert "\x1b[1A" in said or "\x1b[2A" in said or "\x1b[A" in said  # up again
    assert ("\x1b[7;31m1" in said) == colors
    assert ("\x1b[7m1" in said) != colors
    assert said.count(".") >= 1 + 3  # both boards, the last one perhaps once more
