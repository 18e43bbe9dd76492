"""Statements of accounts: read from the chain, written as JSON, CSV or camt.053."""

from clearing.statements import camt
from clearing.statements.contents import Payment, Told
from clearing.statements.documents import document
from clearing.statements.reading import (
    LINES,
    MOST_LINES,
    Line,
    Point,
    Statement,
    certain_until,
    point_before,
    read,
)
from clearing.statements.span import Period, Place, read_moment
from clearing.statements.tables import COLUMNS, table

__all__ = [
    "COLUMNS",
    "LINES",
    "MOST_LINES",
    "Line",
    "Payment",
    "Period",
    "Place",
    "Point",
    "Statement",
    "Told",
    "camt",
    "certain_until",
    "document",
    "point_before",
    "read",
    "read_moment",
    "table",
]
