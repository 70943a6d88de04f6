"""Every strategy plays the same games with the same results, and says of each game what became of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from sgdb.benchmark import InProcess, ProcessPool, Strategy
from sgdb.benchmark.named_bots import checked_name, source_of
from sgdb.benchmark.reports import Failed, Played, Task, Terms
from sgdb.errors import BotError, NotFoundError, SgdbError, UsageError
from sgdb.game.boards import board_json, draw_board, game_seeds
from sgdb.game.bots import BUILT_IN
from sgdb.game.play import play
from sgdb.records import GameConfig
from tests.benchmark import bots
from tests.steps import until

CONFIG = GameConfig(4, 5, 4)
BOARDS = [draw_board(CONFIG, seed) for seed in islice(game_seeds(7), 24)]
TASKS = [Task(game_id, board_json(board)) for game_id, board in enumerate(BOARDS)]
ODD = [game_id for game_id, board in enumerate(BOARDS) if bots.chosen(board)]
MODULE = "tests.benchmark.bots"
NONSENSE = "the process that played it said what no process of ours says: the bot has meddled with it"
# A bad bot's own module, and what is said of the games that it fails.
REASONS = {
    "Raising": "the bot raised ValueError: odd",
    "Leaving": "the bot raised SystemExit: enough",
    "Nonsense": "bot 'Nonsense' answered (4, 0) on a board of 4x5 cells",
}


def outcomes(bot: object, terms: Terms) -> list[Played]:
    """What has to come out: the games played here and now."""
    found = []
    for game_id, board in enumerate(BOARDS):
        moves: list[tuple[int, int]] = []
        outcome = play(board, bot, move_limit=terms.move_limit, moves=moves)  # type: ignore[arg-type]
        found.append(Played(game_id, outcome, moves if terms.record_moves else None))
    return found


def check_strategy(strategy: Strategy) -> None:
    """What each strategy has to keep to; Ray's own file calls it, too."""
    assert 4 < len(ODD) < 20
    for terms in (Terms(record_moves=True), Terms(move_limit=3)):
        for bot in (*BUILT_IN, f"{MODULE}:First", f"{MODULE}:Spoiler", bots.First()):
            source = source_of(bot)
            name = strategy.introduce(source)
            plain = BUILT_IN[name]() if name in BUILT_IN else bots.First()
            assert sorted(strategy.play(source, iter(TASKS), terms)) == outcomes(plain, terms)
    good = outcomes(bots.First(), Terms())
    for name, reason in REASONS.items():
        reports = sorted(strategy.play(source_of(f"{MODULE}:{name}"), TASKS, Terms()))
        assert reports == [Failed(g, reason) if g in ODD else good[g] for g in range(len(TASKS))]
    broken = [
        Task(number, text) for number, text in enumerate(("[[1],[1,2]]", "{}", '[["a"]]', "[[", "[-1]"))
    ]
    for report, task in zip(
        sorted(strategy.play(source_of("GreedySinglesBot"), broken, Terms())), broken, strict=True
    ):
        assert report == Failed(task.game_id, f"what is stored as its board is none: {task.board!a}")
    for spec, kind, said in (
        ("LargestGroup", NotFoundError, "did you mean LargestGroupBot"),
        ("no_such_module.anywhere:Bot", NotFoundError, "no module 'no_such_module'"),
        (f"{MODULE}:NoBot", NotFoundError, "there is no NoBot in"),
        (f"{MODULE}:Needy", BotError, "missing 1 required positional argument: 'weights'"),
        (f"{MODULE}:Broken", BotError, "RuntimeError: no weights"),
        (f"{MODULE}:Nameless", BotError, "has a name"),
        (f"{MODULE}:Impostor", UsageError, "name of a built-in bot"),
        ("os:path; import", UsageError, "package.module:Class"),
    ):
        with pytest.raises(SgdbError) as caught:
            strategy.introduce(source_of(spec))
        assert type(caught.value) is kind
        assert said in f"{caught.value} {caught.value.hint}"


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    """Two processes, with little patience for bots that hang."""
    with ProcessPool(2, time_limit=0.5) as pool:
        yield pool


def test_in_this_process() -> None:
    """All that a strategy has to keep to."""
    check_strategy(InProcess())


def test_in_a_pool(pool: ProcessPool) -> None:
    """All that a strategy has to keep to."""
    check_strategy(pool)


@pytest.mark.parametrize(
    ("bot", "reason"),
    [
        ("Dying", "the process that played it ended with exit code 3"),
        ("Hanging", "the bot had not finished the game after 0.5 seconds"),
        ("Crashing", "the process that played it was killed by SIGSEGV"),
        ("Meddling", NONSENSE),
        ("Lying", NONSENSE),
    ],
)
def test_a_bot_that_dies_or_hangs_costs_its_own_games(pool: ProcessPool, bot: str, reason: str) -> None:
    """Exactly the games in which it does; those that its process had been given besides are played."""
    tasks = TASKS[: ODD[4]]
    reports = sorted(pool.play(source_of(f"{MODULE}:{bot}"), tasks, Terms()))
    good = outcomes(bots.First(), Terms())
    assert reports == [Failed(g, reason) if g in ODD else good[g] for g in range(len(tasks))]


