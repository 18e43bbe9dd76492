"""A hub moves a transfer on: accepts, rejects or cancels it."""

from typing import Final

from clearing import transfers
from clearing.calls.desk import Desk
from clearing.calls.kinds import Move, Outcome, Verb
from clearing.calls.posting import broken, post_transfer, warn
from clearing.transfers import HeldTransfer, Party, TransferState
from commons.errors import ConflictError, ForbiddenError, InvalidError
from commons.money import CLEARING_SCALE, format_amount

_ENDS: Final = {
    Verb.ACCEPT: frozenset({TransferState.POSTED, TransferState.QUEUED}),
    Verb.REJECT: frozenset({TransferState.REJECTED}),
    Verb.CANCEL: frozenset({TransferState.CANCELLED}),
}


def move(desk: Desk, call: Move) -> Outcome:
    """Do what a hub says about a transfer; said again, it is answered again."""
    one = desk.find(call.id)
    party = one.party_of(call.caller)
    _check_turn(one, party, call)
    if call.reason is not None and len(call.reason) > transfers.MAX_REASON:
        raise InvalidError("reason", f"may have at most {transfers.MAX_REASON} characters")
    warnings: list[str] = []
    if one.state not in _ENDS[call.verb]:
        warnings = _move_now(desk, one, party, call)
    if one.state not in _ENDS[call.verb]:
        raise ConflictError(f"transfer {call.id} is {one.state}", state=str(one.state))
    return desk.outcome(one, call.caller, warnings=warnings)


def _check_turn(one: HeldTransfer, party: Party, call: Move) -> None:
    """Raise ForbiddenError where it is not for this hub to say; of what waits, both may say."""
    is_makers = party is one.initiator
    if call.verb is Verb.CANCEL and one.queued_at is not None:
        return
    if is_makers != (call.verb is Verb.CANCEL):
        who = "that made" if call.verb is Verb.CANCEL else "that did not make"
        raise ForbiddenError(f"only the hub {who} transfer {call.id} may {call.verb} it")
    if call.wait and party is not Party.PAYER:
        raise InvalidError("wait", "is for the payer's hub to say")


def _move_now(desk: Desk, one: HeldTransfer, party: Party, call: Move) -> list[str]:
    """Move an open transfer on, or end it where its time is over; return warnings."""
    if one.ended_at is not None:
        return []
    if one.expires_at <= desk.moment:
        desk.move(one, TransferState.EXPIRED)
        desk.tell(one, [one.payer_group, one.payee_group])
        return []
    if one.state is TransferState.QUEUED and call.verb is not Verb.CANCEL:
        return []
    other = one.payee_group if party is Party.PAYER else one.payer_group
    warnings: list[str] = []
    if call.verb is Verb.ACCEPT:
        warnings = _accept(desk, one, call)
    else:
        state = TransferState.REJECTED if call.verb is Verb.REJECT else TransferState.CANCELLED
        one.reason, one.reason_code = call.reason, call.code
        desk.move(one, state)
    desk.tell(one, [other])
    return warnings


def _accept(desk: Desk, one: HeldTransfer, call: Move) -> list[str]:
    """Post a transfer, or queue it where it may wait for room."""
    desk.require_open(one)
    if one.reserved:
        post_transfer(desk, one)
        return []
    uses = desk.uses(one)
    lacking = broken(one, uses)
    if lacking is None:
        warnings = warn(desk, one, uses, call.caller)
        post_transfer(desk, one)
        return warnings
    if not (one.wait or call.wait):
        available = format_amount(lacking[1], CLEARING_SCALE)
        raise ConflictError(
            f"transfer {one.id} does not fit the {lacking[0]} yet; available: {available}"
            " clearing units",
            reason=lacking[0],
            available=available,
            state=str(one.state),
        )
    one.wait = True
    desk.move(one, TransferState.QUEUED)
    return []
