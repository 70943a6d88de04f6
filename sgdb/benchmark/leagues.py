"""Which bots can be ranked against each other, and on which boards: only on those that all of them have
played.

Bots have rarely played the same boards, and one that has played few must not take the boards of all others
away. So there may be several leagues, and a bot can be in more than one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sgdb.records import GameConfig

Coverage = Mapping[GameConfig, Mapping[frozenset[str], int]]
"""For each config, how many boards have been played by exactly these bots."""


@dataclass(frozen=True, slots=True)
class League:
    """Bots, and how many boards of each config all of them have played."""

    bots: tuple[str, ...]
    boards: Mapping[GameConfig, int]

    @property
    def number(self) -> int:
        """All boards."""
        return sum(self.boards.values())


def boards_of(coverage: Coverage, bot: str) -> dict[GameConfig, int]:
    """How many boards of each config the bot has played."""
    return common_boards(coverage, {bot})


def common_boards(coverage: Coverage, bots: set[str] | frozenset[str]) -> dict[GameConfig, int]:
    """How many boards of each config all of these bots have played; configs without any are left out."""
    found = {
        config: sum(boards for players, boards in groups.items() if bots <= players)
        for config, groups in coverage.items()
    }
    return {config: boards for config, boards in found.items() if boards}


def leagues(coverage: Coverage, min_boards: int) -> list[League]:
    """The leagues, those of most configs first, then those of most boards.

    A bot covers the configs of which it has played at least `min_boards`. The bot that covers most, and is in
    no league yet, founds one on its configs. The others that cover them are asked in turn, those with most
    boards first: one comes in if the boards that all in the league have played remain at least `min_boards`
    in every config, and at least half of the founder's. So every bot that covers anything is in a league on
    all the configs that it covers, and no league is spoilt by a bot that has played little. What comes out
    does not depend on the order in which bots or boards are known.
    """
    bots = sorted({bot for groups in coverage.values() for players in groups for bot in players})
    played = {bot: boards_of(coverage, bot) for bot in bots}
    covered = {
        bot: frozenset(config for config, boards in played[bot].items() if boards >= min_boards)
        for bot in bots
    }
    founders = sorted(
        (bot for bot in bots if covered[bot]),
        key=lambda bot: (-len(covered[bot]), -sum(played[bot][config] for config in covered[bot]), bot),
    )
    found: list[League] = []
    for founder in founders:
        if any(founder in league.bots and covered[founder] == set(league.boards) for league in found):
            continue
        configs = covered[founder]
        candidates = sorted(
            (bot for bot in bots if bot != founder and covered[bot] >= configs),
            key=lambda bot: (-sum(played[bot][config] for config in configs), bot),
        )
        least = {config: max(min_boards, played[founder][config] / 2) for config in configs}
        found.append(_gathered(coverage, founder, candidates, least))
    found.sort(key=lambda league: (-len(league.boards), -league.number, league.bots))
    return found


def _gathered(
    coverage: Coverage, founder: str, candidates: list[str], least: Mapping[GameConfig, float]
) -> League:
    members = [founder]
    # Only the boards that all members have played matter for the next one.
    common = {
        config: [(players, boards) for players, boards in coverage[config].items() if founder in players]
        for config in least
    }
    for bot in candidates:
        narrower = {
            config: [(players, boards) for players, boards in groups if bot in players]
            for config, groups in common.items()
        }
        if all(sum(n for _, n in groups) >= least[config] for config, groups in narrower.items()):
            members.append(bot)
            common = narrower
    return League(
        tuple(sorted(members)),
        {config: sum(n for _, n in common[config]) for config in sorted(common)},
    )
