"""What the ledger should do, kept the simplest way: dictionaries, and no rounding."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from clearing_world import GROUPS, minor

from clearing.calls import Call, Create, Move, Reverse, Verb
from clearing.transfers import Party, TransferState
from commons.errors import ConflictError, LocalPayError, RefusedError

NAMES = tuple(GROUPS)
ENDS = {
    Verb.ACCEPT: {TransferState.POSTED, TransferState.QUEUED},
    Verb.REJECT: {TransferState.REJECTED},
    Verb.CANCEL: {TransferState.CANCELLED},
}
Pair = tuple[str, str]
Expected = type[LocalPayError] | None


@dataclass
class Known:
    """A transfer; `pair` is who owes whom afterwards, `amount` in smallest clearing units."""

    pair: Pair
    amount: int
    initiator: Party
    state: TransferState = TransferState.PENDING
    reserved: bool = True
    wait: bool = False
    queued: int = 0
    reverses: UUID | None = None
    taken_back: int = 0

    @property
    def is_open(self) -> bool:
        return self.state in {TransferState.PENDING, TransferState.QUEUED}


@dataclass
class Model:
    """The ledger; amounts in smallest clearing units."""

    transfers: dict[UUID, Known] = field(default_factory=dict)
    position: dict[Pair, int] = field(default_factory=dict)
    credit: dict[str, int | None] = field(default_factory=dict)
    surplus: dict[str, int | None] = field(default_factory=dict)
    pair_limit: dict[Pair, int | None] = field(default_factory=dict)
    given: dict[Pair, int] = field(default_factory=dict)
    rules: dict[str, tuple[Party, str, int]] = field(default_factory=dict)
    turn: int = 0

    def balance(self, name: str) -> int:
        return sum(amount for (a, _), amount in self.position.items() if a == name)

    def pending(self, matches: Callable[[Pair], bool]) -> int:
        """Sum what is reserved by those whose (debtor, creditor) matches."""
        return sum(
            one.amount
            for one in self.transfers.values()
            if one.state is TransferState.PENDING and one.reserved and matches(one.pair)
        )

    def out_of(self, name: str) -> int:
        return self.pending(lambda pair: pair[0] == name)

    def into(self, name: str) -> int:
        return self.pending(lambda pair: pair[1] == name)

    def used(self, payer: str, payee: str) -> tuple[int, int, int]:
        """What is taken of the payer's line, the payee's surplus line and the pair's."""
        pair = (payer, payee)
        below = self.out_of(payer) - self.balance(payer)
        above = self.into(payee) + self.balance(payee)
        owed = max(0, -self.position.get(pair, 0))
        return below, above, owed + self.pending(lambda p: p == pair) + self.given.get(pair, 0)

    def fits(self, one: Known) -> bool:
        """Whether no stop is passed by one more debt."""
        payer, payee = one.pair
        stops = (self.credit.get(payer), self.surplus.get(payee), self.pair_limit.get(one.pair))
        pairs = zip(stops, self.used(payer, payee), strict=True)
        return all(stop is None or used + one.amount <= stop for stop, used in pairs)

    def owe(self, debtor: str, creditor: str, amount: int) -> None:
        """Have `debtor` owe `creditor` so much more."""
        self.position[debtor, creditor] = self.position.get((debtor, creditor), 0) - amount
        self.position[creditor, debtor] = self.position.get((creditor, debtor), 0) + amount

    def take(self, call: Call) -> Expected:
        """Do what a call asks for, and return the error that it has to be answered with."""
        if isinstance(call, Create):
            return self._create(call)
        return self._move(call) if isinstance(call, Move) else self._reverse(call)

    def release(self) -> int:
        """Post what waits and has room now, and still has when its turn comes."""
        waiting = [one for one in self.transfers.values() if one.state is TransferState.QUEUED]
        ready = [one for one in sorted(waiting, key=lambda one: one.queued) if self.fits(one)]
        released = 0
        for one in ready:
            if self.fits(one):
                self._post(one)
                released += 1
        return released

    def _create(self, call: Create) -> Expected:
        if call.id in self.transfers:
            known = self.transfers[call.id]
            return RefusedError if known.state is TransferState.REFUSED else None
        pair = (call.payer.partition("/")[0], call.payee.partition("/")[0])
        initiator = Party.PAYER if call.caller == pair[0] else Party.PAYEE
        one = Known(pair, minor(call.amount), initiator, wait=call.wait)
        other = pair[1] if initiator is Party.PAYER else pair[0]
        return self._settle(call.id, one, other, call.caller, initiator)

    def _settle(self, key: UUID, one: Known, other: str, maker: str, side: Party) -> Expected:
        has_room = self.fits(one)
        self.transfers[key] = one
        if not has_room and not one.wait:
            one.state = TransferState.REFUSED
            return RefusedError
        rule = self.rules.get(other)
        agreed = rule is not None and (
            rule[0] is side and rule[1] in {"", maker} and one.amount <= rule[2]
        )
        one.reserved = has_room and not agreed
        if agreed:
            self._agreed(one)
        return None

    def _agreed(self, one: Known) -> None:
        """Both hubs agree: it is posted where it has room, and else it waits."""
        if one.reserved or self.fits(one):
            self._post(one)
        else:
            self.turn += 1
            one.state, one.reserved, one.queued = TransferState.QUEUED, False, self.turn

    def _post(self, one: Known) -> None:
        one.state, one.reserved = TransferState.POSTED, False
        self.owe(*one.pair, one.amount)
        if one.reverses is not None:
            self.transfers[one.reverses].taken_back += one.amount

    def _move(self, call: Move) -> Expected:
        one = self.transfers[call.id]
        if one.state in ENDS[call.verb]:
            return None
        if not one.is_open or (one.state is TransferState.QUEUED and call.verb is not Verb.CANCEL):
            return ConflictError
        if call.verb is not Verb.ACCEPT:
            (one.state,) = ENDS[call.verb]
            return None
        if not (one.reserved or self.fits(one) or one.wait or call.wait):
            return ConflictError
        one.wait = one.wait or call.wait
        self._agreed(one)
        return None

    def _reverse(self, call: Reverse) -> Expected:
        if call.id in self.transfers:
            known = self.transfers[call.id]
            return RefusedError if known.state is TransferState.REFUSED else None
        original = self.transfers[call.transfer]
        rest = original.amount - original.taken_back
        amount = rest if call.amount is None else self._worth(original.pair[1], call.amount)
        pending = [
            one
            for one in self.transfers.values()
            if one.reverses == call.transfer and one.state is TransferState.PENDING
        ]
        is_free = call.caller is None or not pending  # the operator goes before a hub that asked
        is_open = original.state is TransferState.POSTED and is_free
        if not is_open or not 0 < amount <= rest:
            return ConflictError
        payer, payee = original.pair
        initiator = Party.PAYER if call.caller in {payer, None} else Party.PAYEE
        one = Known((payee, payer), amount, initiator, reverses=call.transfer)
        if call.caller is None:
            for asked in pending:
                asked.state = TransferState.CANCELLED
            self.transfers[call.id] = one
            self._post(one)
            return None
        # To the other hub a reversal is a payment the other way round.
        other, side = (payee, Party.PAYEE) if call.caller == payer else (payer, Party.PAYER)
        return self._settle(call.id, one, other, call.caller, side)

    @staticmethod
    def _worth(group: str, text: str) -> int:
        """Return what an amount in a group's own money is, in smallest clearing units."""
        rate = GROUPS[group].rate
        exact = minor(text) * rate
        assert exact.denominator == 1
        return int(exact)
