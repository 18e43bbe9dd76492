"""What hubs call for: transfers made, accepted, rejected and cancelled, many in one transaction."""

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing import chain, transfers
from clearing.accounts import DEFAULT_UNION, Account
from clearing.ledger import Book, Draft, JournalKind, Line, post
from clearing.participants import Participant, find_participants
from clearing.transfers import TRANSITIONS, Party, Transfer, TransferState, Unit, View
from commons import database
from commons.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    LocalPayError,
    NotFoundError,
    RefusedError,
)
from commons.money import CLEARING_SCALE, Side, convert, format_amount, format_rate, parse_amount

DEFAULT_LIFE: Final = timedelta(days=7)
SHORTEST_LIFE: Final = timedelta(minutes=1)
LONGEST_LIFE: Final = timedelta(days=90)
EXPIRED_AT_ONCE: Final = 500
_LIFE_RULE: Final = "must be between 1 minute and 90 days from now"
_MEMBER: Final = re.compile(
    rf"(?P<group>[a-z0-9-]{{1,40}})/(?P<member>[^/\s\x00-\x1f\x7f]{{1,{transfers.MAX_MEMBER}}})"
)


@dataclass(frozen=True)
class Create:
    """A hub's call to make a transfer; amount and names as the hub sent them."""

    id: UUID
    caller: str
    payer: str
    payee: str
    amount: str
    unit: Unit = Unit.PAYEE
    description: str = ""
    expires_at: datetime | None = None

    def body(self) -> dict[str, str]:
        """Return what a repetition must equal."""
        return {
            "caller": self.caller,
            "payer": self.payer,
            "payee": self.payee,
            "amount": self.amount,
            "unit": self.unit,
            "description": self.description,
            "expires_at": _moment_text(self.expires_at) if self.expires_at else "",
        }


class Verb(StrEnum):
    """What can be done with a pending transfer."""

    ACCEPT = "accept"
    REJECT = "reject"
    CANCEL = "cancel"


_ENDS: Final = {
    Verb.ACCEPT: TransferState.POSTED,
    Verb.REJECT: TransferState.REJECTED,
    Verb.CANCEL: TransferState.CANCELLED,
}


@dataclass(frozen=True)
class Move:
    """A hub's call to move a pending transfer on."""

    id: UUID
    caller: str
    verb: Verb
    reason: str | None = None


Call = Create | Move


@dataclass(frozen=True)
class Head:
    """An account right after a call; `balance` as a decimal string in clearing units."""

    group: str
    balance: str
    version: int
    head: str


@dataclass(frozen=True)
class Outcome:
    """What a call came to. A refusal is an outcome, and is committed like any other.

    `error` is what the edge raises; where it is set, `transfer` may still tell the state.
    """

    transfer: View | None = None
    account: Head | None = None
    created: bool = False
    error: LocalPayError | None = None


def handle(session: Session, calls: Sequence[Call]) -> list[Outcome]:
    """Handle calls in their order in one transaction; one that fails leaves the others alone.

    Every call of a transfer is handled under the locks of its accounts, taken in id order, so
    that a transfer has one history and opposite payments never wait for each other in a circle.
    """
    batch = _Batch.open(session, calls)
    outcomes = [batch.outcome(call) for call in calls]
    batch.book.write()
    return outcomes


def expire_due(session: Session) -> int:
    """End pending transfers past their time by the database's clock; return how many."""
    moment = database.now(session)
    due = session.execute(
        select(Transfer.id, Transfer.payer_group)
        .where(Transfer.state == TransferState.PENDING, Transfer.expires_at <= moment)
        .order_by(Transfer.expires_at)
        .limit(EXPIRED_AT_ONCE)
    )
    calls = [Move(transfer_id, payer, Verb.CANCEL) for transfer_id, payer in due]
    batch = _Batch.open(session, calls)
    found = [batch.transfers[call.id] for call in calls]
    late = [t for t in found if t.state is TransferState.PENDING and t.expires_at <= moment]
    for transfer in late:
        batch.end(transfer, TransferState.EXPIRED)
    batch.book.write()
    return len(late)