def test_what_a_bot_leaves_behind_touches_no_other(pool: ProcessPool) -> None:
    """Copies of its process that play on, and processes that end later, say nothing of other bots' games."""
    good = outcomes(bots.First(), Terms())
    for name in ("Forking", "First", "DiesLater", "First"):
        reports = sorted(pool.play(source_of(f"{MODULE}:{name}"), TASKS, Terms()))
        if name == "DiesLater":
            assert all(report == good[report.game_id] for report in reports if isinstance(report, Played))
        else:
            assert reports == good


def test_a_bot_that_never_ends_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten times in a row its other games are not waited for; its children go with its processes."""
    children = tmp_path / "children"
    monkeypatch.setenv("USELESS_CHILDREN", str(children))
    with ProcessPool(4, time_limit=0.3) as pool:
        reports = sorted(pool.play(source_of(f"{MODULE}:Useless"), TASKS, Terms()))
    assert [report.game_id for report in reports] == list(range(len(TASKS)))
    said = [report.reason for report in reports if isinstance(report, Failed)]
    assert len(said) == len(TASKS)
    assert sum("had not finished" in reason and "not played" not in reason for reason in said) >= 10
    assert sum("not played: the bot has failed" in reason for reason in said) >= 5
    pids = [int(line) for line in children.read_text().split()]
    assert len(pids) >= 10
    until(lambda: not any(_is_alive(pid) for pid in pids))


def test_what_cannot_be_made_or_sent(pool: ProcessPool) -> None:
    """A bot whose making ends the process is refused, and so is one that cannot be packed or unpacked."""
    with pytest.raises(BotError, match=r"cannot be made.*exit code 5"):
        pool.introduce(source_of(f"{MODULE}:DiesWhenMade"))
    unsendable = bots.First()
    unsendable.lock = open(os.devnull)  # type: ignore[attr-defined]  # noqa: SIM115, PTH123
    with unsendable.lock, pytest.raises(UsageError, match="cannot be sent to another process"):  # type: ignore[attr-defined]
        pool.introduce(source_of(unsendable))
    local = type("Local", (bots.First,), {"__module__": "gone", "__reduce__": lambda _: (eval, ("nothing",))})
    with pytest.raises(BotError, match="cannot be unpacked in another process: NameError"):
        pool.introduce(source_of(local))
    assert pool.introduce(source_of(f"{MODULE}:First")) == "First"


def test_a_round_that_is_broken_off_leaves_nothing_at_work(pool: ProcessPool) -> None:
    """Closing the iterator ends what is being played; the next round begins anew."""
    reports = pool.play(source_of(f"{MODULE}:Slow"), TASKS, Terms())
    next(reports)
    reports.close()
    assert not any(player.pending for player in pool._players)
    assert len(list(pool.play(source_of("RandomBot"), TASKS, Terms()))) == len(TASKS)


class Sly(str):
    """A text that says of itself what it is not."""

    __slots__ = ()

    def __str__(self) -> str:
        return "RandomBot"

    def __len__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("worse", [SystemExit, GeneratorExit, ValueError])
def test_an_exception_cannot_end_the_program_by_its_text(worse: type[BaseException]) -> None:
    """What a bot raises costs its game, also where asking for the text raises; Ctrl-C comes through."""

    class Wordless(Exception):
        def __str__(self) -> str:
            raise worse

    class Raising(bots.First):
        def misbehave(self, board: object) -> None:
            raise Wordless

    reports = list(InProcess().play(source_of(Raising()), TASKS, Terms()))
    failed = [report for report in reports if isinstance(report, Failed)]
    said = f"the bot raised Wordless: (and {worse.__name__} when asked for its text)"
    assert failed == [Failed(game_id, said) for game_id in ODD]
    worse = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        list(InProcess().play(source_of(Raising()), TASKS, Terms()))


def test_a_name_is_what_it_consists_of() -> None:
    """A bot is filed under the name that was checked; what the name says of itself does not matter."""
    kind = type("Named", (bots.First,), {"name": Sly("First")})
    name = checked_name(kind(), "it")
    assert (type(name), name) == (str, "First")
    assert InProcess().introduce(source_of(kind())) == "First"
    for refused, error in ((Sly("RandomBot"), UsageError), (Sly("x" * 256), BotError), (7, BotError)):
        with pytest.raises(error):
            checked_name(type("Named", (bots.First,), {"name": refused})(), "it")


def test_a_bot_object_that_is_a_built_in_one_needs_not_travel() -> None:
    """It is known by name; a variant of it under the same name is refused."""
    from sgdb.game.bots import GreedySinglesBot

    assert source_of(GreedySinglesBot()) == source_of(GreedySinglesBot) == source_of("GreedySinglesBot")
    with pytest.raises(UsageError, match="name of a built-in bot"):
        source_of(GreedySinglesBot(count_empty=True))


def test_jobs_and_limits_that_make_no_sense() -> None:
    """They are refused before anything starts."""
    with pytest.raises(UsageError):
        ProcessPool(0)
    with pytest.raises(UsageError):
        ProcessPool(time_limit=0)


def _is_alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has waited for yet does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    except ProcessLookupError:
        return False
