"""`sgdb query sql`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import chain, islice
from typing import Annotated, Any

import typer

from sgdb.cli.options import FormatOption
from sgdb.cli.output import Format
from sgdb.cli.session import session
from sgdb.errors import UsageError

_SHOWN = 1000  # rows of a table, unless told otherwise: a table has to be complete before it can be drawn
_DIGITS = 300  # before the point; a double ends soon after


def sql(
    context: typer.Context,
    query: Annotated[
        str,
        typer.Argument(help="The query, or - to read it from stdin.", metavar="QUERY", show_default=False),
    ],
    limit: Annotated[
        int | None,
        typer.Option(
            help=f"The most rows to print; 0 for all. [default: {_SHOWN} of a table, else all]",
            metavar="N",
            min=0,
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds that the server may work on it; 0 for no limit.", metavar="SECONDS")
    ] = 60,
    format: FormatOption = Format.TABLE,
) -> None:
    """The answer to a query of your own, in SQL.

    One SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN, in a transaction that only reads. That keeps mistakes
    from doing harm; functions of the server that you may call are called. docs/analytics.md has examples,
    docs/reference/views.md the views and their columns. JSON and CSV are printed row by row as they come;
    in JSON a number with decimals is rounded to what a double holds, in CSV it is exact.
    """
    from sgdb.operations import sql as operations

    current = session(context)
    output = current.output
    is_table = format in (Format.TABLE, Format.MARKDOWN)
    most = (_SHOWN if is_table else 0) if limit is None else limit
    text = _read_stdin() if query == "-" else query
    options = operations.SqlOptions(text, most or None, timeout)
    with operations.sql(options, current.settings(), output.progress()) as result:
        rows = _begun(result.rows())
        if is_table:
            numbers = {column.name for column in result.columns if column.is_number}
            output.sheet(format, result.names, [_as_text(row) for row in rows], right=numbers)
        else:
            shape = _for_json if format is Format.JSON else _for_csv
            output.stream(format, result.names, (shape(row) for row in rows))
    if result.is_cut:
        output.message(f"cut after {most:,} rows; --limit 0 prints all, --format csv or json as they come")


def _begun(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same rows, the first of which has been fetched: a query that fails prints nothing."""
    first = list(islice(rows, 1))
    return chain(first, rows)


def _for_json(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _json_value(value) for name, value in row.items()}


def _json_value(value: Any) -> Any:
    """The value as JSON can hold it. A number with decimals stays one with decimals."""
    if isinstance(value, list):
        return [_json_value(one) for one in value]
    if not isinstance(value, Decimal):
        return value
    if value.adjusted() >= _DIGITS:
        return format(value, "f")
    exponent = value.as_tuple().exponent
    return float(value) if isinstance(exponent, int) and exponent < 0 else int(value)


def _for_csv(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: format(value, "f") if isinstance(value, Decimal) else _json_value(value)
        for name, value in row.items()
    }


def _as_text(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in row.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.dumps(_json_value(value), ensure_ascii=False)
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode() if sys.stdin else ""
    except UnicodeDecodeError as error:
        raise UsageError("what stdin gives is no text", hint="write the query in UTF-8") from error