@dataclass
class _Batch:
    """The calls of one transaction: what they touch, locked and read once."""

    session: Session
    moment: datetime
    participants: dict[str, Participant]
    book: Book
    transfers: dict[UUID, Transfer]

    @classmethod
    def open(cls, session: Session, calls: Sequence[Call]) -> "_Batch":
        known = _read_transfers(session, calls)
        pairs = {_groups(call) for call in calls if isinstance(call, Create)}
        pairs |= {(t.payer_group, t.payee_group) for t in known.values()}
        group_ids = {group for pair in pairs for group in pair}
        participants = find_participants(session, group_ids, database.now(session))
        book = Book.lock(session, _accounts_of(pairs, participants))
        # Read again under the locks: what was seen before may have been ended meanwhile.
        known = _read_transfers(session, calls)
        return cls(session, database.now(session), participants, book, known)

    def outcome(self, call: Call) -> Outcome:
        try:
            return self._create(call) if isinstance(call, Create) else self._move(call)
        except LocalPayError as error:
            return Outcome(error=error)

    def _create(self, call: Create) -> Outcome:
        existing = self.transfers.get(call.id)
        if existing is not None:
            return self._repeat(call, existing)
        transfer = self._draft(call)
        refusal = self._refusal(transfer)
        if refusal is None:
            self._reserve(transfer, +1)
        else:
            transfer.state, transfer.ended_at = TransferState.REFUSED, self.moment
            transfer.reason, transfer.available = refusal
        self.session.add(transfer)
        self.transfers[transfer.id] = transfer
        return self._told(transfer, call.caller, created=True)

    def _repeat(self, call: Create, existing: Transfer) -> Outcome:
        if existing.key is None or existing.request_digest != _request_digest(existing.key, call):
            raise ConflictError(f"transfer {call.id} exists with another body")
        return self._told(existing, call.caller, created=False)

    def _draft(self, call: Create) -> Transfer:
        payer, payee = self._parties(call)
        expires_at = self._expiry(call)
        value = _value(call, payer, payee)
        sides = convert(value, payer.side, payee.side)
        key = secrets.token_bytes(32)
        return Transfer(
            id=call.id,
            union_id=DEFAULT_UNION,
            state=TransferState.PENDING,
            initiator=Party.PAYER if call.caller == payer.group_id else Party.PAYEE,
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
            payer_rate=format_rate(payer.rate),
            payee_rate=format_rate(payee.rate),
            key=key,
            request_digest=_request_digest(key, call),
            created_at=self.moment,
            expires_at=expires_at,
        )

    def _parties(self, call: Create) -> tuple[Participant, Participant]:
        for field, text in (("payer", call.payer), ("payee", call.payee)):
            if _MEMBER.fullmatch(text) is None:
                raise InvalidError(field, 'must be "group/member"')
        payer_id, payee_id = _groups(call)
        if payer_id == payee_id:
            raise InvalidError("payee", "must be a member of another group than the payer")
        if call.caller not in {payer_id, payee_id}:
            raise ForbiddenError("only the payer's or the payee's hub may make this transfer")
        for field, group_id in (("payer", payer_id), ("payee", payee_id)):
            if group_id not in self.participants or not self.participants[group_id].admitted:
                raise InvalidError(field, f"no group {group_id!r} clears here")
        if len(call.description) > transfers.MAX_DESCRIPTION:
            raise InvalidError(
                "description", f"may have at most {transfers.MAX_DESCRIPTION} characters"
            )
        return self.participants[payer_id], self.participants[payee_id]

    def _expiry(self, call: Create) -> datetime:
        if call.expires_at is None:
            return self.moment + DEFAULT_LIFE
        life = call.expires_at - self.moment
        if not SHORTEST_LIFE <= life <= LONGEST_LIFE:
            raise InvalidError("expires_at", _LIFE_RULE)
        return call.expires_at.astimezone(UTC)

    def _refusal(self, transfer: Transfer) -> tuple[str, int] | None:
        """Return why the transfer cannot be reserved and what still could be, or None."""
        payer, payee = self._accounts(transfer)
        rooms = (
            ("credit_limit", payer.room_below(), transfer.payer_clearing),
            ("surplus_limit", payee.room_above(), transfer.payee_clearing),
            (
                "pair_limit",
                self.book.position(payer.id, payee.id).room(),
                transfer.payee_clearing,
            ),
        )
        broken = [name for name, room, amount in rooms if room < amount]
        return (broken[0], max(0, min(room for _, room, _ in rooms))) if broken else None

    def _reserve(self, transfer: Transfer, sign: int) -> None:
        payer, payee = self._accounts(transfer)
        payer.pending_out += sign * transfer.payer_clearing
        payee.pending_in += sign * transfer.payee_clearing
        self.book.position(payer.id, payee.id).pending_out += sign * transfer.payee_clearing

    def _accounts(self, transfer: Transfer) -> tuple[Account, Account]:
        payer = self.participants[transfer.payer_group]
        payee = self.participants[transfer.payee_group]
        return self.book.accounts[payer.account_id], self.book.accounts[payee.account_id]

    def _move(self, call: Move) -> Outcome:
        transfer = self.transfers.get(call.id)
        if transfer is None:
            raise NotFoundError(f"there is no transfer {call.id}")
        party = transfer.party_of(call.caller)
        if (party is transfer.initiator) != (call.verb is Verb.CANCEL):
            who = "that made" if call.verb is Verb.CANCEL else "that did not make"
            raise ForbiddenError(f"only the hub {who} transfer {call.id} may {call.verb} it")
        if transfer.state is not _ENDS[call.verb]:  # said before: answered again
            self._end_now(transfer, call)
        if transfer.state is not _ENDS[call.verb]:
            error = ConflictError(
                f"transfer {call.id} is {transfer.state}", state=str(transfer.state)
            )
            return Outcome(error=error)
        return self._told(transfer, call.caller, created=False)

    def _end_now(self, transfer: Transfer, call: Move) -> None:
        if transfer.state is not TransferState.PENDING:
            return
        if transfer.expires_at <= self.moment:
            self.end(transfer, TransferState.EXPIRED)
            return
        self.end(transfer, _ENDS[call.verb])
        transfer.reason = call.reason
        if call.verb is Verb.ACCEPT:
            post(self.book, self._journal(transfer), self.moment)

    def end(self, transfer: Transfer, state: TransferState) -> None:
        """End a pending transfer: what it reserved is free again."""
        if state not in TRANSITIONS[transfer.state]:
            raise ValueError(f"a transfer never goes from {transfer.state} to {state}")
        self._reserve(transfer, -1)
        transfer.state, transfer.ended_at = state, self.moment

    def _journal(self, transfer: Transfer) -> Draft:
        payer, payee = self._accounts(transfer)
        residue = self.book.accounts[self.participants[transfer.payee_group].residue_id]
        digest = transfers.content_digest(transfer)
        parts = [(payee, transfer.payee_clearing)]
        if transfer.payer_clearing > transfer.payee_clearing:
            parts.append((residue, transfer.payer_clearing - transfer.payee_clearing))
        entries = [(payer.id, account.id, -amount) for account, amount in parts]
        entries += [(account.id, payer.id, amount) for account, amount in parts]
        lines = [Line(payer.id, payee.name, digest)]
        lines += [Line(account.id, payer.name, digest) for account, _ in parts]
        return Draft(transfer.id, JournalKind.PAYMENT, entries, lines)

    def _told(self, transfer: Transfer, caller: str, *, created: bool) -> Outcome:
        payer = self.participants[transfer.payer_group]
        payee = self.participants[transfer.payee_group]
        account = self.book.accounts[self.participants[caller].account_id]
        head = Head(
            caller, format_amount(account.balance, CLEARING_SCALE), account.version, account.head
        )
        seen = transfers.view(transfer, payer.currency, payee.currency)
        return Outcome(seen, head, created, _refused(transfer))


