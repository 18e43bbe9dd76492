"""Statements over HTTP, as JSON, CSV or camt.053, and balances as of any moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, Field

from api.bodies import schema_of
from api.callers import Asker, Reader
from api.routes.accounts import UnionId, seen_account
from api.seals import seal_of
from api.services import Services, Shared
from clearing import statements
from clearing.accounts import Account
from clearing.statements import Period, Place, Point, Statement, read_moment
from clearing.verifying import documents
from commons.database import reading, transaction
from commons.errors import InvalidError, NotAcceptableError
from commons.groups import GROUP_ID_PATTERN
from commons.money import CLEARING_SCALE, format_amount

router = APIRouter(tags=["Clearing"])

JSON: Final = "application/json"
CSV: Final = "text/csv"
CSV_AS_SENT: Final = "text/csv; charset=utf-8; header=present"
OFFERED: Final = (JSON, CSV, statements.camt.MEDIA_TYPE)
_TEXT: Final = {"type": "string"}
POINT_EXAMPLE: Final = {"version": 6, "balance": "-8.0000", "head": "9d2e…"}
STATEMENT_EXAMPLE: Final[dict[str, Any]] = {
    "service": "https://clearing.example",
    "account": "leeds",
    "union": "main",
    "from": "2026-11-01T00:00:00.000000Z",
    "to": "2026-12-01T00:00:00.000000Z",
    "page": 1,
    "opening": POINT_EXAMPLE,
    "lines": [
        {
            "version": 7,
            "journal": "6a0b8c1e-62f1-4b8e-9d52-0a4f5a1f7c11",
            "kind": "payment",
            "counterparty": "gracia",
            "amount": "-2.0000",
            "balance": "-10.0000",
            "time": "2026-11-20T10:00:00.000000Z",
            "value_date": "2026-11-20",
            "digest": "51c3…",
            "hash": "5f0c…",
            "content": {"transfer": "6a0b8c1e-62f1-4b8e-9d52-0a4f5a1f7c11", "payer": "leeds"},
            "payment": {"payer": "leeds/ines", "payee": "gracia/moss", "description": "bread"},
            "note": None,
            "key": "q1x…=",
        }
    ],
    "closing": {"version": 7, "balance": "-10.0000", "head": "5f0c…"},
    "next": None,
    "proof": {"type": "DataIntegrityProof", "cryptosuite": "eddsa-jcs-2022"},
}
BALANCE_EXAMPLE: Final = {
    "group": "leeds",
    "union": "main",
    "at": "2026-11-01T00:00:00Z",
    **POINT_EXAMPLE,
}

GroupId = Annotated[str, Path(description="The group's short id.", examples=["leeds"])]
_MOMENT: Final = "A moment with its zone, or a date, which begins in UTC."
At = Annotated[str, Query(description=_MOMENT, max_length=40)]


class Asked(BaseModel):
    """What statement is asked for; `from` is needed but with a cursor."""

    start: str | None = Field(None, alias="from", description=_MOMENT, max_length=40)
    end: str | None = Field(None, alias="to", description=_MOMENT, max_length=40)
    union: str | None = Field(
        None,
        pattern=GROUP_ID_PATTERN,
        description="The union's id; without it the only one, or main.",
    )
    cursor: str | None = Field(None, description="Where the page begins, as the page before said.")
    limit: int = Field(
        statements.LINES, description="Lines a page.", ge=1, le=statements.MOST_LINES
    )

    def where(self, now: datetime) -> Period | Place:
        """Return the place of the cursor, or the first page of the period."""
        start = None if self.start is None else read_moment(self.start, "from")
        end = None if self.end is None else read_moment(self.end, "to")
        if self.cursor is not None:
            place = Place.read(self.cursor)
            if start not in {None, place.period.start} or end not in {None, place.period.end}:
                raise InvalidError("cursor", "belongs to another period")
            return place
        if start is None:
            raise InvalidError("from", "is needed")
        return Period.asked(start, end, now)


class BalanceView(BaseModel):
    """A balance as of a moment, in clearing units, with the version and head of the chain then."""

    group: str
    union: str
    at: datetime
    version: int
    balance: str
    head: str


@dataclass(frozen=True)
class _Range:
    media_type: str
    quality: float


def chosen(accept: str, offered: Sequence[str] = OFFERED) -> str:
    """Return the media type to answer in (RFC 9110, 12.5.1); NotAcceptableError where none is.

    Where several are as welcome, it is the first of those offered.
    """
    ranges = [_range(part) for part in accept.split(",") if part.strip()] or [_Range("*/*", 1)]
    best = max(offered, key=lambda offer: _quality(offer, ranges))
    if not _quality(best, ranges):
        raise NotAcceptableError(f"this is given as {', '.join(offered)}", offered=list(offered))
    return best


def _range(part: str) -> _Range:
    media_type, *parameters = (piece.strip() for piece in part.split(";"))
    told = dict(parameter.lower().partition("=")[::2] for parameter in parameters)
    try:
        quality = float(told.get("q", "1"))
    except ValueError:
        quality = 0.0
    return _Range(media_type.lower(), quality)


def _quality(offer: str, ranges: list[_Range]) -> float:
    """Return how welcome a media type is, by the most specific range that it falls into."""
    for wanted in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        found = [one.quality for one in ranges if one.media_type == wanted]
        if found:
            return max(found)
    return 0.0


@router.get(
    "/accounts/{group_id}/statement",
    summary="A statement of an account",
    response_class=Response,
    responses={
        200: {
            "description": "A page of the statement; the Link header leads to the next one.",
            "content": {
                JSON: {"example": STATEMENT_EXAMPLE, "schema": schema_of(documents.Statement)},
                CSV: {"example": "version,time,value_date,kind,…", "schema": _TEXT},
                statements.camt.MEDIA_TYPE: {
                    "example": "<Document>…</Document>",
                    "schema": _TEXT,
                },
            },
        }
    },
)
def get_statement(
    asker: Reader,
    services: Shared,
    group_id: GroupId,
    asked: Annotated[Asked, Query()],
    accept: Annotated[str, Header(description="In which form.")] = JSON,
) -> Response:
    """Give opening, lines and closing of the hub's own account, from `from` until before `to`.

    Without `to` it is all until now. Each page has its own opening and closing, so that pages
    chain; a cursor is given with the `from` and `to` that it came from, or without. The bearer of
    a token sees neither members' names nor texts. As JSON it is signed, and can be checked
    offline by `localpay verify-statement`.
    """
    media_type = chosen(accept)
    account_id, now = _certain(services, asker, group_id, asked.union)
    where = asked.where(now)
    with reading(services.engine) as session:
        account = session.get_one(Account, account_id)
        names = asker.sees_names
        statement = statements.read(session, account, where, limit=asked.limit, with_names=names)
    if media_type == CSV:
        content, media_type = statements.table(statement).encode(), CSV_AS_SENT
    elif media_type == statements.camt.MEDIA_TYPE:
        content = statements.camt.message(statement, now)
    else:
        seal = seal_of(services.settings, services.keys)
        content = orjson.dumps(seal.put(statements.document(statement), now))
    headers = {"Vary": "Accept", **_link(group_id, statement, asked.limit)}
    return Response(content, media_type=media_type, headers=headers)


def _certain(
    services: Services, asker: Asker, group_id: str, union: str | None
) -> tuple[int, datetime]:
    """Return an account's id, and until when all that is posted to it will be seen from now on."""
    with transaction(services.engine) as session:
        account = seen_account(asker, session, group_id, union)
        return account.id, statements.certain_until(session, account)


