"""A posted transfer is taken back, wholly or in part, by a transfer of its own."""

import secrets
from typing import Final
from uuid import UUID

from clearing.accounts import AccountState
from clearing.calls.desk import Desk
from clearing.calls.kinds import Outcome, Reverse
from clearing.calls.making import check_text, expiry, request_digest, settle
from clearing.calls.posting import post_transfer
from clearing.transfers import HeldTransfer, Party, TransferState, Unit
from commons.errors import ConflictError, InvalidError, NotFoundError
from commons.money import format_amount, parse_amount

REPLACED: Final = "the operator took the payment back"


def reverse(desk: Desk, call: Reverse) -> Outcome:
    """Make a reversal: it waits for the other hub, or is posted where the operator says so."""
    existing = desk.transfers.get(call.id) or desk.others.get(call.id)
    if existing is not None:
        return _repeat(desk, call, existing)
    original = desk.find(call.transfer)
    party = Party.PAYER if call.caller is None else original.party_of(call.caller)
    _check(desk, call, original)
    check_text("reason", call.reason)
    one = _draft(desk, call, original, party)
    if call.caller is not None:
        desk.require_open(one)
        desk.reversing[original.id] = one
        return settle(desk, one, call.caller, may_wait=False)
    return _post(desk, one)


def _post(desk: Desk, one: HeldTransfer) -> Outcome:
    """Post what the operator takes back, in the place of what a hub asked for and waits."""
    desk.require_free(one)
    for group_id in (one.payer_group, one.payee_group):
        if desk.account(group_id, one.union_id).state is AccountState.CLOSED:
            raise ConflictError(f"account {group_id} is closed", reason="account_closed")
    pending = _pending(desk, one.reverses)
    if pending is not None:
        pending.reason = REPLACED
        desk.move(pending, TransferState.CANCELLED)
        desk.tell(pending, [pending.payer_group, pending.payee_group])
    one.reserved, one.by_operator = False, True
    desk.add(one)
    post_transfer(desk, one)
    desk.tell(one, [one.payer_group, one.payee_group])
    return desk.outcome(one, None, created=True)


def _pending(desk: Desk, original: UUID | None) -> HeldTransfer | None:
    """Return the reversal of a transfer that waits for a hub, of which there is one at most."""
    found = None if original is None else desk.reversing.get(original)
    return found if found is not None and found.state is TransferState.PENDING else None


def _check(desk: Desk, call: Reverse, original: HeldTransfer) -> None:
    if original.reverses is not None:
        raise ConflictError(f"transfer {original.id} is a reversal, which is not taken back")
    if original.state is not TransferState.POSTED:
        raise ConflictError(
            f"transfer {original.id} is {original.state}", state=str(original.state)
        )
    pending = _pending(desk, original.id)
    if pending is not None and call.caller is not None:
        raise ConflictError(
            f"reversal {pending.id} of transfer {original.id} is pending", transfer=str(pending.id)
        )


def _draft(desk: Desk, call: Reverse, original: HeldTransfer, party: Party) -> HeldTransfer:
    """Return the transfer that takes a part back.

    Every amount is what the parts so far come to, rounded down, less what went back before; so
    whatever the parts, together they are the original.
    """
    scale = desk.participants[original.payee_group].scale
    rest = original.payee_amount - original.reversed_amount
    part = rest if call.amount is None else parse_amount(call.amount, scale)
    if part > rest or rest == 0:
        left = format_amount(rest, scale)
        raise ConflictError(
            f"of transfer {original.id} only {left} is left to take back", available=left
        )
    before, whole = original.reversed_amount, original.payee_amount
    after = before + part

    def share(amount: int) -> int:
        return amount * after // whole - amount * before // whole

    payer_amount, payee_clearing = share(original.payer_amount), share(original.payee_clearing)
    if payer_amount == 0 or payee_clearing == 0:
        raise InvalidError("amount", "is so small that one side would get nothing back")
    residue = share(original.payer_clearing - original.payee_clearing)
    key = secrets.token_bytes(32)
    return HeldTransfer(
        id=call.id,
        union_id=original.union_id,
        state=TransferState.PENDING,
        initiator=party,
        payer_group=original.payer_group,
        payee_group=original.payee_group,
        payer_member=original.payer_member,
        payee_member=original.payee_member,
        description=call.reason,
        amount=format_amount(part, scale),
        unit=Unit.PAYEE,
        payer_amount=payer_amount,
        payee_amount=part,
        payer_clearing=payee_clearing + residue,
        payee_clearing=payee_clearing,
        payer_rate=original.payer_rate,
        payee_rate=original.payee_rate,
        levy=share(original.levy),
        reverses=original.id,
        key=key,
        request_digest=request_digest(key, call),
        created_at=desk.asked,
        expires_at=expiry(desk, call.expires_at),
    )


def _repeat(desk: Desk, call: Reverse, existing: HeldTransfer) -> Outcome:
    if call.caller is not None and call.caller not in (existing.payer_group, existing.payee_group):
        raise NotFoundError(f"there is no transfer {call.transfer}")
    if existing.key is None:
        said = (call.transfer, call.caller is None)
        is_same = said == (existing.reverses, existing.by_operator)
        is_same &= call.amount in {None, existing.amount}
    else:
        is_same = existing.request_digest == request_digest(existing.key, call)
    if not is_same:
        raise ConflictError(f"transfer {call.id} exists with another body")
    return desk.outcome(existing, call.caller)
