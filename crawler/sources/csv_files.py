"""Exports as CSV: where they are, their encodings, separators, rows and dates.

Nothing of a file is kept or told before its header has shown that it is no list of members.
"""

import asyncio
import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from commons.errors import InvalidError, MalformedError
from commons.fetch import Door
from crawler.sources import Batch
from crawler.terms import same_origin
from crawler.vocabulary import Found
from marketplace.drafts import ListingType

ACCEPT: Final = "text/csv, application/csv, text/tab-separated-values, text/plain"

_SEPARATORS: Final = (",", ";", "\t", "|")
_BYTE_ORDER_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_LONGEST_HEADER: Final = 10_000
_ALTERNATIVES: Final = re.compile(r"\{([^{},]*(?:,[^{},]*)+)\}")
_SECRET: Final = re.compile(
    r"pass[\s_-]*(?:word|wd|wort|phrase|code)|\bpass\b|\bpwd\b|passe\b|contrase|wachtwoord|kennwort"
    r"|\bsenha\b|\bclave\b|\bclau\b|\bpin\b"
)
_PERSONAL: Final = re.compile(r"e-?mail|phone|surname|(?:first|last)[\s_-]?name|birth")
_MEMBERS: Final = re.compile(r"(?<![a-z])members?(?![a-z])|pass(?:word|wd)", re.IGNORECASE)
_OFFERS: Final = re.compile(r"offer|oferta|offre|aanbod|angebot|eskaintza|عرض", re.IGNORECASE)
_WANTS: Final = re.compile(
    r"want|need|request|inquir|demand|vraag|gesuch|eskaera|طلب", re.IGNORECASE
)
_NO_DATE: Final = re.compile(r"0000-00-00.*|-|n/?a|never", re.IGNORECASE)
_NUMBERS: Final = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})(?:[ T](\d{1,2}:\d\d(?::\d\d)?))?")
_OFFSET: Final = re.compile(r"\s*(?:UTC|GMT|Z)$|\s+(?=[+-]\d\d:?\d\d$)")
_IN_WORDS: Final = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y")
_MONTHS: Final = 12

Refused = tuple[str, str]
Reader = Callable[[bytes, str], tuple[list[Found], list[Refused]]]
"""From a file's bytes and its address to what it holds, and what was refused with the reason."""


@dataclass(frozen=True)
class Row:
    """A row of a file and the line on which it ends."""

    line: int
    cells: list[str]


async def read_files(door: Door, address: str, cursor: str | None, read: Reader) -> Batch:
    """Return what one of an address's files holds; the cursor is the address of the next.

    Raises FetchError where it cannot be had, InvalidError and MalformedError where it is no such
    export; what is a list of members is not asked for, and if it comes all the same, forgotten.
    """
    files = expand(address)
    place = files.index(cursor) if cursor in files else 0
    refuse_members(files[place])
    text = await door.get_text(files[place], accept=ACCEPT)
    if not same_origin(text.url, files[place]):
        raise InvalidError("address", "must be answered by its own origin")
    try:
        found, refused = await asyncio.to_thread(read, text.body, files[place])
    except (InvalidError, MalformedError):
        door.forget(text.url, accept=ACCEPT)
        raise
    following = files[place + 1] if place + 1 < len(files) else None
    return Batch(tuple(found), tuple(refused), following)


def expand(address: str) -> tuple[str, ...]:
    """Return the addresses that one stands for: two for `…/{offers,wants}.csv`."""
    match = _ALTERNATIVES.search(address)
    if match is None:
        return (address,)
    return tuple(
        address[: match.start()] + one + address[match.end() :] for one in match[1].split(",")
    )


def file_of(address: str, listing_type: ListingType) -> str:
    """Return which of an address's files is that of a type; the address itself if none says so."""
    told = (one for one in expand(address) if _told(_name(one)) is listing_type)
    return next(told, expand(address)[0])


def refuse_members(address: str, field: str = "address") -> None:
    """Raise InvalidError where an address is by its name that of a list of members."""
    if _MEMBERS.search(_name(address)):
        raise InvalidError(field, "must not be that of the members, which is never read")


