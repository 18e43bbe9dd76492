"""Unions over HTTP: by what rules a union's groups clear, and which days are closed."""

from datetime import date, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.callers import Asker, Reader
from api.services import Reading
from clearing import accounts, levies, periods
from commons import database
from commons.errors import NotFoundError
from commons.money import CLEARING_SCALE, format_amount

router = APIRouter(tags=["Clearing"])

EXAMPLE: Final[dict[str, Any]] = {
    "id": "main",
    "clearing_unit": "hour",
    "scale": 4,
    "levy": "1/100",
    "coming_levy": {"levy": "1/50", "valid_from": "2026-11-20T10:15:00Z"},
    "closed_until": "2026-10-31",
    "credit_default": "100.0000",
    "surplus_default": "100.0000",
}
PERIOD_EXAMPLE: Final[dict[str, Any]] = {
    "union": "main",
    "until": "2026-10-31",
    "closed_at": "2026-11-02T08:00:00Z",
}


class ComingLevy(BaseModel):
    """A levy that is known and does not apply yet; empty where none will."""

    levy: str | None
    valid_from: datetime


class UnionView(BaseModel):
    """The rules of a union; limits are those that a new group starts with, in clearing units.

    `levy` is what share of its side each payer's group pays the union besides, rounded down.
    Nothing more is dated up to `closed_until`. One hour of work is one clearing unit, in which
    amounts have `scale` decimal places.
    """

    id: str
    clearing_unit: str
    scale: int
    levy: str | None
    coming_levy: ComingLevy | None
    closed_until: date | None
    credit_default: str
    surplus_default: str


class PeriodView(BaseModel):
    """A day up to which a union's books are closed, and when they were."""

    union: str
    until: date
    closed_at: datetime


class PeriodList(BaseModel):
    """A union's closed periods, newest first."""

    periods: list[PeriodView]


UnionId = Annotated[str, Path(description="The union's id.", examples=["main"], max_length=40)]


def _answer(example: dict[str, Any], description: str) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"example": example}}
    return {200: {"description": description, "content": content}}


def union_view(session: Session, union_id: str) -> UnionView:
    """Return a union's rules as they are now, or raise NotFoundError."""
    union, moment = accounts.union_of(session, union_id), database.now(session)
    rule = levies.levy_of(session, [union_id], moment).get(union_id)
    change = levies.coming(session, union_id, moment)
    credit, surplus = union.starting_limits()
    return UnionView(
        id=union_id,
        clearing_unit="hour",
        scale=CLEARING_SCALE,
        levy=None if rule is None else str(rule),
        coming_levy=change and ComingLevy(levy=change.share, valid_from=change.valid_from),
        closed_until=periods.closed_until(session, [union_id]).get(union_id),
        credit_default=format_amount(credit, CLEARING_SCALE),
        surplus_default=format_amount(surplus, CLEARING_SCALE),
    )


def period_views(session: Session, union_id: str | None) -> list[PeriodView]:
    """Return the closed periods, of one union if given, newest first."""
    return [
        PeriodView(union=end.union_id, until=end.until, closed_at=end.closed_at)
        for end in periods.ends(session, union_id)
    ]


def _require_seen(asker: Asker, session: Session, union_id: str) -> None:
    """Raise NotFoundError, as for a union that there is not, to whom it is none of their own."""
    seen = asker.may_see_union(union_id)
    if asker.group_id is not None:
        seen = accounts.find_account(session, asker.group_id, union_id) is not None
    if not seen:
        raise NotFoundError(f"there is no union {union_id!r}")
    accounts.union_of(session, union_id)


@router.get(
    "/unions/{union_id}", summary="A union's rules", responses=_answer(EXAMPLE, "The rules.")
)
def get_union(union_id: UnionId, asker: Reader, session: Reading) -> UnionView:
    """Give the rules of a union: its unit, its levy now and to come, what is closed, limits."""
    _require_seen(asker, session, union_id)
    return union_view(session, union_id)


@router.get(
    "/unions/{union_id}/periods",
    summary="A union's closed periods",
    responses=_answer({"periods": [PERIOD_EXAMPLE]}, "Newest first."),
)
def list_periods(union_id: UnionId, asker: Reader, session: Reading) -> PeriodList:
    """List the days up to which a union's books were closed, newest first."""
    _require_seen(asker, session, union_id)
    return PeriodList(periods=period_views(session, union_id))
