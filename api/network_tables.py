"""Figures as they are sent: JSON, CSV, Parquet, all three with the same columns and cells."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from importlib import import_module
from typing import Any, Final

import orjson

from api.network_page import page
from clearing import chain
from clearing.network import Answer
from clearing.network.answers import Cell
from clearing.network.figures import FIGURES, PARAMETERS
from commons.errors import NotAcceptableError
from commons.money import CLEARING_SCALE


class Form(StrEnum):
    """In which form a figure is given."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    HTML = "html"


MEDIA_TYPES: Final = {
    Form.JSON: "application/json",
    Form.CSV: "text/csv",
    Form.PARQUET: "application/vnd.apache.parquet",
    Form.HTML: "text/html",
}
AS_SENT: Final = {
    **MEDIA_TYPES,
    Form.CSV: "text/csv; charset=utf-8; header=present",
    Form.HTML: "text/html; charset=utf-8",
}
PARQUET_MISSING: Final = (
    "Parquet is not given here: it wants pyarrow, which comes with localpay[parquet]"
)

_STEERING: Final = ("=", "+", "-", "@", "\t", "\r")
_DIGITS: Final = 38
_SCALES: Final = {"clearing units": CLEARING_SCALE, "share": 6, "days": 1}
"""The decimal places of units that have any."""


def written(answer: Answer, form: Form) -> bytes:
    """Return a figure in a form.

    Raises NotAcceptableError for Parquet where pyarrow is not installed.
    """
    if form is Form.JSON:
        return orjson.dumps(document(answer))
    if form is Form.CSV:
        return table(answer).encode()
    return parquet(answer) if form is Form.PARQUET else page(answer).encode()


def document(answer: Answer) -> dict[str, Any]:
    """Return a figure as JSON has it: rows by the names of their columns, decimals as strings."""
    names = [column.name for column in answer.columns]
    return {
        **head(answer),
        "columns": [
            {"name": column.name, "unit": column.unit, "meaning": column.meaning}
            for column in answer.columns
        ],
        "rows": [dict(zip(names, map(_plain, row), strict=True)) for row in answer.rows],
    }


def head(answer: Answer) -> dict[str, Any]:
    """Return what is told of a figure besides its table: what was asked, totals, what is kept."""
    asked, takes = answer.asked, PARAMETERS[FIGURES[answer.figure].span]
    said = {
        "union": asked.union_id,
        "at": chain.time_text(asked.end),
        "from": chain.time_text(asked.start),
        "to": chain.time_text(asked.end),
        "by": str(asked.by),
        "every": str(asked.every),
    }
    return {
        "figure": answer.figure,
        **{name: said[name] for name in takes},
        "totals": {name: _plain(value) for name, value in answer.totals.items()},
        "withheld": answer.withheld,
    }


def _plain(value: Cell) -> str | int | bool | None:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return chain.time_text(value) if isinstance(value, datetime) else value


def table(answer: Answer) -> str:
    """Return a header and a row for each row (RFC 4180); what there is none of is empty.

    A text that a spreadsheet would take for a formula is led by an apostrophe.
    """
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(column.name for column in answer.columns)
    writer.writerows([_in_csv(value) for value in row] for row in answer.rows)
    return written.getvalue()


def _in_csv(value: Cell) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(_STEERING):
        return f"'{value}"
    plain = _plain(value)
    return "" if plain is None else str(plain)


def parquet(answer: Answer) -> bytes:
    """Return a table of typed columns; what is told besides stands in the file's own metadata."""
    try:
        arrow, files = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        offered = [MEDIA_TYPES[form] for form in Form if form is not Form.PARQUET]
        raise NotAcceptableError(PARQUET_MISSING, offered=offered) from error
    cells = [[row[n] for row in answer.rows] for n in range(len(answer.columns))]
    fields = [
        arrow.field(
            column.name,
            _type(arrow, column.unit, values),
            metadata={"unit": column.unit, "meaning": column.meaning},
        )
        for column, values in zip(answer.columns, cells, strict=True)
    ]
    schema = arrow.schema(fields, metadata={"localpay": orjson.dumps(head(answer))})
    arrays = [arrow.array(values, type=one.type) for values, one in zip(cells, schema, strict=True)]
    file = io.BytesIO()
    files.write_table(arrow.Table.from_arrays(arrays, schema=schema), file)
    return file.getvalue()


def _type(arrow: Any, unit: str, values: Sequence[Cell]) -> Any:  # noqa: ANN401 (pyarrow has no types)
    """Return the type of a column, by its unit and what is in it."""
    some = next((value for value in values if value is not None), None)
    if isinstance(some, Decimal) or (some is None and unit in _SCALES):
        scale = _SCALES.get(unit) or max(_places(value) for value in values)
        return arrow.decimal128(_DIGITS, scale)
    if isinstance(some, bool):
        return arrow.bool_()
    if isinstance(some, int) or (some is None and unit == "number"):
        return arrow.int64()
    if isinstance(some, datetime) or (some is None and unit == "moment"):
        return arrow.timestamp("us", tz="UTC")
    return arrow.string()


def _places(value: Cell) -> int:
    return max(0, -int(value.as_tuple().exponent)) if isinstance(value, Decimal) else 0
