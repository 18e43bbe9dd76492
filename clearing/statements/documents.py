"""A statement as JSON, with all that is needed to check it without the service."""

from typing import Any

from clearing import chain
from clearing.statements.reading import Line, Point, Statement
from commons.money import CLEARING_SCALE, format_amount


def document(statement: Statement) -> dict[str, Any]:
    """Return a statement as a JSON object: strings, versions as whole numbers, null.

    Amounts are decimal strings in clearing units, moments as they are chained.
    """
    period = statement.period
    return {
        "account": statement.account,
        "union": statement.union,
        "from": chain.time_text(period.start),
        "to": chain.time_text(period.end),
        "page": statement.page,
        "opening": _point(statement.opening),
        "lines": [_line(line) for line in statement.lines],
        "closing": _point(statement.closing),
        "next": statement.next_cursor,
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "version": point.version,
        "balance": format_amount(point.balance, CLEARING_SCALE),
        "head": point.head,
    }


def _line(line: Line) -> dict[str, Any]:
    told = line.told
    return {
        "version": line.point.version,
        "journal": line.journal,
        "kind": line.kind,
        "counterparty": line.counterparty,
        "amount": format_amount(line.amount, CLEARING_SCALE),
        "balance": format_amount(line.point.balance, CLEARING_SCALE),
        "time": chain.time_text(line.time),
        "value_date": line.value_date.isoformat(),
        "digest": line.digest,
        "hash": line.point.head,
        "content": told.content,
        "payment": None if told.payment is None else vars(told.payment),
        "note": told.note,
        "key": told.key,
    }
