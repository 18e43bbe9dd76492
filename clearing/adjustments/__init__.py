"""Adjustments: what is owed is changed besides payments, once both sides have agreed."""

import secrets
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from clearing import accounts, chain, events, periods
from clearing.accounts import AccountKind
from clearing.adjustments.room import check_room
from clearing.adjustments.rows import (
    MAX_NOTE,
    TRANSITIONS,
    Adjustment,
    AdjustmentKind,
    AdjustmentState,
    AdjustmentView,
    content_digest,
    erase_note,
    find,
    has_begun,
    is_any_due,
    note_digests,
    open_until,
    read,
    search,
    view,
)
from clearing.events import EventKind, Notice
from clearing.ledger import Book, Draft, Journal, JournalKind, Line, post
from clearing.pairs import Pair, find_pair, pair_of
from clearing.transfers import Transfer
from commons import audit_log, database
from commons.errors import ConflictError, ForbiddenError, InvalidError
from commons.money import CLEARING_SCALE, parse_amount

__all__ = [
    "MAX_NOTE",
    "Adjustment",
    "AdjustmentKind",
    "AdjustmentState",
    "AdjustmentView",
    "Move",
    "Proposal",
    "Verb",
    "content_digest",
    "erase_note",
    "expire_due",
    "find",
    "is_any_due",
    "move",
    "note_digests",
    "propose",
    "search",
]

LIFE: Final = timedelta(days=30)
"""How long a proposal waits for the other side."""

EXPIRED_AT_ONCE: Final = 500


@dataclass(frozen=True)
class Proposal:
    """A call to propose an adjustment, by a group's hub or the operator (`caller` None).

    The amount as it was sent, in clearing units. No member's name belongs in the note.
    """

    id: UUID
    caller: str | None
    kind: AdjustmentKind
    debtor: str
    creditor: str
    amount: str
    union: str | None = None
    value_date: date | None = None
    note: str = ""

    def body(self) -> dict[str, str]:
        """Return what a repetition must equal."""
        return {
            "caller": self.caller or "",
            "kind": self.kind,
            "debtor": self.debtor,
            "creditor": self.creditor,
            "amount": self.amount,
            "union": self.union or "",
            "value_date": self.value_date.isoformat() if self.value_date else "",
            "note": self.note,
        }


class Verb(StrEnum):
    """What can be done with a proposed adjustment."""

    AGREE = "agree"
    DECLINE = "decline"
    CANCEL = "cancel"


_ENDS: Final = {
    Verb.AGREE: AdjustmentState.POSTED,
    Verb.DECLINE: AdjustmentState.DECLINED,
    Verb.CANCEL: AdjustmentState.CANCELLED,
}


@dataclass(frozen=True)
class Move:
    """A call to move an adjustment on, by a group's hub or the operator (`caller` None)."""

    id: UUID
    caller: str | None
    verb: Verb


def propose(session: Session, call: Proposal) -> tuple[AdjustmentView, bool]:
    """Propose an adjustment; return it and whether it is new.

    Said again it is answered as it stands now; with another body it is a ConflictError, and so is
    what could not be posted now. An opening position that the operator proposes while both
    accounts have openings alone is posted at once.
    """
    amount = parse_amount(call.amount, CLEARING_SCALE)
    pair = find_pair(session, call.caller, call.debtor, call.creditor, call.union)
    _check_sides(call, pair)
    book = _lock(session, pair, call.kind)
    existing = session.get(Adjustment, call.id, populate_existing=True)
    if existing is not None:
        return _repeated(existing, call, pair), False
    moment = database.now(session)
    pair.require_open(session)
    closed = periods.closed_until(session, [pair.debtor.union_id])
    periods.check_chosen(call.value_date, closed.get(pair.debtor.union_id), moment.date())
    adjustment = _draft(call, pair, amount, moment)
    check_room(book, adjustment, pair)
    _add(session, adjustment)
    _agree(adjustment, pair, call.caller, moment)
    if call.caller is None and not has_begun(session, pair):
        adjustment.debtor_agreed_at = adjustment.creditor_agreed_at = moment
    near = _post_if_agreed(book, adjustment, pair, moment)
    _tell(session, adjustment, pair, call.caller, near)
    return view(adjustment, pair), True


def _check_sides(call: Proposal, pair: Pair) -> None:
    unions_own = None in {pair.debtor.group_id, pair.creditor.group_id}
    if unions_own and call.kind is not AdjustmentKind.SETTLEMENT:
        raise InvalidError("kind", "with the union's own account must be settlement")
    operators = unions_own or call.kind is AdjustmentKind.OPENING
    if call.caller is None and not operators:
        raise ForbiddenError("only the debtor's or the creditor's hub may propose this adjustment")
    if len(call.note) > MAX_NOTE:
        raise InvalidError("note", f"may have at most {MAX_NOTE} characters")


