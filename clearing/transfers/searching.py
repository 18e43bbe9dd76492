"""Finding transfers: by their id, or page by page, newest first."""

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, or_, select, true, tuple_
from sqlalchemy.orm import Session

from clearing import chain
from clearing.transfers.model import Transfer, TransferState
from clearing.transfers.views import View, view
from commons.errors import InvalidError, NotFoundError
from commons.groups import Currency, Group


@dataclass(frozen=True)
class Wanted:
    """Which transfers are looked for; what is not said does not matter.

    `counterparty` is the other group, `member` the name of a member of the own group, wholly.
    From `made_from` on and before `made_to`; `text` stands somewhere in the description or in
    a member's name, in whatever case.
    """

    states: Collection[TransferState] = ()
    counterparty: str | None = None
    member: str | None = None
    made_from: datetime | None = None
    made_to: datetime | None = None
    text: str | None = None
    union: str | None = None
    reverses: UUID | None = None


ANY = Wanted()


def find(session: Session, transfer_id: UUID, group_id: str | None) -> View:
    """Return a transfer to one of its two hubs; any other hub gets NotFoundError.

    `group_id` None is an operator or analyst, who sees no names and no texts.
    """
    transfer = session.get(Transfer, transfer_id)
    if transfer is None:
        raise NotFoundError(f"there is no transfer {transfer_id}")
    if group_id is not None:
        transfer.party_of(group_id)
    return _views(session, [transfer], names=group_id is not None)[0]


def search(
    session: Session,
    group_id: str | None,
    wanted: Wanted = ANY,
    limit: int = 50,
    cursor: str | None = None,
) -> tuple[list[View], str | None]:
    """Return a page of a group's transfers, newest first, and the cursor of the next page.

    `group_id` None is an operator or analyst: everybody's transfers, without names and texts, and
    not to be searched by them.
    """
    query = _of_content(select(Transfer), wanted)
    if cursor is not None:
        query = query.where(tuple_(Transfer.created_at, Transfer.id) < _read_cursor(cursor))
    query = query.order_by(Transfer.created_at.desc(), Transfer.id.desc()).limit(limit + 1)
    # Each side by itself, in the order of its index: asked for both at once, the database would
    # go through all of a group's transfers and sort them for every page.
    found = [
        transfer
        for parties in _parties(group_id, wanted)
        for transfer in session.scalars(query.where(parties))
    ]
    found.sort(key=lambda transfer: (transfer.created_at, transfer.id), reverse=True)
    more = _write_cursor(found[limit - 1]) if len(found) > limit else None
    return _views(session, found[:limit], names=group_id is not None), more


def _of_content(query: Select[Any], wanted: Wanted) -> Select[Any]:
    """Ask for what is said of a transfer, whoever its parties are."""
    if wanted.states:
        query = query.where(Transfer.state.in_(wanted.states))
    if wanted.made_from is not None:
        query = query.where(Transfer.created_at >= wanted.made_from)
    if wanted.made_to is not None:
        query = query.where(Transfer.created_at < wanted.made_to)
    if wanted.union is not None:
        query = query.where(Transfer.union_id == wanted.union)
    if wanted.reverses is not None:
        query = query.where(Transfer.reverses == wanted.reverses)
    if wanted.text is not None:
        texts = (Transfer.description, Transfer.payer_member, Transfer.payee_member)
        query = query.where(or_(*(text.icontains(wanted.text, autoescape=True) for text in texts)))
    return query


def _parties(group_id: str | None, wanted: Wanted) -> list[ColumnElement[bool]]:
    """Return what holds of a group's own as payer and as payee, with one group or one member."""
    if group_id is None:
        if wanted.member is not None or wanted.text is not None:
            raise InvalidError("text", "only hubs search by what their members are called or say")
        if wanted.counterparty is None:
            return [true()]
        group_id = wanted.counterparty  # one of the two
        wanted = ANY
    sides = (
        (Transfer.payer_group, Transfer.payer_member, Transfer.payee_group),
        (Transfer.payee_group, Transfer.payee_member, Transfer.payer_group),
    )
    conditions = []
    for own, member, other in sides:
        condition = [own == group_id]
        if wanted.counterparty is not None:
            condition.append(other == wanted.counterparty)
        if wanted.member is not None:
            condition.append(member == wanted.member)
        conditions.append(and_(*condition))
    return conditions


def _views(session: Session, transfers: Sequence[Transfer], *, names: bool) -> list[View]:
    groups = {t.payer_group for t in transfers} | {t.payee_group for t in transfers}
    rows = session.execute(
        select(Group.id, Currency)
        .join(Currency, Currency.id == Group.currency_id)
        .where(Group.id.in_(groups))
    )
    currencies = dict(rows.all())
    return [
        view(t, currencies[t.payer_group], currencies[t.payee_group], names=names)
        for t in transfers
    ]


def _write_cursor(last: Transfer) -> str:
    text = f"{chain.time_text(last.created_at)} {last.id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        moment, _, transfer_id = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(transfer_id)
    except (ValueError, OverflowError) as error:
        raise InvalidError("cursor", "is none that was given out here") from error