def _link(group_id: str, statement: Statement, limit: int) -> dict[str, str]:
    """Return the header that leads to the next page (RFC 8288), if there is one."""
    if statement.next_cursor is None:
        return {}
    query = {"cursor": statement.next_cursor, "union": statement.union, "limit": limit}
    return {"Link": f'</accounts/{group_id}/statement?{urlencode(query)}>; rel="next"'}


@router.get(
    "/accounts/{group_id}/balance",
    summary="A balance as of a moment",
    responses={
        200: {
            "description": "The balance right before that moment.",
            "content": {JSON: {"example": BALANCE_EXAMPLE}},
        }
    },
)
def get_balance(
    asker: Reader,
    services: Shared,
    group_id: GroupId,
    at: At,
    union: UnionId = None,
) -> BalanceView:
    """Give the balance of the hub's own account, of all that was posted before `at`."""
    account_id, now = _certain(services, asker, group_id, union)
    moment = read_moment(at, "at")
    if moment > now:
        raise InvalidError("at", "must not lie in the future")
    with reading(services.engine) as session:
        account = session.get_one(Account, account_id)
        point = statements.point_before(session, account, moment)
        return balance_view(account.name, account.union_id, moment, point)


def balance_view(group: str, union: str, moment: datetime, point: Point) -> BalanceView:
    """Return what is told of a balance as of a moment."""
    return BalanceView(
        group=group,
        union=union,
        at=moment,
        version=point.version,
        balance=format_amount(point.balance, CLEARING_SCALE),
        head=point.head,
    )