def _refused(transfer: Transfer) -> RefusedError | None:
    if transfer.state is not TransferState.REFUSED:
        return None
    available = format_amount(transfer.available or 0, CLEARING_SCALE)
    return RefusedError(
        f"the payment does not fit the {transfer.reason}; available: {available} clearing units",
        reason=transfer.reason,
        available=available,
        transfer=str(transfer.id),
        state=str(transfer.state),
    )


def _moment_text(moment: datetime) -> str:
    """Write a moment that a hub sent, which may lie outside the calendar in UTC."""
    try:
        return chain.time_text(moment)
    except OverflowError as error:
        raise InvalidError("expires_at", _LIFE_RULE) from error


def _request_digest(key: bytes, call: Create) -> str:
    return chain.keyed_digest(key, "request", chain.canonical(call.body()).decode())


def _value(call: Create, payer: Participant, payee: Participant) -> Fraction:
    """Return what the call's amount is worth in clearing units, exactly."""
    side = {
        Unit.PAYER: payer.side,
        Unit.PAYEE: payee.side,
        Unit.CLEARING: Side(Fraction(1), CLEARING_SCALE),
    }[call.unit]
    return Fraction(parse_amount(call.amount, side.scale), 10**side.scale) * side.rate


def _groups(call: Create) -> tuple[str, str]:
    return call.payer.partition("/")[0], call.payee.partition("/")[0]


def _read_transfers(session: Session, calls: Iterable[Call]) -> dict[UUID, Transfer]:
    found = session.scalars(
        select(Transfer)
        .where(Transfer.id.in_({call.id for call in calls}))
        .execution_options(populate_existing=True)
    )
    return {transfer.id: transfer for transfer in found}


def _accounts_of(
    pairs: Iterable[tuple[str, str]], participants: dict[str, Participant]
) -> list[tuple[int, int]]:
    """Return the account pairs that payments between these groups touch."""
    found = []
    for payer_id, payee_id in pairs:
        payer, payee = participants.get(payer_id), participants.get(payee_id)
        if payer is not None and payee is not None and payer is not payee:
            found += [(payer.account_id, payee.account_id), (payer.account_id, payee.residue_id)]
    return found
