"""Reports of TimeOverflow: a time bank's offers or inquiries as CSV, under rows of categories.

The columns are id, title, tags, member and date, called by the words of the bank's language. The
member's name stands in them and is not read; a place does not, so the bank's is taken.
"""

import csv
import re
from collections.abc import Iterator
from typing import Final

from commons.errors import InvalidError, LocalPayError, MalformedError
from commons.fetch import Door
from crawler.sources import Batch, wording
from crawler.sources.csv_files import Dates, Refused, Row, read_files, read_rows, type_of
from crawler.vocabulary import Found
from marketplace.drafts import Draft, ListingType
from marketplace.payment import Payment, PaymentMeans
from marketplace.places import Precision

_COLUMNS: Final = 5
_ID: Final = re.compile(r"[0-9]{1,18}")
_NO_CATEGORY: Final = "-"


class TimeOverflow:
    """Reads the reports at an address, such as `https://bank/{offers,inquiries}.csv`."""

    async def read(self, door: Door, address: str, cursor: str | None) -> Batch:
        """Return what one file holds."""
        return await read_files(door, address, cursor, read_report)


def type_of_report(body: bytes, name: str) -> ListingType:
    """Return what a report holds, by its second heading or by its name; InvalidError if neither."""
    header, _ = _rows(body)
    return type_of(name, header[1], "file")


def read_report(
    body: bytes, address: str, listing_type: ListingType | None = None
) -> tuple[list[Found], list[Refused]]:
    """Return the offers or inquiries of a report, and which rows were refused, and why.

    Raises InvalidError and MalformedError where the file is no such report.
    """
    header, rows = _rows(body)
    listing_type = listing_type or type_of(address, header[1])
    found: dict[str, Found] = {}
    refused: list[Refused] = []
    category = ""
    for row in rows:
        uri = f"{address}#line-{row.line}"
        try:
            if len(row.cells) != _COLUMNS:
                raise InvalidError("row", f"must have {_COLUMNS} columns; is a quote not closed?")
            if not any(cell.strip() for at, cell in enumerate(row.cells) if at != 1):
                category = row.cells[1].strip().removeprefix(_NO_CATEGORY)
                continue
            draft = _draft(row.cells, listing_type, address, category)
            uri = draft.uri
            if uri in found:
                raise InvalidError("id", "must stand once in a file")
            found[uri] = wording.found(draft)
        except LocalPayError as error:
            refused.append((uri, f"line {row.line}: {error.detail}"))
    return list(found.values()), refused


def _rows(body: bytes) -> tuple[list[str], Iterator[Row]]:
    header, rows = read_rows(body)
    if len(header) != _COLUMNS or header[0] not in {"", "id"}:
        raise MalformedError("a report of TimeOverflow has five columns, the first without a name")
    return header, rows


def _draft(cells: list[str], listing_type: ListingType, address: str, category: str) -> Draft:
    number, title, tags, _, created = (cell.strip() for cell in cells)
    if not _ID.fullmatch(number):
        raise InvalidError("id", "must be a whole number")
    names = [
        category,
        *(tag.strip() for tag in next(csv.reader([tags], skipinitialspace=True), [])),
    ]
    return Draft(
        uri=f"{address}#{listing_type}-{number}",
        type=listing_type,
        title=title,
        author_uri=address,
        categories=tuple(dict.fromkeys(name for name in names if name)),
        precision=Precision.GROUP,
        payments=(Payment(PaymentMeans.TIME),),
        published=Dates([created]).read("created", created),
    )