def _repeated(existing: Adjustment, call: Proposal, pair: Pair) -> AdjustmentView:
    if existing.key is not None:
        same = existing.request_digest == _request_digest(existing.key, call)
    else:  # the note was erased: what is left is compared
        same = (existing.kind, existing.debtor_id, existing.creditor_id, existing.proposed_by) == (
            call.kind,
            *pair.key,
            call.caller,
        ) and existing.amount == parse_amount(call.amount, CLEARING_SCALE)
    if not same:
        raise ConflictError(f"adjustment {call.id} exists with another body")
    return view(existing, pair)


def _request_digest(key: bytes, call: Proposal) -> str:
    return chain.keyed_digest(key, "request", chain.canonical(call.body()).decode())


def _draft(call: Proposal, pair: Pair, amount: int, moment: datetime) -> Adjustment:
    key = secrets.token_bytes(32)
    return Adjustment(
        id=call.id,
        union_id=pair.debtor.union_id,
        kind=call.kind,
        state=AdjustmentState.PROPOSED,
        debtor_id=pair.debtor.id,
        creditor_id=pair.creditor.id,
        proposed_by=call.caller,
        amount=amount,
        value_date=call.value_date,
        note=call.note,
        key=key,
        request_digest=_request_digest(key, call),
        created_at=moment,
        expires_at=moment + LIFE,
    )


def _add(session: Session, adjustment: Adjustment) -> None:
    _require_free_id(session, adjustment)
    session.add(adjustment)
    try:
        session.flush()
    except IntegrityError as error:  # of other accounts, so our locks did not hold it off
        if database.violated(error) != "pk_adjustments":
            raise
        raise ConflictError(f"adjustment {adjustment.id} exists with another body") from error


def _require_free_id(session: Session, adjustment: Adjustment) -> None:
    """Raise ConflictError where its id is a transfer's: it will be the id of a journal too."""
    if session.get(Transfer, adjustment.id) or session.get(Journal, adjustment.id):
        raise ConflictError(f"the id {adjustment.id} is taken by something else")


def move(session: Session, call: Move) -> AdjustmentView:
    """Agree to, decline or cancel an adjustment; said again it is answered again.

    It is posted when both sides have agreed. Raises ConflictError where it has ended otherwise,
    or where it cannot be posted: it stays proposed then.
    """
    seen, pair = read(session, call.id, call.caller)
    book = _lock(session, pair, seen.kind)
    adjustment = session.get_one(Adjustment, call.id, populate_existing=True, with_for_update=True)
    moment = database.now(session)
    _check_turn(adjustment, pair, call)
    if adjustment.state is _ENDS[call.verb]:
        return view(adjustment, pair)
    if adjustment.state is not AdjustmentState.PROPOSED or adjustment.expires_at <= moment:
        state = AdjustmentState.EXPIRED if adjustment.ended_at is None else adjustment.state
        raise ConflictError(f"adjustment {call.id} is {state}", state=str(state))
    near: list[Notice] = []
    if call.verb is not Verb.AGREE:
        _end(adjustment, _ENDS[call.verb], moment)
    elif not _agree(adjustment, pair, call.caller, moment):
        return view(adjustment, pair)
    else:
        near = _post_if_agreed(book, adjustment, pair, moment)
    _tell(session, adjustment, pair, call.caller, near)
    return view(adjustment, pair)


def _check_turn(adjustment: Adjustment, pair: Pair, call: Move) -> None:
    proposed = call.caller == adjustment.proposed_by
    if call.verb is Verb.CANCEL:
        if not proposed:
            raise ForbiddenError(f"only who proposed adjustment {call.id} may cancel it")
    elif proposed or not pair.is_side(call.caller):
        raise ForbiddenError(f"the other side is asked to {call.verb} to adjustment {call.id}")


def _agree(adjustment: Adjustment, pair: Pair, caller: str | None, moment: datetime) -> bool:
    """Note that the caller's side agrees; tell whether that is new."""
    before = (adjustment.debtor_agreed_at, adjustment.creditor_agreed_at)
    if pair.debtor.group_id == caller:
        adjustment.debtor_agreed_at = adjustment.debtor_agreed_at or moment
    if pair.creditor.group_id == caller:
        adjustment.creditor_agreed_at = adjustment.creditor_agreed_at or moment
    return (adjustment.debtor_agreed_at, adjustment.creditor_agreed_at) != before


