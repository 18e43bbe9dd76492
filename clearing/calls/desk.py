"""The desk: what the calls of one transaction touch, read once, locked in order, written once."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from operator import attrgetter
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing import acceptance, bulk, chain, events, ledger, levies, limits, periods, transfers
from clearing.accounts import AccountState
from clearing.calls import ids
from clearing.calls.kinds import Head, Outcome
from clearing.events import EventKind, Notice
from clearing.held import HeldAccount, Pair
from clearing.ledger import Book
from clearing.levies import LevyRule
from clearing.limits import Use
from clearing.participants import Participant, Seat, find_participants
from clearing.transfers import (
    TRANSITIONS,
    HeldTransfer,
    Party,
    Reservation,
    TransferState,
    reservation,
)
from clearing.transfers.model import TABLE
from clearing.transfers.views import clearing_text
from commons import database
from commons.errors import ConflictError, NotFoundError, RefusedError

_COLUMNS: Final = HeldTransfer.__slots__
_CHANGING: Final = (
    "state", "reserved", "wait", "reversed_amount", "queued_at", "ended_at", "reason_code",
    "reason", "available",
)  # fmt: skip
_ROW: Final = attrgetter(*_COLUMNS)
_CHANGES: Final = attrgetter("id", *_CHANGING)
_QUERY: Final = select(*(TABLE.c[name] for name in _COLUMNS))
_BY_ID: Final = bulk.Sought(lambda among: _QUERY.where(among(TABLE.c.id)))
_REVERSING: Final = bulk.Sought(
    lambda among: _QUERY.where(among(TABLE.c.reverses), TABLE.c.state == TransferState.PENDING)
)

EVENTS: Final = {
    TransferState.PENDING: EventKind.TRANSFER_PENDING,
    TransferState.POSTED: EventKind.TRANSFER_POSTED,
    TransferState.QUEUED: EventKind.TRANSFER_QUEUED,
    TransferState.REJECTED: EventKind.TRANSFER_REJECTED,
    TransferState.CANCELLED: EventKind.TRANSFER_CANCELLED,
    TransferState.EXPIRED: EventKind.TRANSFER_EXPIRED,
}


def read_transfers(session: Session, wanted: Collection[UUID]) -> dict[UUID, HeldTransfer]:
    """Return those of the transfers that there are, as they are now."""
    if not wanted:
        return {}
    return {row[0]: HeldTransfer(*row) for row in _BY_ID.rows(session, wanted)}


@dataclass
class Desk:
    """Everything that the calls of one transaction need; changed in memory, written by `write`.

    `asked` is the database's clock before the locks, at which rates apply and new transfers are
    made; `moment` the clock under the locks, at which things are posted and end. `transfers` are
    those whose accounts are locked, and the new ones; `others` can only be told of. `reversing`
    is the pending reversal of a transfer. `taken` are the ids of journals that transfers not posted
    yet would need, and that something else has.
    """

    session: Session
    asked: datetime
    participants: dict[str, Participant]
    accepted: Mapping[tuple[str, Party, str], int]
    levies: Mapping[str, LevyRule]
    levy_accounts: dict[str, int]
    transfers: dict[UUID, HeldTransfer] = field(default_factory=dict)
    others: dict[UUID, HeldTransfer] = field(default_factory=dict)
    reversing: dict[UUID, HeldTransfer] = field(default_factory=dict)
    moment: datetime = field(init=False)
    taken: set[UUID] = field(init=False)
    _later: dict[int, datetime] = field(init=False)
    book: Book = field(init=False)
    closed: Mapping[str, date] = field(init=False)
    _new: list[HeldTransfer] = field(default_factory=list)
    _changed: dict[int, HeldTransfer] = field(default_factory=dict)  # by its id in memory
    _notices: list[Notice] = field(default_factory=list)

    @classmethod
    def open(cls, session: Session, group_ids: Iterable[str]) -> "Desk":
        """Read what is not locked: groups, rates, what hubs accept at once, levies."""
        session.flush()
        asked = database.now(session)
        participants = find_participants(session, set(group_ids), asked)
        used = {union for one in participants.values() for union in one.seats}
        rules = levies.levy_of(session, used, asked)
        return cls(
            session,
            asked,
            participants,
            acceptance.find_limits(session, participants),
            rules,
            {union: levies.levy_account(session, union) for union in rules},
        )

    def lock(self, touched: Iterable[HeldTransfer], known: Collection[UUID]) -> None:
        """Lock the accounts of transfers, in id order, then read again what others may change.

        `touched` are all transfers that may be posted or moved; `known` the ids that are to be
        looked for once more under the locks.
        """
        touched = list(touched)
        pairs = {pair for one in touched for pair in self._pairs(one)}
        self.book = Book.lock(self.session, pairs)
        self.moment = database.now(self.session)
        self._later = ledger.posted_after(self.session, self.book.accounts, self.moment)
        self.closed = periods.closed_until(self.session, {one.union_id for one in touched})
        there = read_transfers(self.session, known)
        unposted = set(known) - {key for key, one in there.items() if one.ended_at is not None}
        levied = any(one.levy for one in touched)
        self.taken = ids.taken(self.session, unposted, levied=levied)
        for transfer_id, found in there.items():
            (self.transfers if self._is_held(found) else self.others)[transfer_id] = found

    def find_reversing(self, originals: set[UUID]) -> None:
        """Find what is pending to reverse these; it touches no account that they do not.

        Under their locks, so that of two hubs that ask for one at once the second meets the first.
        """
        held = originals & self.transfers.keys()
        if not held:
            return
        for row in _REVERSING.rows(self.session, held):
            found = HeldTransfer(*row)
            assert found.reverses is not None  # noqa: S101 (told to the type checker)
            self.reversing[found.reverses] = self.transfers.setdefault(found.id, found)

    def _is_held(self, one: HeldTransfer) -> bool:
        """Whether all accounts of a transfer are locked: it may have come up meanwhile."""
        groups = (one.payer_group, one.payee_group)
        if any(one.union_id not in self._seats_of(group_id) for group_id in groups):
            return False
        return all(a in self.book.accounts for pair in self._pairs(one) for a in pair)

    def _seats_of(self, group_id: str) -> Mapping[str, Seat]:
        known = self.participants.get(group_id)
        return {} if known is None else known.seats

    def _pairs(self, one: HeldTransfer) -> list[Pair]:
        """Return the pairs of accounts that a transfer touches."""
        payer, payee = self.seats(one)
        pairs = [(payer.account_id, payee.account_id)]
        if one.payer_clearing > one.payee_clearing:
            pairs.append((payer.account_id, payee.residue_id))
        if one.levy:
            pairs.append((payer.account_id, self.levy_account(one.union_id)))
        return pairs

    def seats(self, one: HeldTransfer) -> tuple[Seat, Seat]:
        """Return the payer's and the payee's accounts."""
        union = one.union_id
        return (
            self.participants[one.payer_group].seats[union],
            self.participants[one.payee_group].seats[union],
        )

    def levy_account(self, union_id: str) -> int:
        """Return the account that a union's levies are owed to."""
        if union_id not in self.levy_accounts:
            self.levy_accounts[union_id] = levies.levy_account(self.session, union_id)
        return self.levy_accounts[union_id]

    def account(self, group_id: str, union_id: str) -> HeldAccount:
        """Return a group's own account."""
        return self.book.accounts[self.participants[group_id].seats[union_id].account_id]

    def find(self, transfer_id: UUID) -> HeldTransfer:
        """Return a transfer that is locked here, or raise NotFoundError."""
        found = self.transfers.get(transfer_id)
        if found is None:
            raise NotFoundError(f"there is no transfer {transfer_id}")
        return found

    def add(self, one: HeldTransfer) -> None:
        """Keep a transfer that was made just now."""
        self.transfers[one.id] = one
        self._new.append(one)

    def change(self, one: HeldTransfer) -> None:
        """Have a transfer's changes written."""
        self._changed[id(one)] = one

    def require_free(self, one: HeldTransfer) -> None:
        """Raise ConflictError where something else has the id of one of a transfer's journals."""
        if self.taken and not self.taken.isdisjoint((one.id, transfers.levy_journal(one.id))):
            raise ConflictError(f"the id {one.id} is taken by something else")

    def require_open(self, one: HeldTransfer) -> None:
        """Raise ConflictError where nothing new is made: by the id, a hub or an account."""
        self.require_free(one)
        for group_id in (one.payer_group, one.payee_group):
            if not self.participants[group_id].admitted:
                raise ConflictError(
                    f"the hub of group {group_id} is not admitted: nothing new is made or accepted",
                    reason="hub_not_admitted",
                )
            account = self.account(group_id, one.union_id)
            if account.state is not AccountState.OPEN:
                raise ConflictError(
                    f"account {account.name} is {account.state}: nothing new is made or accepted",
                    reason=f"account_{account.state}",
                )

    def uses(self, one: HeldTransfer) -> tuple[Use, Use, Use]:
        """Return what a transfer uses of the three limits."""
        wanted = reservation(one)
        debtor = self.account(wanted.debtor, one.union_id)
        creditor = self.account(wanted.creditor, one.union_id)
        towards = self.book.position(debtor.id, creditor.id)
        return limits.payment_uses(debtor, creditor, towards, wanted.out, wanted.into, wanted.pair)

    def reserve(self, one: HeldTransfer, sign: int) -> None:
        """Reserve what a transfer needs, or with -1 free it."""
        wanted: Reservation = reservation(one)
        debtor = self.account(wanted.debtor, one.union_id)
        creditor = self.account(wanted.creditor, one.union_id)
        debtor.pending_out += sign * wanted.out
        creditor.pending_in += sign * wanted.into
        self.book.position(debtor.id, creditor.id).pending_out += sign * wanted.pair

    def move(self, one: HeldTransfer, state: TransferState) -> None:
        """Bring a transfer into another state; what it reserved while pending is free again."""
        if state not in TRANSITIONS.get(one.state, ()):
            raise ValueError(f"a transfer never goes from {one.state} to {state}")
        if one.state is TransferState.PENDING and one.reserved:
            self.reserve(one, -1)
        one.state = state
        if state is TransferState.QUEUED:
            one.queued_at, one.reserved = self.moment_of(one), False
        else:
            one.ended_at = self.moment_of(one)
        self.change(one)

    def moment_of(self, one: HeldTransfer) -> datetime:
        """Return when something happens to a transfer, also where the clock was set back.

        Never before it was made, nor before what was posted last to one of its accounts.
        """
        accounts = {a for pair in self._pairs(one) for a in pair} if self._later else set()
        later = [self._later[account] for account in accounts if account in self._later]
        return max(self.moment, one.created_at, *later)

    def posted(self, one: HeldTransfer) -> datetime:
        """Return when a transfer was posted just now; its accounts go on from there."""
        moment = one.ended_at or self.moment
        if moment > self.moment:
            self._later |= {a: moment for pair in self._pairs(one) for a in pair}
        return moment

    def tell(self, one: HeldTransfer, told: Iterable[str]) -> None:
        """Have the hubs of groups told where a transfer stands now."""
        data = {
            "state": str(one.state),
            "union": one.union_id,
            "payer": one.payer_group,
            "payee": one.payee_group,
            "payer_clearing": clearing_text(one.payer_clearing),
            "payee_clearing": clearing_text(one.payee_clearing),
        }
        if one.reverses is not None:
            data["reverses"] = str(one.reverses)
        if one.by_operator:
            data["by"] = "operator"
        if one.reason_code is not None:
            data["reason_code"] = str(one.reason_code)
        subject, kind = chain.uuid_text(one.id), EVENTS[one.state]
        self._notices += [Notice(group_id, kind, subject, data) for group_id in told]

    def tell_of_limit(self, group_id: str, union_id: str, use: Use) -> None:
        """Have a hub told that a limit of its group is used beyond the level of warning."""
        self._notices.append(events.approached(group_id, union_id, use))

    @property
    def notices(self) -> Sequence[Notice]:
        """What hubs are to be told."""
        return self._notices

    def write(self) -> None:
        """Write everything; the events last."""
        self.write_rows()
        events.record(self.session, self._notices, self.moment)

    def write_rows(self) -> None:
        """Write everything but the events, for which whoever calls this has others to record."""
        bulk.insert_rows(self.session, TABLE, _COLUMNS, [_ROW(one) for one in self._new])
        old = self._changed.keys() - {id(one) for one in self._new}
        changed = [_CHANGES(one) for key, one in self._changed.items() if key in old]
        bulk.update_rows(self.session, TABLE, ("id",), _CHANGING, changed)
        self.book.write()

    def outcome(
        self,
        one: HeldTransfer,
        caller: str | None,
        *,
        created: bool = False,
        warnings: Collection[str] = (),
    ) -> Outcome:
        """Return a transfer as it stands now, with the caller's account."""
        payer, payee = self.participants[one.payer_group], self.participants[one.payee_group]
        seen = transfers.view(one, payer, payee)
        head = None
        if caller is not None and one.id in self.transfers:
            head = self.head(caller, one.union_id)
        return Outcome(seen, head, created, refusal_of(one), tuple(warnings))

    def head(self, group_id: str, union_id: str) -> Head:
        """Return a group's account as it is now."""
        account = self.account(group_id, union_id)
        balance = clearing_text(account.balance)
        return Head(group_id, balance, account.version, account.head)


def refusal_of(one: HeldTransfer) -> RefusedError | None:
    """Return what a refused transfer is answered with, each time."""
    if one.state is not TransferState.REFUSED:
        return None
    available = clearing_text(one.available or 0)
    return RefusedError(
        f"the payment does not fit the {one.reason}; available: {available} clearing units",
        reason=one.reason,
        available=available,
        transfer=str(one.id),
        state=str(one.state),
    )
