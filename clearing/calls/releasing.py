"""What happens without a call: transfers past their time end, those with room are posted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, exists, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from clearing.accounts import Account, AccountKind, AccountState, Position
from clearing.calls.desk import Desk, read_transfers
from clearing.calls.posting import broken, post_transfer, warn
from clearing.periods import PeriodEnd
from clearing.transfers import HeldTransfer, Transfer, TransferState, levy_journal
from commons import database
from commons.groups import Hub, HubState

EXPIRED_AT_ONCE: Final = 500
RELEASED_AT_ONCE: Final = 500
_OPEN: Final = (TransferState.PENDING, TransferState.QUEUED)


def expire_due(session: Session) -> int:
    """End open transfers past their time by the database's clock; return how many."""
    moment = database.now(session)
    due = session.scalars(
        select(Transfer.id)
        .where(Transfer.state.in_(_OPEN), Transfer.expires_at <= moment)
        .order_by(Transfer.expires_at)
        .limit(EXPIRED_AT_ONCE)
    )
    desk, found = _open(session, due.all())
    late = [one for one in found if one.state in _OPEN and one.expires_at <= desk.moment]
    for one in late:
        desk.move(one, TransferState.EXPIRED)
        desk.tell(one, [one.payer_group, one.payee_group])
    desk.write()
    return len(late)


def release_queued(session: Session, ids: Sequence[UUID] | None = None) -> int:
    """Post queued transfers that have room, those queued first before others; return how many.

    Those without room are passed over, however long they have waited, so they hold up nobody.
    Where `ids` are given it is these, else the first of all.
    """
    if ids is None:
        wanted = releasable(database.now(session)).limit(RELEASED_AT_ONCE)
        ids = session.scalars(wanted).all()
    desk, found = _open(session, ids)
    released = 0
    for one in found:
        if one.state is not TransferState.QUEUED or one.expires_at <= desk.moment:
            continue
        uses = desk.uses(one)
        if _is_barred(desk, one) or broken(one, uses) is not None:
            continue
        warn(desk, one, uses, None)
        post_transfer(desk, one)
        desk.tell(one, [one.payer_group, one.payee_group])
        released += 1
    desk.write()
    return released


def _open(session: Session, ids: Sequence[UUID]) -> tuple[Desk, list[HeldTransfer]]:
    """Lock the accounts of transfers and return them as they are then, in the order of `ids`."""
    known = read_transfers(session, ids)
    known |= read_transfers(session, {t.reverses for t in known.values() if t.reverses})
    groups = {g for t in known.values() for g in (t.payer_group, t.payee_group)}
    desk = Desk.open(session, groups)
    desk.lock(known.values(), known)
    return desk, [desk.transfers[one] for one in ids]


def agreed(session: Session, ids: Sequence[UUID]) -> tuple[Desk, list[HeldTransfer]]:
    """Return those of the transfers that are queued and could be posted if they had room.

    Under the locks of their accounts, in the order of `ids`; nothing is done to them yet.
    """
    desk, found = _open(session, ids)
    return desk, [one for one in found if _is_agreed(desk, one)]


def _is_agreed(desk: Desk, one: HeldTransfer) -> bool:
    if one.state is not TransferState.QUEUED or one.expires_at <= desk.moment:
        return False
    is_free = desk.taken.isdisjoint((one.id, levy_journal(one.id)))
    return is_free and not _is_barred(desk, one)


def post_agreed(desk: Desk, chosen: Sequence[HeldTransfer], about: UUID) -> None:
    """Post transfers that `agreed` returned, as journals about a round that makes room for them.

    Whoever calls this sees to it that limits hold once the round is posted too, and writes the desk
    and what hubs are told.
    """
    for one in chosen:
        post_transfer(desk, one, about)
        desk.tell(one, [one.payer_group, one.payee_group])


def _is_barred(desk: Desk, one: HeldTransfer) -> bool:
    """Whether something else than room keeps a transfer from being posted."""
    closed = desk.closed.get(one.union_id)
    if one.value_date is not None and closed is not None and one.value_date <= closed:
        return True
    groups = (one.payer_group, one.payee_group)
    if not all(desk.participants[group].admitted for group in groups):
        return True
    return any(desk.account(g, one.union_id).state is not AccountState.OPEN for g in groups)


def releasable(moment: datetime) -> Select[UUID]:
    """Ask for queued transfers that seem to have room, in order; only the locks tell for sure."""
    payer, payee = aliased(Account), aliased(Account)
    owed = case((Position.amount < 0, -Position.amount), else_=0)
    used = owed + Position.pending_out + Position.given
    return (
        select(Transfer.id)
        .join(payer, _own(payer, Transfer.payer_group))
        .join(payee, _own(payee, Transfer.payee_group))
        .outerjoin(
            Position,
            and_(Position.account_id == payer.id, Position.counterparty_id == payee.id),
        )
        .where(
            Transfer.state == TransferState.QUEUED,
            Transfer.expires_at > moment,
            ~exists().where(
                Hub.group_id.in_((Transfer.payer_group, Transfer.payee_group)),
                Hub.state != HubState.ADMITTED,
            ),
            ~exists().where(
                PeriodEnd.union_id == Transfer.union_id, PeriodEnd.until >= Transfer.value_date
            ),
            _fits(
                payer.credit_limit,
                payer.pending_out - payer.balance + Transfer.payer_clearing + Transfer.levy,
            ),
            _fits(payee.surplus_limit, payee.balance + payee.pending_in + Transfer.payee_clearing),
            _fits(Position.pair_limit, used + Transfer.payee_clearing),
        )
        .order_by(Transfer.queued_at, Transfer.id)
    )


def _own(account: type[Account], group: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    return and_(
        account.group_id == group,
        account.union_id == Transfer.union_id,
        account.kind == AccountKind.GROUP,
        account.state == AccountState.OPEN,
    )


def _fits(
    limit: InstrumentedAttribute[int | None], used: ColumnElement[int]
) -> ColumnElement[bool]:
    return or_(limit.is_(None), used <= limit)
