"""Whole games on bits: what the built-in bots do on a board, many times faster than cell by cell.

A board is one integer. Every cell has a field of `step` bits, one for each colour, and at most one of them is
set. The first cell, row by row from the top, has the highest field; after each row comes a field that stays
empty. So in bits

    up is << pitch, down is >> pitch, left is << step, right is >> step

for all colours at once, and nothing runs from one row into the next. Bits of different colours never meet
in such a shift: a tile's neighbours of its own colour are the same bit of the neighbouring fields. And of two
groups the one whose first cell comes first is the larger integer, so that groups in descending order are the
bots' candidates in theirs.

After a click only those groups are looked for anew that the difference between the two boards touches.
A group keeps its cells as long as none of them changes its colour and no tile of its colour comes next to
it, whatever else has moved.

Fields of three bits are octal digits, of four bits hexadecimal ones, and of eight bits bytes. This is how a
board becomes the text that RandomBot's choice depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from sgdb.game.bots import drawer
from sgdb.game.rules import settle

MAX_BITS = 5100
"""Wider boards are refused, because tables grow with the square: 20x20 cells of 12 colours still fit."""

_ONE_HOT = bytes.maketrans(bytes(range(6)), b"01248g")  # digits of base 16 or less, or of base 32
_ONE_HOT_BYTES = bytes.maketrans(bytes(range(9)), bytes([0, 1, 2, 4, 8, 16, 32, 64, 128]))
# And back; what stands for the field between two rows becomes a blank.
_COLORS = {
    3: bytes.maketrans(b"01247", b"0123 "),
    4: bytes.maketrans(b"01248f", b"01234 "),
    8: bytes.maketrans(bytes([0, 1, 2, 4, 8, 16, 32, 64, 128, 255]), b"012345678 "),
}


class Shape(NamedTuple):
    """What follows from the size of a board. Lists are indexed by the length of an integer in bits, so
    that the highest bit of a group leads to the entry of its first cell."""

    rows: int
    cols: int
    step: int
    pitch: int
    cell: list[tuple[int, int]]  # (row, col)
    bit: list[int]  # that bit alone
    near: list[int]  # the same colour in the four neighbours
    guards: int  # the fields before the rows, set
    template: bytes  # the text of a board: see `_template`
    after: Callable[[int, int, int], tuple[int, int]]  # see `_after`


class Start(NamedTuple):
    """A board as bits: its shape, the bits, how many columns have tiles, and the colours as text by the
    hexadecimal digits of their fields, where `reader` cannot tell otherwise."""

    shape: Shape
    bits: int
    width: int
    names: dict[str, str]


class End(NamedTuple):
    """How a game ended: tiles at the start, tiles and single cells (empty ones included) at the end,
    clicks."""

    before: int
    left: int
    singles: int
    made: int


Choice = tuple[int, int, int]
"""The group that is clicked, the bits that this leads to, and how many columns have tiles then."""
Chooser = Callable[[int, int, list[int]], Choice]
"""Chooses on a board (bits, width, groups) that has groups."""


@lru_cache(maxsize=16)
def shape_of(rows: int, cols: int, step: int) -> Shape:
    """The tables for boards of this size with fields of `step` bits."""
    pitch = step * (cols + 1)

    def field(row: int, col: int) -> int:
        return pitch * (rows - 1 - row) + step * (cols - 1 - col)

    length = field(0, 0) + step + 1
    full = (1 << step) - 1
    cell, near, above = [(0, 0)] * length, [0] * length, [0] * length
    for row in range(rows):
        for col in range(cols):
            around = ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1))
            marks = sum(1 << field(r, c) for r, c in around if 0 <= r < rows and 0 <= c < cols)
            higher = sum(full << field(r, col) for r in range(row))
            for color in range(step):
                at = field(row, col) + color + 1
                cell[at], near[at], above[at] = (row, col), marks << color, higher
    feet = [full << field(rows - 1, col) for col in range(cols)]
    column = sum(1 << pitch * row for row in range(rows))
    right = [sum(feet[col + 1 :]) * column for col in range(cols)]
    bit = [0, *(1 << at for at in range(length - 1))]
    return Shape(
        rows=rows,
        cols=cols,
        step=step,
        pitch=pitch,
        cell=cell,
        bit=bit,
        near=near,
        guards=sum(full << pitch * row + step * cols for row in range(rows)),
        template=_template(rows, cols),
        after=_after(step, pitch, bit, above, feet, right),
    )


def _template(rows: int, cols: int) -> bytes:
    """The text of a board of colours of one digit, stretched so that a field is every third character from
    the third on: the NULs have to go. The field between two rows is the blank between them."""
    row = b"0, " * (cols - 1) + b"0],"
    return b"[[" + (row + b" [\0") * (rows - 1) + row[:-1] + b"]"


def _after(
    step: int, pitch: int, bit: list[int], above: list[int], feet: list[int], right: list[int]
) -> Callable[[int, int, int], tuple[int, int]]:
    """The function that takes a group away. A closure, because it is called more often than anything.

    `above` is indexed like the lists of `Shape` and has all fields of the column above the cell; by column,
    `feet` has its field in the lowest row, and `right` all fields of the columns to its right.
    """
    bottom = sum(feet)

    def after(bits: int, width: int, group: int) -> tuple[int, int]:
        """The bits without this group, everything fallen and closed up, and how many columns have tiles;
        `width` is how many had."""
        bits ^= group
        while group:  # from the top, so that what is above a gap has fallen already
            at = group.bit_length()
            group ^= bit[at]
            if falling := bits & above[at]:
                bits ^= falling ^ falling >> pitch
        standing = (bits & bottom).bit_count()
        if standing != width:
            for col in range(width - 1, -1, -1):
                if not bits & feet[col]:
                    moving = bits & right[col]
                    bits ^= moving ^ moving << step
        return bits, standing

    return after


def encode(board: Sequence[Sequence[int]], *, readable: bool = False) -> Start | None:
    """The settled board as bits, or None where it has no tile or is too large.

    `readable` makes fields that `reader` can read. Raises ValueError for rows of unequal length.
    """
    rows = len(board)
    cols = len(board[0]) if rows else 0
    if not cols or rows * (cols + 1) > MAX_BITS:
        return None
    try:
        flat = b"\0".join([bytes(row if type(row) is list else [*row]) for row in board])
    except ValueError:  # a colour that is no byte
        return _encode_any(settle(board), readable)
    width = cols
    if flat.count(0) != rows - 1:  # more empty cells than the separators
        board = settle(board)
        flat = b"\0".join(map(bytes, board))
        width = sum(map(bool, board[-1]))
    elif len(flat) != rows * (cols + 1) - 1 or any(flat[cols :: cols + 1]):
        raise ValueError("rows of unequal length")
    colors = max(flat)
    if colors > 8:
        return _encode_any(board, readable)
    step = _step(colors, readable)
    if not colors or rows * (cols + 1) * step > MAX_BITS:
        return None
    if step < 8:
        bits = int(flat.translate(_ONE_HOT), 1 << step)
    else:
        bits = int.from_bytes(flat.translate(_ONE_HOT_BYTES), "big")
    return Start(shape_of(rows, cols, step), bits, width, {})


def _step(colors: int, readable: bool) -> int:
    """How wide fields are for so many colours, up to 8."""
    if readable:
        return 8 if colors > 4 else max(colors, 3)
    return colors if colors <= 5 else 8


def _encode_any(settled: Sequence[Sequence[int]], readable: bool) -> Start | None:
    """Boards of many colours, or of unusual ones."""
    rows, cols = len(settled), len(settled[0])
    colors = sorted({value for row in settled for value in row if value})
    step = len(colors)
    if readable:
        step = -(-step // 4) * 4
    if not step or rows * (cols + 1) * step > MAX_BITS:
        return None
    field = {0: "0" * step} | {color: f"{1 << at:0{step}b}" for at, color in enumerate(colors)}
    text = field[0].join(["".join([field[value] for value in row]) for row in settled])
    names = {}
    if readable:
        names = {f"{int(field[color], 2):0{step // 4}x}": str(int(color)) for color in field}
    return Start(shape_of(rows, cols, step), int(text, 2), sum(map(bool, settled[-1])), names)


def reader(start: Start) -> Callable[[int], bytes | bytearray]:
    """A function that writes bits as Python writes a list of lists, for a board encoded as readable."""
    shape, names = start.shape, start.names
    rows, cols, step, guards, template = shape.rows, shape.cols, shape.step, shape.guards, shape.template
    size, colors, digits_of = rows * (cols + 1), _COLORS.get(step, b""), oct if step == 3 else hex

    def by_name(bits: int) -> bytes:
        width = step // 4
        digits = f"{bits:0{size * width}x}"
        cells = [names[digits[at : at + width]] for at in range(0, size * width, width)]
        lines = [", ".join(cells[at : at + cols]) for at in range(1, size, cols + 1)]
        return f"[[{'], ['.join(lines)}]]".encode("ascii")

    def by_digit(bits: int) -> bytearray:
        text = bytearray(template)
        text[2::3] = digits_of(bits | guards)[3:].encode("ascii").translate(colors)
        return text.translate(None, b"\0")

    def by_byte(bits: int) -> bytearray:
        text = bytearray(template)
        text[2::3] = (bits | guards).to_bytes(size, "big")[1:].translate(colors)
        return text.translate(None, b"\0")

    return by_name if names else by_byte if step == 8 else by_digit


def _groups(rest: int, near: list[int], bit: list[int]) -> list[int]:
    """The groups of tiles that each have a neighbour among them, in descending order."""
    found = []
    while rest:
        first = rest.bit_length()
        edge = near[first] & rest
        left = rest ^ edge ^ bit[first]
        while edge:
            at = edge.bit_length()
            edge ^= bit[at]
            if more := near[at] & left:
                left ^= more
                edge ^= more
        found.append(rest ^ left)
        rest = left
    return found


def _lone_empty(shape: Shape, bits: int) -> int:
    """How many empty cells have no empty neighbour: only a column that lacks one tile can have one."""
    rows, cols, step, pitch = shape[:4]
    top = bits >> pitch * (rows - 1)
    if not top and cols > 1:
        return 0
    full = (1 << step) - 1
    below = bits >> pitch * (rows - 2) if rows > 1 else -1
    taken = [True, *(bool(top >> at & full) for at in range(0, step * cols, step)), True]
    return sum(
        1
        for col in range(cols)
        if not taken[col + 1] and taken[col] and taken[col + 2] and below >> step * col & full
    )


def largest_group(start: Start) -> Chooser:
    """What LargestGroupBot clicks."""
    after = start.shape.after

    def choose(bits: int, width: int, groups: list[int]) -> Choice:
        group = max(groups, key=int.bit_count)
        then, standing = after(bits, width, group)
        return group, then, standing

    return choose


def fewest_singles(start: Start, *, count_empty: bool = False) -> Chooser:
    """What GreedySinglesBot clicks."""
    shape = start.shape
    step, pitch, after = shape.step, shape.pitch, shape.after

    def choose(bits: int, width: int, groups: list[int]) -> Choice:
        fewest = -1
        for group in groups:
            then, standing = after(bits, width, group)
            paired = then & (then << step | then >> step | then << pitch | then >> pitch)
            singles = then.bit_count() - paired.bit_count()
            if count_empty:
                singles += _lone_empty(shape, then)
            if singles < fewest or fewest < 0:
                fewest, choice = singles, (group, then, standing)
                if not singles:
                    break
        return choice

    return choose


def fewest_singles_and_gaps(start: Start) -> Chooser:
    """What GreedySinglesBot clicked when it counted empty cells."""
    return fewest_singles(start, count_empty=True)


def chance(start: Start) -> Chooser:
    """What RandomBot clicks. The board has to be readable."""
    after = start.shape.after
    text, draw = reader(start), drawer()

    def choose(bits: int, width: int, groups: list[int]) -> Choice:
        count = len(groups)
        group = groups[draw(text(bits), count) if count > 1 else 0]
        then, standing = after(bits, width, group)
        return group, then, standing

    return choose


def run(
    start: Start,
    player: Callable[[Start], Chooser],
    move_limit: int,
    moves: list[tuple[int, int]] | None,
) -> End:
    """Plays a board to the end. `moves`, where given, gets every click appended."""
    shape, bits, width, _ = start
    step, pitch, near, bit = shape.step, shape.pitch, shape.near, shape.bit
    choose = player(start)
    before = bits.bit_count()
    groups: list[int] = []
    changed = bits
    made = -1
    while True:
        touched = changed | changed << step | changed >> step | changed << pitch | changed >> pitch
        kept = [group for group in groups if not group & touched]
        rest = bits ^ sum(kept)
        if fresh := rest & (rest << step | rest >> step | rest << pitch | rest >> pitch):
            kept += _groups(fresh, near, bit)
            kept.sort(reverse=True)
        groups = kept
        made += 1
        if not groups or made >= move_limit:
            break
        group, after, width = choose(bits, width, groups)
        if moves is not None:
            moves.append(shape.cell[group.bit_length()])
        changed = bits ^ after
        bits = after
    left = bits.bit_count()
    singles = left - sum(map(int.bit_count, groups)) + _lone_empty(shape, bits)
    return End(before, left, singles, made)
