"""Rows out of a script, wherever the pieces of it are cut."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdb.database.copy_script import copy_blocks
from sgdb.errors import BackupError

SCRIPT = rb"""--
-- PostgreSQL database dump
--

\restrict abc

SET statement_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);

--
-- Data for Name: games; Type: TABLE DATA; Schema: public; Owner: x
--

COPY public.games (id, "odd "" name", seed) FROM stdin;
1	a\\.b	\N
2	\\.	COPY public.bots (id) FROM stdin;
3	\\	x
\.


COPY "a ""b.c"." d" ("x, y") FROM stdin;
\.


COPY bots (id) FROM stdin;
7
\.
SELECT pg_catalog.setval('public.games_id_seq', 110, true);
\unrestrict abc
"""
GAMES = rb"""1	a\\.b	\N
2	\\.	COPY public.bots (id) FROM stdin;
3	\\	x
"""
BLOCKS = [
    ("games", ("id", 'odd " name', "seed"), GAMES),
    (" d", ("x, y",), b""),
    ("bots", ("id",), b"7\n"),
]


def blocks(pieces: Iterator[bytes]) -> list[tuple[str, tuple[str, ...], bytes]]:
    return [(block.table, block.columns, b"".join(block.chunks)) for block in copy_blocks(pieces)]


@given(st.sets(st.integers(1, len(SCRIPT) - 1), max_size=40))
def test_wherever_it_is_cut(places: set[int]) -> None:
    """The same tables, columns and rows come out; nothing else of the script matters."""
    cuts = [0, *sorted(places), len(SCRIPT)]
    assert blocks(SCRIPT[start:stop] for start, stop in pairwise(cuts)) == BLOCKS


def test_byte_by_byte() -> None:
    """No chunk is empty, which COPY would take for the end."""
    pieces = (SCRIPT[at : at + 1] for at in range(len(SCRIPT)))
    for block in copy_blocks(pieces):
        assert all(block.chunks)


def test_rows_that_nobody_reads_are_passed_over() -> None:
    """All of them, or the rest."""
    found = []
    for block in copy_blocks(iter([SCRIPT])):
        found.append(block.table)
        next(block.chunks, None)
    assert found == ["games", " d", "bots"]


@pytest.mark.parametrize("length", [*range(SCRIPT.index(b"1\t"), SCRIPT.index(b"\n\\.\n") + 3)])
def test_rows_that_break_off(length: int) -> None:
    """Are never taken for all of them."""
    with pytest.raises(BackupError, match="breaks off"):
        blocks(iter([SCRIPT[:length]]))


@pytest.mark.parametrize(
    "script",
    [
        b"COPY public.games FROM stdin;\n",
        b"COPY games (id) FROM PROGRAM 'rm';\n",
        b"COPY games (id)",
        b"x" * (3 << 20),
    ],
)
def test_what_pg_restore_does_not_write(script: bytes) -> None:
    """Is refused, not guessed at."""
    with pytest.raises(BackupError):
        blocks(iter([script]))


def test_nothing_at_all() -> None:
    """No blocks."""
    assert blocks(iter([])) == []