def type_of(address: str, heading: str = "", field: str = "address") -> ListingType:
    """Return what a file holds by its heading, else by its name; InvalidError if by neither."""
    told = _told(heading) or _told(_name(address))
    if told is None:
        raise InvalidError(field, "must say by its name whether it holds offers or wants")
    return told


def _told(words: str) -> ListingType | None:
    is_offers, is_wants = bool(_OFFERS.search(words)), bool(_WANTS.search(words))
    if is_offers is is_wants:
        return None
    return ListingType.OFFER if is_offers else ListingType.WANT


def _name(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.path.rstrip('/').rpartition('/')[2]}?{parts.query}"


def read_rows(body: bytes) -> tuple[list[str], Iterator[Row]]:
    """Return a file's header, names in small letters, and its rows, empty ones left out.

    Raises MalformedError where it is no CSV, and InvalidError where it is a list of members.
    """
    text = _decoded(body)
    separator = max(_SEPARATORS, key=lambda one: len(_header(text, one)))
    header = _header(text, separator)
    _refuse_personal(header)
    rows = _rows(text, separator)
    next(rows, None)
    return header, rows


def _decoded(body: bytes) -> str:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if body.startswith(mark)), "utf-8")
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise MalformedError("the file is neither in UTF-8 nor in Windows-1252") from error
    try:
        return body.decode("windows-1252")
    except UnicodeDecodeError as error:
        raise MalformedError("the file is neither in UTF-8 nor in Windows-1252") from error


def _header(text: str, separator: str) -> list[str]:
    first = next(_rows(text[:_LONGEST_HEADER], separator), Row(0, []))
    return [" ".join(unicodedata.normalize("NFC", cell).casefold().split()) for cell in first.cells]


def _rows(text: str, separator: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            cells = ["…"]  # a cell is too long to be read, so the row has too few columns
        if any(cell.strip() for cell in cells):
            yield Row(reader.line_num, cells)


def _refuse_personal(header: Sequence[str]) -> None:
    is_personal = any(map(_PERSONAL.search, header)) and "title" not in header
    if is_personal or any(map(_SECRET.search, header)):
        raise InvalidError("file", "must not be that of the members, which is never read")
    if not any(header):
        raise MalformedError("the file has no header")


class Dates:
    """The dates of one file, of which all have day and month in one order."""

    def __init__(self, written: Iterable[str]) -> None:
        numbers = [match for one in written if (match := _NUMBERS.fullmatch(one.strip()))]
        self._first = {
            is_day
            for match in numbers
            for is_day, other in ((True, match[1]), (False, match[3]))
            if int(other) > _MONTHS
        }

    def read(self, column: str, written: str) -> datetime | None:
        """Return a moment, UTC where no zone is told, None where there is none.

        Raises InvalidError where it is no date, or may be one of two.
        """
        written = written.strip()
        if not written or _NO_DATE.fullmatch(written):
            return None
        match = _NUMBERS.fullmatch(written)
        if match is not None:
            return self._of_numbers(column, match)
        try:
            read = datetime.fromisoformat(_OFFSET.sub(_offset, written))
        except ValueError:
            return _in_words(column, written)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)

    def _of_numbers(self, column: str, match: re.Match[str]) -> datetime:
        """Read `31/12/2026` and `12/31/2026`; with dots the day is always first."""
        is_day_first = self._first == {True} or match[2] == "."
        is_clear = is_day_first or self._first == {False} or match[1] == match[3]
        if not is_clear:
            raise InvalidError(column, "must be a date that can mean one day only: YYYY-MM-DD")
        day, month = (match[1], match[3]) if is_day_first else (match[3], match[1])
        return _in_words(column, f"{match[4]}-{month:0>2}-{day:0>2}")


def _offset(match: re.Match[str]) -> str:
    return "+00:00" if match.group().strip() else ""


def _in_words(column: str, written: str) -> datetime:
    for form in ("%Y-%m-%d", *_IN_WORDS):
        try:
            return datetime.strptime(written, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise InvalidError(column, "must be a date such as 2026-12-31")
