"""A statement as CSV, for spreadsheets; it cannot be checked offline, for which there is JSON."""

import csv
from dataclasses import asdict
from io import StringIO
from typing import Final

from clearing import chain
from clearing.statements.reading import Line, Point, Statement
from commons.money import CLEARING_SCALE, format_amount

_OF_PAYMENTS: Final = (
    "payer",
    "payee",
    "description",
    "payer_amount",
    "payer_currency",
    "payee_amount",
    "payee_currency",
    "payer_rate",
    "payee_rate",
    "levy",
    "reverses",
)
COLUMNS: Final = (
    "version",
    "time",
    "value_date",
    "kind",
    "journal",
    "counterparty",
    "amount",
    "balance",
    *_OF_PAYMENTS,
    "note",
    "digest",
    "hash",
)
_STEERING: Final = ("=", "+", "-", "@", "\t", "\r")
_TEXTS: Final = frozenset({"payer", "payee", "description", "note", "counterparty"})


def table(statement: Statement) -> str:
    """Return a header, a row for the opening, one a line, and one for the closing (RFC 4180).

    A text that a spreadsheet would take for a formula is led by an apostrophe.
    """
    written = StringIO()
    writer = csv.DictWriter(written, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    period = statement.period
    writer.writerow(_end("opening", chain.time_text(period.start), statement.opening))
    for line in statement.lines:
        row = _row(line)
        writer.writerow({name: _harmless(value, name) for name, value in row.items()})
    writer.writerow(_end("closing", chain.time_text(period.end), statement.closing))
    return written.getvalue()


def _end(kind: str, time: str, point: Point) -> dict[str, str]:
    balance = format_amount(point.balance, CLEARING_SCALE)
    version = str(point.version)
    return {"kind": kind, "time": time, "version": version, "balance": balance, "hash": point.head}


def _row(line: Line) -> dict[str, str]:
    told = {} if line.told.payment is None else asdict(line.told.payment)
    return {
        "version": str(line.point.version),
        "time": chain.time_text(line.time),
        "value_date": line.value_date.isoformat(),
        "kind": line.kind,
        "journal": line.journal,
        "counterparty": line.counterparty,
        "amount": format_amount(line.amount, CLEARING_SCALE),
        "balance": format_amount(line.point.balance, CLEARING_SCALE),
        "note": line.told.note or "",
        "digest": line.digest,
        "hash": line.point.head,
        **{name: value or "" for name, value in told.items()},
    }


def _harmless(value: str, column: str) -> str:
    return f"'{value}" if column in _TEXTS and value.startswith(_STEERING) else value
