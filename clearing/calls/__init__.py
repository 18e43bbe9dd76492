"""What hubs call for: transfers made, accepted, rejected, cancelled and taken back, in batches."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy.orm import Session

from clearing.calls.desk import Desk, read_transfers
from clearing.calls.kinds import Call, Create, Head, Move, Outcome, Reverse, Verb
from clearing.calls.making import draft, groups_of, make, repeat
from clearing.calls.moving import move
from clearing.calls.releasing import (
    agreed,
    expire_due,
    post_agreed,
    releasable,
    release_queued,
)
from clearing.calls.reversing import reverse
from clearing.transfers import HeldTransfer
from commons import audit_log
from commons.errors import ConflictError, LocalPayError

__all__ = [
    "MOST_IN_A_BATCH",
    "Call",
    "Create",
    "Head",
    "Move",
    "Outcome",
    "Reverse",
    "Verb",
    "agreed",
    "expire_due",
    "handle",
    "post_agreed",
    "releasable",
    "release_queued",
]

MOST_IN_A_BATCH = 8_000
_OF_A_STATE = frozenset({"transfer", "state"})


def handle(session: Session, calls: Sequence[Call], *, atomic: bool = False) -> list[Outcome]:
    """Handle calls in their order in one transaction; one that fails leaves the others alone.

    Every call of a transfer is handled under the locks of its accounts, taken in id order, so
    that a transfer has one history and opposite payments never wait for each other in a circle.

    `atomic`: where one fails or is refused, nothing of any call is kept, and each outcome has an
    error that says so.
    """
    with _uncollected():
        return _handle(session, calls, atomic=atomic)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the collector of cycles away from a batch.

    What a batch makes lives until its end, so that each of the collector's many looks at it, and
    at the whole process with it, finds nothing: a fifth of the time that Python takes.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _handle(session: Session, calls: Sequence[Call], *, atomic: bool) -> list[Outcome]:
    known = _known(session, calls)
    creates = [call for call in calls if isinstance(call, Create)]
    groups = {group for call in creates for group in groups_of(call)}
    groups |= {group for one in known.values() for group in (one.payer_group, one.payee_group)}
    desk = Desk.open(session, groups)
    drafts = {id(call): _drafted(desk, call) for call in creates}
    made = [one for one in drafts.values() if isinstance(one, HeldTransfer)]
    desk.lock([*known.values(), *made], {call.id for call in calls} | known.keys())
    desk.find_reversing(_originals(calls))
    outcomes = [_outcome(desk, call, drafts) for call in calls]
    if atomic and any(outcome.error is not None for outcome in outcomes):
        return _undone(outcomes)
    desk.write()
    for call, outcome in zip(calls, outcomes, strict=True):
        if isinstance(call, Reverse) and call.caller is None and outcome.created:
            data = {"reversal": str(call.id)}
            audit_log.record(session, call.actor, "transfer-reversed", str(call.transfer), data)
    return outcomes


def _known(session: Session, calls: Sequence[Call]) -> dict[UUID, HeldTransfer]:
    """Return the transfers that calls are about, as they are without a lock.

    A reversal is about its original too.
    """
    about = {call.id for call in calls if not isinstance(call, Create)}
    if not about:
        return {}
    session.flush()
    found = read_transfers(session, about | _originals(calls))
    originals = {one.reverses for one in found.values() if one.reverses is not None}
    return found | read_transfers(session, originals - found.keys())


def _originals(calls: Sequence[Call]) -> set[UUID]:
    return {call.transfer for call in calls if isinstance(call, Reverse)}


def _drafted(desk: Desk, call: Create) -> HeldTransfer | LocalPayError:
    try:
        return draft(desk, call)
    except LocalPayError as error:
        return error


def _outcome(desk: Desk, call: Call, drafts: dict[int, HeldTransfer | LocalPayError]) -> Outcome:
    try:
        if isinstance(call, Create):
            return _created(desk, call, drafts[id(call)])
        return move(desk, call) if isinstance(call, Move) else reverse(desk, call)
    except LocalPayError as error:
        return Outcome(error=error)


def _created(desk: Desk, call: Create, drafted: HeldTransfer | LocalPayError) -> Outcome:
    existing = desk.transfers.get(call.id) or desk.others.get(call.id)
    if existing is not None:
        return repeat(desk, call, existing)
    if isinstance(drafted, LocalPayError):
        raise drafted
    return make(desk, call, drafted)


def _undone(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes of a batch of which nothing is kept, nor any state that was come to."""
    failed = next(n for n, outcome in enumerate(outcomes) if outcome.error is not None)
    undone = []
    for outcome in outcomes:
        error = outcome.error or ConflictError(f"call {failed} of the batch failed")
        error.detail += "; nothing of the batch was kept"
        said = {name: value for name, value in error.extra.items() if name not in _OF_A_STATE}
        error.extra = said | {"kept": False, "failed": failed}
        undone.append(Outcome(error=error))
    return undone
