"""The journal keeps what is owed until it is paid, whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sgdb.database.compare import Difference
from sgdb.errors import FileAccessError
from sgdb.records import GameConfig
from sgdb.storage.journal import Debt, Journal, Pair

PAIR = Pair(GameConfig(5, 7, 3), -42, "/data/ü \udcff.pkl", "me@db:5432/games")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A journal's folder, which does not exist yet."""
    return tmp_path / "journal"


def test_looking_makes_nothing(folder: Path) -> None:
    """An empty journal has no folder."""
    journal = Journal(folder)
    assert (journal.debts(), journal.mismatches(), journal.owes(PAIR)) == ([], [], False)
    with journal.claim(PAIR) as debts:
        assert debts == []
    journal.record(PAIR, [])
    journal.record_all(PAIR, [])
    assert not folder.exists()


def test_a_settled_note_leaves_nothing(folder: Path) -> None:
    """Neither the note nor its lock stays."""
    journal = Journal(folder)
    with journal.note(Debt(PAIR, "database")) as note:
        assert journal.owes(PAIR)
        note.settle()
    assert not journal.owes(PAIR)
    assert list((folder / "debts").iterdir()) == []


def test_a_note_at_work_is_no_debt_and_cannot_be_claimed(folder: Path) -> None:
    """Until its call is over, however it ends."""
    journal = Journal(folder)
    debt = Debt(PAIR, "database", replace=("a", "b"))
    with pytest.raises(KeyError), journal.note(debt):
        assert Journal(folder).debts() == []
        with Journal(folder).claim(PAIR) as claimed:
            assert claimed == []
        raise KeyError
    assert Journal(folder).debts() == [debt]
    assert Journal(folder).owes(PAIR)


def test_an_outage_leaves_one_note(folder: Path) -> None:
    """What one side lacks is put together: since the first call, for the reason of the last."""
    journal = Journal(folder)
    for since, bots in (("2026-02-01", ("b",)), ("2026-01-01", ("a", "b")), ("2026-03-01", ())):
        with journal.note(Debt(PAIR, "pickle", since=since, replace=bots)) as note:
            note.owe("database", f"away at {since}")
    (debt,) = journal.debts()
    assert (debt.lacks, debt.saves, debt.replace) == ("database", 3, ("a", "b"))
    assert (debt.since, debt.reason) == ("2026-01-01", "away at 2026-03-01")
    assert len(list((folder / "debts").glob("*.json"))) == 1


def test_a_note_stays_for_itself_while_the_debt_is_being_paid(folder: Path) -> None:
    """What comes in meanwhile is not removed with what is paid."""
    journal = Journal(folder)
    with journal.note(Debt(PAIR, "database")):
        pass
    with journal.claim(PAIR) as claimed, Journal(folder).note(Debt(PAIR, "database", since="2027")):
        assert len(claimed) == 1
    assert [debt.since for debt in journal.debts()] == ["2027"]


def test_both_sides_may_owe(folder: Path) -> None:
    """Oldest first."""
    journal = Journal(folder)
    for lacks, since in (("pickle", "2026-02-01"), ("database", "2026-01-01")):
        with journal.note(Debt(PAIR, lacks, since=since)):
            pass
    assert [debt.lacks for debt in journal.debts()] == ["database", "pickle"]


def test_a_claim_that_fails_keeps_the_debts(folder: Path) -> None:
    """Only one that ends well removes them, and only those of its own pair."""
    journal = Journal(folder)
    other = replace(PAIR, database="another")
    for pair in (PAIR, other):
        with journal.note(Debt(pair, "database")):
            pass
    with pytest.raises(KeyError), journal.claim(PAIR) as claimed:
        assert len(claimed) == 1
        with journal.claim(PAIR) as twice:
            assert twice == []
        raise KeyError
    assert len(journal.debts()) == 2
    with journal.claim(PAIR):
        pass
    assert [debt.pair for debt in journal.debts()] == [other]


def test_the_note_of_a_killed_process_is_a_debt(folder: Path) -> None:
    """Its lock dies with it."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom sgdb.storage.journal import *\n"
        "with Journal(Path(sys.argv[1])).note(Debt(Pair(GameConfig(5, 7, 3), 1, 'p', 'd'), 'database')):\n"
        "    print('at work', flush=True)\n    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"at work\n"
    assert Journal(folder).debts() == []
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (debt,) = Journal(folder).debts()
    assert debt.reason == "the call did not come to its end"


def test_mismatches_are_kept_field_by_field(folder: Path) -> None:
    """What is found again is brought up to date, what a whole comparison does not find is gone."""
    journal = Journal(folder)
    moves = Difference(3, "A", "moves_made", 5, 6)
    journal.record(PAIR, [moves, Difference(None, None, "num_games", 5, None)])
    journal.record(PAIR, [moves._replace(database=7), Difference(3, None, "board[0][1]", 1, 2)])
    assert [found.difference for found in journal.mismatches()] == [
        moves._replace(database=7),
        Difference(None, None, "num_games", 5, None),
        Difference(3, None, "board[0][1]", 1, 2),
    ]
    journal.record_all(PAIR, [moves])
    assert [(found.pair, found.difference) for found in journal.mismatches()] == [(PAIR, moves)]
    journal.record_all(PAIR, [])
    assert journal.mismatches() == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"format": 2}', b'{"format": 1}', b"\xff"])
def test_a_damaged_note_is_named(folder: Path, content: bytes) -> None:
    """It is never taken for nothing."""
    journal = Journal(folder)
    with journal.note(Debt(PAIR, "database")):
        pass
    (path,) = (folder / "debts").glob("*.json")
    path.write_bytes(content)
    with pytest.raises(FileAccessError, match="debts"):
        journal.debts()
    assert path.read_bytes() == content


def test_a_journal_that_is_no_folder(folder: Path) -> None:
    """The operating system's refusal is an error of sgdb."""
    folder.write_bytes(b"")
    for ask in (Journal(folder).debts, Journal(folder).mismatches):
        with pytest.raises(FileAccessError, match="cannot look into"):
            ask()
