"""A hub makes a transfer: what it says is read before any lock, and decided upon under them."""

import re
import secrets
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Final

from clearing import acceptance, chain, periods, transfers
from clearing.calls.desk import Desk
from clearing.calls.kinds import LIFE_RULE, Create, Outcome, Reverse
from clearing.calls.posting import broken, post_transfer, warn
from clearing.participants import Participant, choose_union
from clearing.transfers import HeldTransfer, Party, TransferState, Unit
from commons.errors import ConflictError, ForbiddenError, InvalidError
from commons.money import CLEARING_SCALE, Conversion, Side, convert, parse_amount, parse_rate

DEFAULT_LIFE: Final = timedelta(days=7)
SHORTEST_LIFE: Final = timedelta(minutes=1)
LONGEST_LIFE: Final = timedelta(days=90)
_MEMBER: Final = re.compile(
    rf"(?P<group>[a-z0-9-]{{1,40}})/(?P<member>[^/\s\x00-\x1f\x7f]{{1,{transfers.MAX_MEMBER}}})"
)
_CLEARING: Final = Side(Fraction(1), CLEARING_SCALE)


def groups_of(call: Create) -> tuple[str, str]:
    """Return the payer's and the payee's group as they were sent."""
    return call.payer.partition("/")[0], call.payee.partition("/")[0]


def draft(desk: Desk, call: Create) -> HeldTransfer:
    """Return the transfer that a call asks for, checked against all that needs no lock."""
    payer, payee = _parties(desk, call)
    expires_at = expiry(desk, call.expires_at)
    check_text("description", call.description)
    sides = _converted(
        call.amount,
        call.unit,
        (payer.agreed_rate(), payer.scale),
        (payee.agreed_rate(), payee.scale),
    )
    union = choose_union(payer, payee, call.union)
    rule = desk.levies.get(union)
    key = secrets.token_bytes(32)
    is_payers = call.caller == payer.group_id
    return HeldTransfer(
        id=call.id,
        union_id=union,
        state=TransferState.PENDING,
        initiator=Party.PAYER if is_payers else Party.PAYEE,
        payer_group=payer.group_id,
        payee_group=payee.group_id,
        payer_member=call.payer.partition("/")[2],
        payee_member=call.payee.partition("/")[2],
        description=call.description,
        amount=call.amount,
        unit=call.unit,
        payer_amount=sides.payer_local,
        payee_amount=sides.payee_local,
        payer_clearing=sides.payer_clearing,
        payee_clearing=sides.payee_clearing,
        payer_rate=payer.agreed_rate(),
        payee_rate=payee.agreed_rate(),
        levy=0 if rule is None else rule.levy(sides.payer_clearing),
        wait=call.wait and is_payers,
        value_date=call.value_date,
        key=key,
        request_digest=request_digest(key, call),
        created_at=desk.asked,
        expires_at=expires_at,
    )


def _parties(desk: Desk, call: Create) -> tuple[Participant, Participant]:
    for field, text in (("payer", call.payer), ("payee", call.payee)):
        if _MEMBER.fullmatch(text) is None:
            raise InvalidError(field, 'must be "group/member"')
    payer_id, payee_id = groups_of(call)
    if payer_id == payee_id:
        raise InvalidError("payee", "must be a member of another group than the payer")
    if call.caller not in {payer_id, payee_id}:
        raise ForbiddenError("only the payer's or the payee's hub may make this transfer")
    for field, group_id in (("payer", payer_id), ("payee", payee_id)):
        if group_id not in desk.participants or not desk.participants[group_id].admitted:
            raise InvalidError(field, f"no group {group_id!r} clears here")
    return desk.participants[payer_id], desk.participants[payee_id]


def check_text(field: str, text: str) -> None:
    """Raise InvalidError for a text that is too long."""
    if len(text) > transfers.MAX_DESCRIPTION:
        raise InvalidError(field, f"may have at most {transfers.MAX_DESCRIPTION} characters")


