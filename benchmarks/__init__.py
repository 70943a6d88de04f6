"""How fast sgdb is, as ratios to the fastest that could be written by hand: `make bench`, `make bench-large`.

`measures/` has a file for each thing that is measured, to be read from top to bottom. What they share
stands beside it: `timing` and `memory` measure, `figures` and `report` say what came out, `machine` where;
`place` is the server they work on, `legacy_files` the data; `plain` and `raw` are the other side, a program
of the standard library and psycopg2 alone. `play` stands for itself.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
