"""Erasing what was said of members: names and texts go, and every chain stays checkable.

What the chains hold of them are digests under the transfer's own key. When the first name of a
transfer is erased, its digests are kept and the key is deleted: without it nobody can try names
against a digest. A name that the other hub has not had erased stays, and is vouched for no more.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from clearing.accounts import Account, AccountKind, lock_accounts
from clearing.transfers import Party, Transfer, TransferState, name_digests
from commons import audit_log
from commons.errors import ConflictError, InvalidError, NotFoundError
from commons.groups import require_group

_OPEN: Final = (TransferState.PENDING, TransferState.QUEUED)
_BOTH: Final = tuple(Party)
OPERATOR: Final = "operator"


def erase_in_transfer(session: Session, transfer_id: UUID, group_id: str | None = None) -> Transfer:
    """Erase one side's member and the texts of an ended transfer and of what reverses it.

    A hub erases its own group's member, the operator (None) both. Said again it changes nothing.
    Raises NotFoundError where the transfer is none of the group's, ConflictError while it or a
    reversal of it is open: the hubs need the names yet.
    """
    asked = session.get(Transfer, transfer_id)
    if asked is None:
        raise NotFoundError(f"there is no transfer {transfer_id}")
    parties = _BOTH if group_id is None else (asked.party_of(group_id),)
    _lock(session, [asked.payer_group])
    first = asked.reverses or asked.id
    family = session.scalars(
        select(Transfer)
        .where(or_(Transfer.id == first, Transfer.reverses == first))
        .order_by(Transfer.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for one in family:
        if one.state in _OPEN:
            raise ConflictError(
                f"transfer {one.id} is {one.state}; names are erased once it has ended",
                state=str(one.state),
            )
    for one in family:
        _erase(one, parties)
    session.flush()
    actor = OPERATOR if group_id is None else f"hub:{group_id}"
    audit_log.record(session, actor, "names-erased", str(transfer_id))
    return asked


def erase_member(session: Session, who: str) -> tuple[int, int]:
    """Erase a member, written `group/member`, from all of its ended transfers, with their texts.

    Returns how many those are, and how many open ones still name the member. Of the other side
    nothing is erased but the texts. Raises NotFoundError where there is no such group.
    """
    group_id, slash, member = who.partition("/")
    if not (group_id and slash and member):
        raise InvalidError("member", 'must be "group/member"')
    require_group(session, group_id)
    _lock(session, [group_id])
    left = 0
    ended: list[Transfer] = []
    for one in _naming(session, group_id, member):
        if one.state in _OPEN:
            left += 1
        else:
            ended.append(one)
    for one in ended:
        _erase(one, [one.party_of(group_id)])
    session.flush()
    audit_log.record(
        session,
        OPERATOR,
        "names-erased",
        group_id,
        {"transfers": str(len(ended)), "left": str(left)},
    )
    return len(ended), left


def _naming(session: Session, group_id: str, member: str) -> Sequence[Transfer]:
    as_payer = (Transfer.payer_group == group_id) & (Transfer.payer_member == member)
    as_payee = (Transfer.payee_group == group_id) & (Transfer.payee_member == member)
    return session.scalars(
        select(Transfer).where(or_(as_payer, as_payee)).order_by(Transfer.id).with_for_update()
    ).all()


def _lock(session: Session, group_ids: Iterable[str]) -> None:
    """Lock the groups' accounts, under whose locks transfers are made, ended and reversed."""
    own = select(Account.id).where(
        Account.group_id.in_(group_ids), Account.kind == AccountKind.GROUP
    )
    lock_accounts(session, own)


def _erase(transfer: Transfer, parties: Iterable[Party]) -> None:
    transfer.kept_digests = name_digests(transfer)
    transfer.key = None
    for party in parties:
        if party is Party.PAYER:
            transfer.payer_member = None
        else:
            transfer.payee_member = None
    transfer.description = None
    if transfer.state is not TransferState.REFUSED:  # its reason names a limit, and is asked for
        transfer.reason = None
