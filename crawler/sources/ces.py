"""Exports of the Community Exchange System: OFFERS and WANTS as CSV, only what all may see."""

import hashlib
import unicodedata
from datetime import datetime
from typing import Final

from commons.errors import InvalidError, LocalPayError, MalformedError
from commons.fetch import Door
from crawler.sources import Batch, wording
from crawler.sources.csv_files import Dates, Refused, Row, read_files, read_rows, type_of
from crawler.vocabulary import Found
from marketplace.drafts import Draft, ListingType
from marketplace.payment import Payment, PaymentMeans
from marketplace.places import Precision

EVERYBODY: Final = "3"
"""The `scope` of what is shown to all exchanges; any other is for members of some."""

_NEEDED: Final = ("ces_uid", "title", "scope")
_DATES: Final = ("created", "changed", "expires")
_ID_DIGITS: Final = 16


class Ces:
    """Reads the exports at an address, such as `https://host/export/{OFFERS,WANTS}.csv`."""

    async def read(self, door: Door, address: str, cursor: str | None) -> Batch:
        """Return what one file holds."""
        return await read_files(door, address, cursor, read_export)


def read_export(
    body: bytes, address: str, listing_type: ListingType | None = None
) -> tuple[list[Found], list[Refused]]:
    """Return the offers or wants of an export, and which rows were refused, and why.

    Which of the two they are, the address says by its name where it is not told. Rows of another
    scope are passed over without a word of them. Raises InvalidError and
    MalformedError where the file is no such export.
    """
    header, public, _ = _rows(body)
    listing_type = listing_type or type_of(address)
    dates = Dates(
        cell
        for row in public
        for name, cell in zip(header, row.cells, strict=False)
        if name in _DATES
    )
    found: dict[str, Found] = {}
    refused: list[Refused] = []
    for row in public:
        uri = f"{address}#line-{row.line}"
        try:
            draft = _draft(_cells(header, row), listing_type, address, dates)
            uri = draft.uri
            if uri in found:
                raise InvalidError("title", "must be another than that of the same member above")
            found[uri] = wording.found(draft)
        except LocalPayError as error:
            refused.append((uri, f"line {row.line}: {error.detail}"))
    return list(found.values()), refused


def lines_not_public(body: bytes) -> tuple[int, ...]:
    """Return the lines of the rows that are passed over, since their scope is not everybody."""
    return tuple(row.line for row in _rows(body)[2])


def _rows(body: bytes) -> tuple[list[str], list[Row], list[Row]]:
    """Return an export's header, its rows for everybody, and all others."""
    header, rows = read_rows(body)
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        raise MalformedError(f"an export of CES has a column {missing[0]}")
    scope = header.index("scope")
    public: list[Row] = []
    hidden: list[Row] = []
    for row in rows:
        is_public = len(row.cells) <= scope or row.cells[scope].strip() == EVERYBODY
        (public if is_public else hidden).append(row)
    return header, public, hidden


def _cells(header: list[str], row: Row) -> dict[str, str]:
    if len(row.cells) != len(header):
        rule = f"must have {len(header)} columns, not {len(row.cells)}; is a quote not closed?"
        raise InvalidError("row", rule)
    return dict(zip(header, row.cells, strict=True))


def _draft(cells: dict[str, str], listing_type: ListingType, address: str, dates: Dates) -> Draft:
    moments: dict[str, datetime | None] = {
        name: dates.read(name, cells.get(name, "")) for name in _DATES
    }
    return Draft(
        uri=f"{address}#{listing_type}-{_id(cells['ces_uid'], cells['title'])}",
        type=listing_type,
        title=cells["title"],
        author_uri=address,
        body=cells.get("body", ""),
        categories=tuple(name for name in (cells.get("categories", "").strip(),) if name),
        precision=Precision.GROUP,
        payments=(Payment(PaymentMeans.GROUP_DEFAULT),),
        published=moments["created"],
        updated=moments["changed"],
        expires_at=moments["expires"],
    )


def _id(uid: str, title: str) -> str:
    """Return what a row is known by: it has no id, and the member's number is nobody's business."""
    told = " ".join(unicodedata.normalize("NFC", title).casefold().split())
    digest = hashlib.sha256(f"{uid.strip()}\n{told}".encode(errors="replace"))
    return digest.hexdigest()[:_ID_DIGITS]
