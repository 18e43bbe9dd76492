"""Made-up groups: admitted many at a time, without hubs that could be reached, and named so."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.orm import Session

from clearing import chain
from clearing.accounts import Account, AccountKind, make_union
from clearing.rates import Rate
from commons import database
from commons.groups import Currency, Group, Hub, HubState
from commons.money import CLEARING_SCALE, CurrencyKind
from demo.trade import Network

_SOUTH, _WEST = 44.0, 0.5
_KM_A_DEGREE_NORTH, _KM_A_DEGREE_EAST = 111.0, 73.0


def admit(
    session: Session, union_id: str, groups: int | Network, since: datetime | None = None
) -> list[str]:
    """Admit made-up groups with accounts without limits; return their ids, by their numbers.

    All keep hours, worth one clearing unit since `since` (now where it is not given). Groups of a
    network have places, on the map of western Europe. The ids begin with the union's.
    """
    since = since or database.now(session)
    count = groups if isinstance(groups, int) else groups.groups
    ids = [f"{union_id}-{number + 1:0{len(str(count))}}" for number in range(count)]
    union = make_union(session, union_id)
    currency = Currency(
        uri=f"https://{union_id}.invalid/hour",
        code="HOUR",
        name="Made-up hour",
        scale=CLEARING_SCALE,
        kind=CurrencyKind.TIME,
    )
    session.add(currency)
    session.flush()
    session.execute(insert(Group), _groups(ids, groups, currency.id, since))
    session.execute(insert(Hub), [_hub(group_id, since) for group_id in ids])
    rate = {"rate": "1/1", "valid_from": since, "known_from": since}
    session.execute(insert(Rate), [{"group_id": group_id, **rate} for group_id in ids])
    session.execute(
        insert(Account),
        [_account(union.id, group_id, kind) for group_id in ids for kind in _KINDS],
    )
    return ids


_KINDS = (AccountKind.GROUP, AccountKind.RESIDUE)


def _groups(
    ids: Sequence[str], groups: int | Network, currency_id: int, since: datetime
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [
        {
            "id": group_id,
            "uri": f"https://{group_id}.invalid/group",
            "name": f"Made-up group {group_id}",
            "summary": "Made up by a program; nobody's group.",
            "currency_id": currency_id,
            "created_at": since,
        }
        for group_id in ids
    ]
    if isinstance(groups, Network):
        for row, east, north in zip(rows, groups.east_km, groups.north_km, strict=True):
            row["lat"] = _SOUTH + float(north) / _KM_A_DEGREE_NORTH
            row["lon"] = _WEST + float(east) / _KM_A_DEGREE_EAST
    return rows


def _hub(group_id: str, since: datetime) -> dict[str, object]:
    return {
        "group_id": group_id,
        "state": HubState.ADMITTED,
        "inbox_uri": f"https://{group_id}.invalid/inbox",
        "rate_wanted": "1/1",
        "registered_at": since,
        "admitted_at": since,
    }


def _account(union_id: str, group_id: str, kind: AccountKind) -> dict[str, object]:
    name = group_id if kind is AccountKind.GROUP else f"{kind}/{group_id}"
    return {
        "union_id": union_id,
        "group_id": group_id,
        "kind": kind,
        "name": name,
        "head": chain.first_hash(union_id, name),
    }
