"""Boards for property tests: every shape up to 20x20, up to 12 colours, with and without gaps."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

Rows = list[list[int]]


def boards(longest: int = 20, *, gaps: bool = True) -> st.SearchStrategy[Rows]:
    """Boards of up to `longest` rows and columns. Some of their colours are no byte, or negative."""
    colors = st.integers(1, 12).flatmap(
        lambda count: st.one_of(
            st.just(list(range(1, count + 1))),
            st.lists(
                st.sampled_from([-3, 7, 9, 12, 255, 256, 10**20]), min_size=1, max_size=count, unique=True
            ),
        )
    )
    return st.builds(
        _board,
        st.integers(1, longest),
        st.integers(1, longest),
        colors,
        st.sampled_from([0, 0, 0, 0.1, 0.7]) if gaps else st.just(0),
        st.integers(0, 2**32),
    )


def _board(rows: int, cols: int, colors: list[int], gaps: float, seed: int) -> Rows:
    stream = Random(seed)
    return [
        [0 if stream.random() < gaps else stream.choice(colors) for _ in range(cols)] for _ in range(rows)
    ]
