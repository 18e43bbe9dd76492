"""The groups that clear: their accounts by union, their currency and the rate that applies."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from clearing import bulk
from clearing.accounts import DEFAULT_UNION, Account, AccountKind, AccountState
from clearing.rates import Rate
from commons.errors import ConflictError, InvalidError
from commons.groups import Currency, Group, Hub, HubState
from commons.money import Side, parse_rate


@dataclass(slots=True)
class Seat:
    """A group's accounts in one union: its own and the one that takes its rounding."""

    account_id: int
    residue_id: int
    is_open: bool


@dataclass(slots=True)
class Participant:
    """A group with accounts; while its hub is not admitted, nothing new is made with it.

    `code` and `scale` are its currency's, `rate` the fraction that applies, empty where none is
    agreed; `seats` are its accounts by union.
    """

    group_id: str
    code: str
    scale: int
    rate: str | None
    admitted: bool
    seats: dict[str, Seat] = field(default_factory=dict)

    def side(self) -> Side:
        """Return what a unit of its currency is worth, and how far it divides."""
        return Side(parse_rate(self.agreed_rate()), self.scale)

    def agreed_rate(self) -> str:
        """Return the rate that applies, or raise ConflictError where none is agreed."""
        if self.rate is None:
            raise ConflictError(f"no rate is agreed for the currency of group {self.group_id!r}")
        return self.rate


# Looked up for each group: PostgreSQL takes a join with all rates for one with a single row.
_RATE: Final = (
    select(Rate.rate)
    .where(
        Rate.group_id == Group.id,
        Rate.valid_from <= bindparam("moment", type_=Rate.valid_from.type),
    )
    .order_by(Rate.valid_from.desc(), Rate.id.desc())
    .limit(1)
    .scalar_subquery()
)
_GROUPS: Final = bulk.Sought(
    lambda among: (
        select(Group.id, Currency.code, Currency.scale, _RATE, Hub.state)
        .join(Currency, Currency.id == Group.currency_id)
        .join(Hub, Hub.group_id == Group.id)
        .where(among(Group.id))
    )
)
_SEATS: Final = bulk.Sought(
    lambda among: select(
        Account.group_id, Account.union_id, Account.kind, Account.id, Account.state
    ).where(among(Account.group_id))
)


def find_participants(
    session: Session, group_ids: Collection[str], moment: datetime
) -> dict[str, Participant]:
    """Return those of the groups that have accounts, with the rates that apply at `moment`."""
    rows = _GROUPS.rows(session, group_ids, moment=moment)
    found = {
        group_id: Participant(group_id, code, scale, rate, state is HubState.ADMITTED)
        for group_id, code, scale, rate, state in rows
    }
    _seat(session, found)
    return {group_id: one for group_id, one in found.items() if one.seats}


def _seat(session: Session, found: Mapping[str, Participant]) -> None:
    residues: dict[tuple[str, str], int] = {}
    own: list[tuple[str, str, int, AccountState]] = []
    rows = _SEATS.rows(session, found)
    for group_id, union_id, kind, account_id, state in rows:
        assert group_id is not None  # noqa: S101 (told to the type checker)
        if kind is AccountKind.RESIDUE:
            residues[group_id, union_id] = account_id
        else:
            own.append((group_id, union_id, account_id, state))
    for group_id, union_id, account_id, state in own:
        residue_id = residues[group_id, union_id]
        is_open = state is AccountState.OPEN
        found[group_id].seats[union_id] = Seat(account_id, residue_id, is_open)


def choose_union(payer: Participant, payee: Participant, named: str | None) -> str:
    """Return the union that a payment goes through.

    The one that is named; else the only one in which both have open accounts; else the main one.
    Raises InvalidError where that is none of both, or where several could be meant.
    """
    shared = sorted(payer.seats.keys() & payee.seats.keys())
    if named is not None:
        if named not in shared:
            raise InvalidError("union", _choices(shared))
        return named
    both_open = [u for u in shared if payer.seats[u].is_open and payee.seats[u].is_open]
    if len(both_open) == 1:
        return both_open[0]
    if DEFAULT_UNION in shared:
        return DEFAULT_UNION
    if len(shared) == 1:
        return shared[0]
    raise InvalidError("union", _choices(shared))


def _choices(shared: Collection[str]) -> str:
    if not shared:
        return "must be one that both groups are in, and there is none"
    return f"must be one that both groups are in: {', '.join(shared)}"