def expiry(desk: Desk, wanted: datetime | None) -> datetime:
    """Return when a transfer that is made now expires."""
    if wanted is None:
        return desk.asked + DEFAULT_LIFE
    life = wanted - desk.asked
    if not SHORTEST_LIFE <= life <= LONGEST_LIFE:
        raise InvalidError("expires_at", LIFE_RULE)
    return wanted.astimezone(UTC)


@lru_cache(maxsize=65_536)
def _converted(
    amount: str, unit: Unit, payer: tuple[str, int], payee: tuple[str, int]
) -> Conversion:
    """Compute both sides of an amount as it was sent, given both rates and scales."""
    sides = {Unit.PAYER: _side(*payer), Unit.PAYEE: _side(*payee), Unit.CLEARING: _CLEARING}
    said = sides[unit]
    minor = parse_amount(amount, said.scale)
    value = Fraction(minor * said.rate.numerator, 10**said.scale * said.rate.denominator)
    return convert(value, sides[Unit.PAYER], sides[Unit.PAYEE])


@lru_cache(maxsize=16_384)
def _side(rate: str, scale: int) -> Side:
    return Side(parse_rate(rate), scale)


def make(desk: Desk, call: Create, one: HeldTransfer) -> Outcome:
    """Decide upon a drafted transfer: refuse it, reserve room and ask the other hub, or post it."""
    desk.require_open(one)
    closed = desk.closed.get(one.union_id)
    periods.check_chosen(one.value_date, closed, desk.asked.date())
    return settle(desk, one, call.caller, may_wait=call.wait)


def settle(desk: Desk, one: HeldTransfer, caller: str, *, may_wait: bool) -> Outcome:
    """Give a new transfer its first state; one that may wait need not find room."""
    uses = desk.uses(one)
    lacking = broken(one, uses)
    desk.add(one)
    if lacking is not None and not may_wait:
        one.state, one.ended_at, one.reserved = TransferState.REFUSED, desk.moment_of(one), False
        one.reason, one.available = lacking
        return desk.outcome(one, caller, created=True)
    other = one.payee_group if caller == one.payer_group else one.payer_group
    agreed = _accepts(desk, one, other)
    warnings = warn(desk, one, uses, caller) if lacking is None else []
    one.reserved = lacking is None and not agreed
    if one.reserved:
        desk.reserve(one, +1)
    elif agreed and lacking is None:
        post_transfer(desk, one)
    elif agreed and one.wait:
        desk.move(one, TransferState.QUEUED)
    desk.tell(one, [other])
    return desk.outcome(one, caller, created=True, warnings=warnings)


def _accepts(desk: Desk, one: HeldTransfer, other: str) -> bool:
    """Whether the other hub agrees at once, by its rules.

    To a hub, a reversal is a payment the other way: the maker that gives back is as one that pays.
    """
    maker = one.payer_group if one.initiator is Party.PAYER else one.payee_group
    side = one.initiator
    if one.reverses is not None:
        side = Party.PAYEE if side is Party.PAYER else Party.PAYER
    amount = one.payer_amount if other == one.payer_group else one.payee_amount
    return acceptance.accepts(desk.accepted, other, side, maker, amount)


def request_digest(key: bytes, call: Create | Reverse) -> str:
    """Return what a repetition of a call is known by, which says nothing without the key."""
    return chain.keyed_digest(key, "request", chain.canonical(call.body()).decode())


def repeat(desk: Desk, call: Create, existing: HeldTransfer) -> Outcome:
    """Answer a call that was made before with its transfer as it stands now.

    Where the names were erased, what is left of it has to be the same.
    """
    if existing.key is None:
        is_same = existing.reverses is None and _is_like(call, existing)
    else:
        is_same = existing.request_digest == request_digest(existing.key, call)
    if not is_same:
        raise ConflictError(f"transfer {call.id} exists with another body")
    return desk.outcome(existing, call.caller)


def _is_like(call: Create, existing: HeldTransfer) -> bool:
    said = (*groups_of(call), call.caller, call.amount, call.unit)
    maker = existing.group_of(existing.initiator)
    kept = (existing.payer_group, existing.payee_group, maker, existing.amount, existing.unit)
    return said == kept and call.expires_at in {None, existing.expires_at}
