"""The groups that take part: those whose listings may be shown, and those that clear."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic import BaseModel
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from api.caching import Cacheable
from api.services import Reading
from commons import database
from commons.errors import NotFoundError
from commons.groups import Currency, Group, Hub, HubState
from commons.money import CurrencyKind
from crawler.peers import Peer
from marketplace.listings import Listing, visible

router = APIRouter(tags=["Marketplace"], route_class=Cacheable)

GROUP_EXAMPLE: Final[dict[str, Any]] = {
    "id": "barcelona",
    "uri": "https://hub.example/group",
    "name": "Banc de Temps de Barcelona",
    "summary": "Neighbours who trade hours.",
    "currency": {
        "uri": "https://hub.example/currency",
        "code": "HORA",
        "name": "hora",
        "scale": 2,
        "kind": "time",
    },
    "place_name": "Barcelona",
    "lat": 41.39,
    "lon": 2.17,
    "listings": 48,
    "clears": True,
    "since": "2026-04-01T08:00:00Z",
}


class CurrencyView(BaseModel):
    """A group's currency; `scale` is its number of decimal places."""

    uri: str
    code: str
    name: str
    scale: int
    kind: CurrencyKind


class GroupView(BaseModel):
    """A group, how many listings of it are shown, and whether it clears with others.

    `currency` is null where the group takes part in the marketplace only.
    """

    id: str
    uri: str
    name: str
    summary: str
    currency: CurrencyView | None
    place_name: str | None
    lat: float | None
    lon: float | None
    listings: int
    clears: bool
    since: datetime


class GroupList(BaseModel):
    """All groups, by name."""

    groups: list[GroupView]


@router.get(
    "/groups",
    summary="All groups",
    responses={
        200: {
            "description": "The groups, by name.",
            "content": {"application/json": {"example": {"groups": [GROUP_EXAMPLE]}}},
        }
    },
)
def list_groups(session: Reading) -> GroupList:
    """List the groups that take part, with their currencies and places."""
    return GroupList(groups=groups_of(session))


@router.get(
    "/groups/{group_id}",
    summary="One group",
    responses={
        200: {
            "description": "The group.",
            "content": {"application/json": {"example": GROUP_EXAMPLE}},
        }
    },
)
def get_group(
    session: Reading,
    group_id: Annotated[str, Path(description="The group's short id.", examples=["barcelona"])],
) -> GroupView:
    """Give one group that takes part."""
    found = views(session, _taking_part().where(Group.id == group_id))
    if not found:
        msg = "there is no such group"
        raise NotFoundError(msg)
    return found[0]


def groups_of(session: Session) -> list[GroupView]:
    """Return all groups that take part by name."""
    return views(session, _taking_part().order_by(Group.name, Group.id))


def taking_part(session: Session) -> list[Group]:
    """Return the groups that take part by name as they are, without counting what they have."""
    chosen = _taking_part().order_by(Group.name, Group.id)
    return [group for group, _, _ in session.execute(chosen)]


def clearing(session: Session) -> list[Group]:
    """Return the groups that clear by name: their members can pay those of others."""
    chosen = _taking_part().where(Hub.state == HubState.ADMITTED).order_by(Group.name, Group.id)
    return [group for group, _, _ in session.execute(chosen)]


def _taking_part() -> Select[Group, HubState, Currency | None]:
    """Choose the groups that consented to be indexed or were admitted, and are not suspended."""
    return (
        select(Group, Hub.state, Currency)
        .outerjoin(Currency, Currency.id == Group.currency_id)
        .join(Hub, Hub.group_id == Group.id)
        .outerjoin(Peer, Peer.group_id == Group.id)
        .where(
            Hub.state != HubState.SUSPENDED,
            or_(Hub.state == HubState.ADMITTED, Peer.consented_at.is_not(None)),
        )
    )


def views(session: Session, chosen: Select[Group, HubState, Currency | None]) -> list[GroupView]:
    """Return what is told of the chosen groups."""
    counted = session.execute(
        select(Listing.group_id, func.count().label("listings"))
        .where(visible(database.now(session)))
        .group_by(Listing.group_id)
    )
    counts = {row.group_id: row.listings for row in counted}
    return [
        GroupView(
            id=group.id,
            uri=group.uri,
            name=group.name,
            summary=group.summary,
            currency=currency and CurrencyView.model_validate(currency, from_attributes=True),
            place_name=group.place_name,
            lat=group.lat,
            lon=group.lon,
            listings=counts.get(group.id, 0),
            clears=state is HubState.ADMITTED,
            since=group.created_at,
        )
        for group, state, currency in session.execute(chosen)
    ]