def _end(adjustment: Adjustment, state: AdjustmentState, moment: datetime) -> None:
    if state not in TRANSITIONS[adjustment.state]:
        raise ValueError(f"an adjustment never goes from {adjustment.state} to {state}")
    adjustment.state, adjustment.ended_at = state, moment


def _lock(session: Session, pair: Pair, kind: AdjustmentKind) -> Book:
    """Lock the accounts that it touches, read anew; the commons are opened before any lock."""
    pairs = [pair.key]
    if kind is AdjustmentKind.ASSIGNMENT:
        commons = accounts.union_account(session, pair.debtor.union_id, AccountKind.COMMONS)
        pairs += [(account_id, commons.id) for account_id in pair.key]
    book = Book.lock(session, pairs)
    pair.refresh(session)
    return book


def _post_if_agreed(
    book: Book, adjustment: Adjustment, pair: Pair, moment: datetime
) -> list[Notice]:
    """Post it where both sides have agreed; return what hubs are told of their limits then."""
    if adjustment.debtor_agreed_at is None or adjustment.creditor_agreed_at is None:
        return []
    pair.require_open(book.session)
    closed = periods.closed_until(book.session, [adjustment.union_id])
    periods.check_open(adjustment.value_date, closed.get(adjustment.union_id))
    _require_free_id(book.session, adjustment)
    near = check_room(book, adjustment, pair)
    _end(adjustment, AdjustmentState.POSTED, moment)
    post(book, _journal(book, adjustment, pair), moment)
    book.write()
    return near


def _journal(book: Book, adjustment: Adjustment, pair: Pair) -> Draft:
    debtor, creditor, x = pair.debtor, pair.creditor, adjustment.amount
    digest = content_digest(adjustment, pair)
    lines = [Line(debtor.id, creditor.name, digest), Line(creditor.id, debtor.name, digest)]
    entries = [(debtor.id, creditor.id, x), (creditor.id, debtor.id, -x)]
    if adjustment.kind is AdjustmentKind.OPENING:
        entries = [(account_id, other_id, -amount) for account_id, other_id, amount in entries]
    if adjustment.kind is AdjustmentKind.ASSIGNMENT:
        commons = accounts.union_account(book.session, adjustment.union_id, AccountKind.COMMONS)
        entries += [(debtor.id, commons.id, -x), (commons.id, debtor.id, x)]
        entries += [(commons.id, creditor.id, -x), (creditor.id, commons.id, x)]
        lines.append(Line(commons.id, debtor.name, digest))
    return Draft(
        adjustment.id,
        JournalKind(adjustment.kind),
        entries,
        lines,
        value_date=adjustment.value_date,
    )


def expire_due(session: Session) -> int:
    """End proposals past their time by the database's clock; return how many."""
    moment = database.now(session)
    due = session.scalars(
        select(Adjustment)
        .where(open_until(moment))
        .order_by(Adjustment.id)
        .limit(EXPIRED_AT_ONCE)
        .with_for_update(skip_locked=True)
    ).all()
    notices: list[Notice] = []
    for adjustment in due:
        _end(adjustment, AdjustmentState.EXPIRED, moment)
        pair = pair_of(session, adjustment.debtor_id, adjustment.creditor_id, None)
        notices += _notices(adjustment, pair)
    events.record(session, notices, moment)
    return len(due)


def _tell(
    session: Session, adjustment: Adjustment, pair: Pair, caller: str | None, near: list[Notice]
) -> None:
    """Tell both hubs, and the audit log what the operator did."""
    session.flush()
    events.record(session, [*near, *_notices(adjustment, pair)], database.now(session))
    if caller is None:
        seen = view(adjustment, pair)
        data = {"debtor": seen.debtor, "creditor": seen.creditor, "amount": seen.amount}
        action = f"{adjustment.kind}-{adjustment.state}"
        audit_log.record(session, "operator", action, str(adjustment.id), data)


def _notices(adjustment: Adjustment, pair: Pair) -> list[Notice]:
    seen = view(adjustment, pair)
    ended = adjustment.state is not AdjustmentState.PROPOSED
    kind = EventKind.ADJUSTMENT_ENDED if ended else EventKind.ADJUSTMENT_PROPOSED
    data = {
        "kind": str(seen.kind),
        "state": str(seen.state),
        "union": seen.union,
        "debtor": seen.debtor,
        "creditor": seen.creditor,
        "amount": seen.amount,
        "proposed_by": seen.proposed_by,
        "value_date": seen.value_date.isoformat() if seen.value_date else None,
    }
    sides = (pair.debtor.group_id, pair.creditor.group_id)
    return [Notice(group, kind, str(seen.id), data) for group in sides if group]
