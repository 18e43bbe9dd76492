"""A hub's own book of transfers, as a file: read strictly, each error by its row and column."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from fractions import Fraction
from io import StringIO
from typing import Any, Final
from uuid import UUID

from clearing.transfers import TransferState, Unit
from commons.errors import InvalidError, MalformedError
from commons.json_reading import read_json
from commons.money import parse_amount, parse_rate

COLUMNS: Final = (
    "id",
    "direction",
    "payer",
    "payee",
    "amount",
    "unit",
    "currency",
    "payer_amount",
    "payee_amount",
    "state",
    "rate",
    "payer_rate",
    "payee_rate",
    "date",
)
AMOUNTS: Final = ("amount", "payer_amount", "payee_amount")
RATES: Final = ("rate", "payer_rate", "payee_rate")
MEMBER: Final = "transfers"
CELL_MAX_CHARS: Final = 200
_VALUES_MAX: Final = 400_000
_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PARTY: Final = re.compile(r"[a-z0-9-]{1,40}(/[^/\s\x00-\x1f\x7f]{1,100})?")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_OTHER_ENCODINGS: Final = (b"\xff\xfe", b"\xfe\xff")


class Direction(StrEnum):
    """Which way the money goes, as a hub sees it."""

    OUT = "out"
    IN = "in"


@dataclass(frozen=True)
class BookRow:
    """One transfer in a hub's book; None where the book does not say.

    `number` counts from 1, without a header. `amounts` and `rates` are by column, as written. The
    row's day lasts from `begins` to before `ends`.
    """

    number: int
    id: UUID
    direction: Direction | None
    payer: str | None
    payee: str | None
    amounts: Mapping[str, str]
    unit: Unit | None
    currency: str | None
    state: TransferState | None
    rates: Mapping[str, str]
    begins: datetime | None
    ends: datetime | None

    def invalid(self, column: str, rule: str) -> InvalidError:
        """Return the error that names this row and a column of it."""
        return _invalid(self.number, column, rule)


def read_book(content: bytes, *, is_json: bool, rows_max: int | None = None) -> list[BookRow]:
    """Return the rows of a book: CSV as `read_csv` takes it, or JSON with a list `transfers`.

    InvalidError names the first row and column that break a rule; its `field` is such as
    `transfers.7.amount`, counted from 1. MalformedError where the file cannot be read at all.
    """
    records = _members(read_json(content, _VALUES_MAX)) if is_json else read_csv(content)
    if rows_max is not None and len(records) > rows_max:
        raise InvalidError(MEMBER, f"may hold at most {rows_max} rows; reconcile a shorter period")
    return read_rows(records)


def read_csv(content: bytes) -> list[dict[str, str]]:
    """Return the rows of a CSV file in UTF-8 with a header, separated by commas or semicolons."""
    text = _text(content)
    header = text.partition("\n")[0]
    delimiter = ";" if ";" in header and "," not in header else ","
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = _header(next(reader, []))
        return [
            dict(zip(names, _cells(names, cells, reader.line_num), strict=True))
            for cells in reader
            if cells
        ]
    except csv.Error as error:
        raise MalformedError(f"line {reader.line_num} is no CSV: {error}") from error


def read_rows(records: Iterable[Mapping[str, Any]]) -> list[BookRow]:
    """Return the rows of a book, whose cells are strings; None and empty ones say nothing."""
    rows: dict[UUID, BookRow] = {}
    for number, record in enumerate(records, 1):
        row = _Reader(number, record).row()
        if row.id in rows:
            raise row.invalid("id", f"stands in row {rows[row.id].number} too")
        rows[row.id] = row
    return list(rows.values())


def _members(document: object) -> list[dict[str, Any]]:
    """Return the objects of a JSON book."""
    found = document.get(MEMBER) if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(found, list):
        raise InvalidError(MEMBER, "must be there, as a list of objects")
    for name in document:
        if name != MEMBER:
            raise InvalidError(str(name)[:40], "is not known here, so it must not be there")
    for number, one in enumerate(found, 1):
        if not isinstance(one, dict):
            raise InvalidError(f"{MEMBER}.{number}", "must be an object", row=number)
    return found


def _text(content: bytes) -> str:
    if content.startswith(_OTHER_ENCODINGS):
        raise MalformedError("the file is in UTF-16; save it as CSV in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MalformedError(f"line {line} is not in UTF-8; save the file as UTF-8") from error
    if "\0" in text:
        raise MalformedError("the file holds NUL, so it is no text")
    return text


def _header(cells: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if "id" not in names or not set(names).intersection(AMOUNTS):  # it may be any file: not shown
        raise InvalidError(
            "header", f'must name "id" and an amount; known are {", ".join(COLUMNS)}'
        )
    for name in names:
        if name not in COLUMNS:
            raise InvalidError("header", f"names {name[:40]!r}; known are {', '.join(COLUMNS)}")
        if names.count(name) > 1:
            raise InvalidError("header", f"names {name!r} more than once")
    return names


def _cells(names: Sequence[str], cells: Sequence[str], line: int) -> list[str]:
    if len(cells) != len(names):
        rule = f"must have {len(names)} cells as the header has, not {len(cells)}"
        raise InvalidError(f"line {line}", rule, row=line)
    return [cell.strip() for cell in cells]


def _invalid(number: int, column: str, rule: str) -> InvalidError:
    return InvalidError(f"{MEMBER}.{number}.{column}", rule, row=number, column=column)


@dataclass(frozen=True)
class _Reader:
    """Reads one row."""

    number: int
    record: Mapping[str, Any]

    def row(self) -> BookRow:
        self._check_members()
        begins, ends = self._day()
        row = BookRow(
            number=self.number,
            id=self._id(),
            direction=self._word("direction", Direction),
            payer=self._party("payer"),
            payee=self._party("payee"),
            amounts=self._numbers(AMOUNTS),
            unit=self._word("unit", Unit),
            currency=self._said("currency"),
            state=self._word("state", TransferState),
            rates=self._numbers(RATES),
            begins=begins,
            ends=ends,
        )
        if not row.amounts:
            raise row.invalid("amount", "must be there")
        return row

    def _check_members(self) -> None:
        for name, value in self.record.items():
            if name not in COLUMNS:
                rule = "is not known here, so it must not be there"
                raise _invalid(self.number, name[:40], rule)
            if value is not None and not isinstance(value, str):
                raise _invalid(self.number, name, "must be a string")
            if value is not None and len(value) > CELL_MAX_CHARS:
                raise _invalid(self.number, name, f"may have at most {CELL_MAX_CHARS} characters")

    def _said(self, column: str) -> str | None:
        return self.record.get(column) or None

    def _id(self) -> UUID:
        text = self._said("id") or ""
        if _ID.fullmatch(text) is None:
            raise _invalid(self.number, "id", "must be a UUID")
        return UUID(text)

    def _party(self, column: str) -> str | None:
        text = self._said(column)
        if text is not None and _PARTY.fullmatch(text) is None:
            raise _invalid(self.number, column, 'must be "group" or "group/member"')
        return text

    def _word(self, column: str, words: type[StrEnum]) -> Any:  # noqa: ANN401 (one of `words`)
        text = self._said(column)
        if text is None:
            return None
        try:
            return words(text)
        except ValueError as error:
            rule = f"must be one of {', '.join(words)}"
            raise _invalid(self.number, column, rule) from error

    def _numbers(self, columns: Sequence[str]) -> dict[str, str]:
        found = {}
        for column in columns:
            text = self._said(column)
            if text is not None:
                self._check_number(column, text)
                found[column] = text
        return found

    def _check_number(self, column: str, text: str) -> None:
        try:
            if column in AMOUNTS:
                exact(text)
            else:
                parse_rate(text)
        except InvalidError as error:
            raise _invalid(self.number, column, error.rule) from error

    def _day(self) -> tuple[datetime | None, datetime | None]:
        text = self._said("date")
        if text is None:
            return None, None
        try:
            if _DAY.fullmatch(text):
                begins = datetime.combine(date.fromisoformat(text), time(), UTC)
                return begins, begins + timedelta(days=1)
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is not None:
                begins = moment.astimezone(UTC)
                return begins, begins + timedelta(microseconds=1)
        except (ValueError, OverflowError) as error:
            raise _invalid(self.number, "date", _DATE_RULE) from error
        raise _invalid(self.number, "date", _DATE_RULE)


_DATE_RULE: Final = "must be a day such as 2026-11-20, or a moment with its zone"


def exact(text: str) -> Fraction:
    """Read an amount of whatever currency, exactly; InvalidError as `parse_amount` raises it."""
    places = len(text.partition(".")[2])
    return Fraction(parse_amount(text, places), 10**places)
