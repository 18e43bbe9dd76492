"""One row of a hub's book beside our transfer of the same id: how the two differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from uuid import UUID

from clearing.reconciliation import advice
from clearing.reconciliation.books import BookRow, Direction, exact
from clearing.transfers import Party, Transfer, Unit
from commons.groups import Currency
from commons.money import CLEARING_SCALE, format_amount, parse_rate


class Kind(StrEnum):
    """How two books differ about a transfer; `here` is the service, `there` the hub."""

    MISSING_HERE = "missing-here"
    MISSING_THERE = "missing-there"
    AMOUNT = "amount"
    RATE = "rate"
    STATE = "state"
    COUNTERPARTY = "counterparty"


@dataclass(frozen=True)
class Difference:
    """One difference; `row` is the row of the hub's book, counted from 1, where it has one.

    `field` is the book's column, empty where the whole transfer is missing.
    """

    kind: Kind
    id: UUID
    row: int | None
    field: str | None
    yours: str | None
    ours: str | None
    do: str


@dataclass(frozen=True)
class Comparison:
    """A row and a transfer, as the group of the book sees them; currencies are by group."""

    row: BookRow
    transfer: Transfer
    group_id: str
    currencies: Mapping[str, Currency]

    def differences(self) -> Iterator[Difference]:
        """Yield each difference in what the row says; what it leaves out is not compared."""
        yield from self._parties()
        yield from self._amounts()
        yield from self._rates()
        yours, ours = self.row.state, self.transfer.state
        if yours is not None and yours is not ours:
            do = advice.state(self.row.id, yours, ours, made_by_you=self._made_by_you)
            yield self._difference(Kind.STATE, "state", yours, ours, do)

    def _parties(self) -> Iterator[Difference]:
        said = {Party.PAYER: self.row.payer, Party.PAYEE: self.row.payee}
        for party, yours in said.items():
            group, told = self.transfer.group_of(party), self._told(party)
            if yours is not None and yours not in {group, told} and not self._erased(party, yours):
                yield self._difference(Kind.COUNTERPARTY, party, yours, told, self._cure())
        direction = self._direction()
        if self.row.direction not in {None, direction}:
            told = self.row.direction
            yield self._difference(Kind.COUNTERPARTY, "direction", told, direction, self._cure())

    def _amounts(self) -> Iterator[Difference]:
        units = {"payer_amount": Unit.PAYER, "payee_amount": Unit.PAYEE, "amount": self._unit()}
        for column, yours in self.row.amounts.items():
            minor, scale = self._amount(units[column])
            if exact(yours) != Fraction(minor, 10**scale):
                ours = format_amount(minor, scale)
                yield self._difference(Kind.AMOUNT, column, yours, ours, self._cure())
        code = self._code(units["amount"])
        if self.row.currency not in {None, code}:
            told = self.row.currency
            yield self._difference(Kind.AMOUNT, "currency", told, code, self._cure())

    def _rates(self) -> Iterator[Difference]:
        rates = {"payer_rate": self.transfer.payer_rate, "payee_rate": self.transfer.payee_rate}
        rates["rate"] = rates[f"{self._own}_rate"]
        for column, yours in self.row.rates.items():
            if parse_rate(yours) != parse_rate(rates[column]):
                yield self._difference(Kind.RATE, column, yours, rates[column], advice.rate())

    @property
    def _own(self) -> Party:
        return self.transfer.party_of(self.group_id)

    @property
    def _made_by_you(self) -> bool:
        return self._own is self.transfer.initiator

    def _direction(self) -> Direction:
        """Return which way the money goes; a reversal names payer and payee of what it undoes."""
        is_payer = self._own is Party.PAYER
        return Direction.OUT if is_payer != (self.transfer.reverses is not None) else Direction.IN

    def _member(self, party: Party) -> str | None:
        is_payer = party is Party.PAYER
        return self.transfer.payer_member if is_payer else self.transfer.payee_member

    def _told(self, party: Party) -> str:
        return f"{self.transfer.group_of(party)}/{self._member(party) or ''}"

    def _erased(self, party: Party, yours: str) -> bool:
        """Tell whether only the member's name could differ, which was erased here."""
        same_group = yours.partition("/")[0] == self.transfer.group_of(party)
        return same_group and self._member(party) is None

    def _unit(self) -> Unit:
        """Return in whose money `amount` is: by the row's unit, its currency, or else our own."""
        own = Unit(self._own)
        other = Unit.PAYEE if own is Unit.PAYER else Unit.PAYER
        if self.row.unit is not None:
            return self.row.unit
        is_other = self.row.currency == self._code(other) != self._code(own)
        return other if is_other else own

    def _code(self, unit: Unit) -> str | None:
        return None if unit is Unit.CLEARING else self._currency(unit).code

    def _currency(self, unit: Unit) -> Currency:
        return self.currencies[self.transfer.group_of(Party(unit))]

    def _amount(self, unit: Unit) -> tuple[int, int]:
        """Return our amount in smallest units, and how many places these are."""
        t = self.transfer
        if unit is Unit.CLEARING:
            own = t.payer_clearing if self._own is Party.PAYER else t.payee_clearing
            return own, CLEARING_SCALE
        return (t.payer_amount if unit is Unit.PAYER else t.payee_amount), self._currency(
            unit
        ).scale

    def _cure(self) -> str:
        return advice.content(self.row.id, self.transfer.state, made_by_you=self._made_by_you)

    def _difference(
        self, kind: Kind, column: str, yours: str | None, ours: str | None, do: str
    ) -> Difference:
        return Difference(kind, self.row.id, self.row.number, column, yours, ours, do)
