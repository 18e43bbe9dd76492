"""Payments that came to nothing, and those that wait: how many, what they come to, and why."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from sqlalchemy import Select, String, case, cast, func, literal, or_, select
from sqlalchemy.orm import Session

from clearing.columns import Names, coded, read, told_apart
from clearing.network.answers import Answer, Asked, Cell, Column, Every, Grain
from clearing.network.cuts import first_of_month, month_starts
from clearing.network.flows import Alike, Steps, known
from clearing.network.nodes import NAMED, UNION, label
from clearing.network.numbers import money, share
from clearing.network.privacy import FEWEST_MEMBERS, FEWEST_TRANSFERS
from clearing.transfers import ReasonCode, Transfer, TransferState

QUEUED: Final = str(TransferState.QUEUED)
POSTED: Final = str(TransferState.POSTED)

_OUTCOMES: Final = [f"{state}:{code}" for state in TransferState for code in ("", *ReasonCode)]
_TOLD_APART: Final = 2
"""Up to how many members of each side are counted of a cell."""

_WHAT: Final = (
    Column("outcome", "word", "refused, rejected, cancelled, expired; posted; queued at the end."),
    Column("code", "word", "Why the other hub rejected it."),
)
_MADE: Final = (
    Column("number", "number", "Payments; none where withheld."),
    Column("value", "clearing units", "What their payees were to get, less what was taken back."),
)
_SHARES: Final = (
    Column("number_share", "share", "Of all that were tried and have ended in the period."),
    Column("value_share", "share", "The same of their value."),
)
_OLDEST: Final = Column("oldest_days", "days", "For how many whole days the first has waited.")


@dataclass(frozen=True)
class _Cell:
    """Payments of a group's members that ended alike in a month; `members` there are at least.

    `value` is less what was taken back, `counted` the number of payments less that of reversals.
    """

    union_id: str
    month: datetime
    outcome: str
    payer: str
    number: int
    value: int
    counted: int
    payers: int
    members: int


@dataclass
class _Sum:
    """Cells added up, and whether that may be told."""

    number: int = 0
    value: int = 0
    is_told: bool = True

    def add(self, number: int, value: int, *, is_told: bool) -> None:
        self.number += number
        self.value += value
        self.is_told &= is_told


def failures(session: Session, asked: Asked) -> Answer:
    """Payments that were refused, rejected, cancelled or that expired, and those that wait.

    Formula: number and Σ value by how they ended; share = those ÷ all that ended in the period,
    posted ones too. Value: what the payee's group was to be credited; of posted ones less what the
    reversals posted in the period took back, as in `volume`; shares of it none where all that was
    tried comes to nothing. By group or region it is the payer's. Queued: queued before
    the end of the period and neither posted nor ended by then.
    Unit: payments; clearing units; shares of 1; whole days.
    Source: transfers by when they ended, reversals counted in the value alone. Whole months that
    are over alone; what fewer than 5 payments or 3 members are in is withheld, and what would tell
    it.
    """
    months = month_starts(session, asked)
    cells = _cells(session, asked, months)
    told = _told_outcomes(cells)
    is_union = asked.by is Grain.UNION
    sums = _of_unions(cells, told) if is_union else _of_payers(cells, told, asked)
    tried = _tried(cells)
    rows = [_row(key, one, tried if is_union else None) for key, one in sorted(sums.items())]
    withheld = sum(not one.is_told for one in sums.values())
    if is_union:
        waiting = list(_queues(session, asked))
        rows += waiting
        withheld += sum(row[3] is None for row in waiting)
    columns = (UNION, *NAMED[asked.by], *_WHAT, *_MADE, *((*_SHARES, _OLDEST) if is_union else ()))
    return Answer("failures", asked, columns, rows, _totals(cells), withheld)


def _cells(session: Session, asked: Asked, months: Sequence[datetime]) -> list[_Cell]:
    unions, groups = known(session, asked)
    step = Steps(session, months, Every.MONTH)
    state, code = cast(Transfer.state, String), cast(Transfer.reason_code, String)
    union = Names(session, Transfer.union_id, unions)
    outcome = Names(session, state + literal(":") + func.coalesce(code, literal("")), _OUTCOMES)
    payer = Names(session, Transfer.payer_group, groups)
    members = (coded(session, name) for name in (Transfer.payer_member, Transfer.payee_member))
    told: Sequence[Steps | Names] = (union, step, outcome, payer)
    value = case(
        (Transfer.reverses.is_(None), Transfer.payee_clearing), else_=-Transfer.payee_clearing
    )
    columns: list[Any] = [*(one.column for one in told), value, *members]
    labelled = (column.label(f"v{n}") for n, column in enumerate(columns))
    query: Select[*tuple[Any, ...]] = select(*labelled).where(
        or_(Transfer.reverses.is_(None), Transfer.state == TransferState.POSTED),
        Transfer.ended_at >= months[0],
        Transfer.ended_at < asked.end,
    )
    if asked.union_id is not None:
        query = query.where(Transfer.union_id == asked.union_id)
    found = read(session, query)
    sizes = (len(unions), len(months), len(_OUTCOMES), len(groups))
    key = np.zeros(len(found[4]), dtype=np.int64)
    for size, one, values in zip(sizes, told, found, strict=False):
        key = key * size + one.places(values)
    alike, is_payment = Alike(key), (found[4] >= 0).astype(np.int64)
    payers, payees = (alike.up_to(_TOLD_APART, told_apart(values)) for values in found[5:])
    number, counted = alike.total(is_payment), alike.total(2 * is_payment - 1)
    sums = number, alike.total(found[4]), counted, payers, payers + payees
    keys = np.unravel_index(alike.keys, sizes) if alike.keys.size else (alike.keys,) * len(sizes)
    return [
        _Cell(unions[u], months[m], _OUTCOMES[o], groups[p], *values)
        for u, m, o, p, *values in zip(*(one.tolist() for one in (*keys, *sums)), strict=True)
    ]


Outcome = tuple[str, datetime, str]
"""A union, a month, and how payments ended: state and code."""


def _told_outcomes(cells: Iterable[_Cell]) -> dict[Outcome, bool]:
    """Return which sums over a whole union are told: beside that of all that failed.

    How many were posted, other figures tell as well, so it hides nothing.
    """
    tables: dict[tuple[str, datetime], dict[str, list[_Cell]]] = {}
    for cell in cells:
        table = tables.setdefault((cell.union_id, cell.month), {})
        table.setdefault(cell.outcome, []).append(cell)
    told: dict[Outcome, bool] = {}
    for (union_id, month), table in tables.items():
        hidden = _hidden({name: part for name, part in table.items() if not _is_posted(name)})
        hidden |= {name for name, part in table.items() if _is_small(part)}
        told |= {(union_id, month, outcome): outcome not in hidden for outcome in table}
    return told


def _hidden(parts: Mapping[str, Sequence[_Cell]]) -> set[str]:
    """Return which parts of a sum are withheld.

    All that can be worked out is the sum less what is told of it. So there are further ones, the
    smallest first, until two parts or more are withheld that together are enough to be told.
    """
    order = sorted(parts, key=lambda name: (sum(cell.number for cell in parts[name]), name))
    small = {name for name in order if _is_small(parts[name])}
    hidden = [name for name in order if name in small]
    if hidden:
        free = [name for name in order if name not in small]
        held = [cell for name in hidden for cell in parts[name]]
        while free and (len(hidden) <= 1 or _is_small(held)):
            hidden.append(free.pop(0))
            held += parts[hidden[-1]]
    return set(hidden)


def _is_small(cells: Sequence[_Cell]) -> bool:
    """Tell whether a sum of cells is too little; payers of different groups are different."""
    if sum(cell.counted for cell in cells) < FEWEST_TRANSFERS:
        return True
    if max(cell.members for cell in cells) >= FEWEST_MEMBERS:
        return False
    return sum(_most(cells).values()) < FEWEST_MEMBERS


def _is_posted(outcome: str) -> bool:
    return outcome.partition(":")[0] == POSTED


def _most(cells: Iterable[_Cell]) -> dict[str, int]:
    """Return how many of each group's members paid at least: the same may in several cells."""
    most: dict[str, int] = {}
    for cell in cells:
        most[cell.payer] = max(most.get(cell.payer, 0), cell.payers)
    return most


Row = tuple[str, str, str]
"""A union, what the row is about, and how payments ended."""


def _of_unions(cells: Iterable[_Cell], told: dict[Outcome, bool]) -> dict[Row, _Sum]:
    sums: dict[Row, _Sum] = {}
    for cell in cells:
        is_told = told[cell.union_id, cell.month, cell.outcome]
        key = cell.union_id, "", cell.outcome
        sums.setdefault(key, _Sum()).add(cell.number, cell.value, is_told=is_told)
    return sums


def _of_payers(cells: Sequence[_Cell], told: dict[Outcome, bool], asked: Asked) -> dict[Row, _Sum]:
    """Return failures by group or region; how many of its payments were posted is told elsewhere.

    Regions are withheld beside their groups: what was withheld of a region's groups must be enough
    to be told by itself.
    """
    failed = [cell for cell in cells if not _is_posted(cell.outcome)]
    by_group = _withheld(failed, [cell.payer for cell in failed], told)
    names = [label(cell.union_id, cell.payer, cell.payer, asked)[1] for cell in failed]
    hidden = by_group
    if asked.by is Grain.REGION:
        parts = [n for n, is_hidden in enumerate(by_group) if is_hidden]
        of_parts = _withheld([failed[n] for n in parts], [names[n] for n in parts], told)
        hidden = [False] * len(failed)
        for n, is_hidden in zip(parts, of_parts, strict=True):
            hidden[n] = is_hidden
    sums: dict[Row, _Sum] = {}
    for cell, name, is_hidden in zip(failed, names, hidden, strict=True):
        key = cell.union_id, name, cell.outcome
        sums.setdefault(key, _Sum()).add(cell.number, cell.value, is_told=not is_hidden)
    return sums


def _withheld(
    cells: Sequence[_Cell], names: Sequence[str], told: dict[Outcome, bool]
) -> list[bool]:
    """Return of which cells it is withheld what their name has in their month and outcome.

    Each outcome of a month is a sum of its own, that the union is told or not.
    """
    outcomes = [(cell.union_id, cell.month, cell.outcome) for cell in cells]
    sums: dict[Outcome, dict[str, list[_Cell]]] = {}
    for outcome, name, cell in zip(outcomes, names, cells, strict=True):
        sums.setdefault(outcome, {}).setdefault(name, []).append(cell)
    hidden = {
        outcome: _hidden(parts) if told[outcome] else set(parts) for outcome, parts in sums.items()
    }
    return [name in hidden[outcome] for outcome, name in zip(outcomes, names, strict=True)]


def _tried(cells: Iterable[_Cell]) -> dict[str, _Sum]:
    """Return all that ended in each union, told where what failed and what was posted may be."""
    found: dict[str, _Sum] = {}
    months: dict[tuple[str, datetime], list[_Cell]] = {}
    for cell in cells:
        months.setdefault((cell.union_id, cell.month), []).append(cell)
    for (union_id, _), some in months.items():
        parts = ([c for c in some if _is_posted(c.outcome) is which] for which in (True, False))
        is_told = not any(part and _is_small(part) for part in parts)
        number, value = sum(c.number for c in some), sum(c.value for c in some)
        found.setdefault(union_id, _Sum()).add(number, value, is_told=is_told)
    return found


def _row(key: Row, one: _Sum, tried: dict[str, _Sum] | None) -> Sequence[Cell]:
    union_id, name, outcome = key
    state, _, code = outcome.partition(":")
    told = (one.number, money(one.value)) if one.is_told else (None, None)
    if tried is None:
        return (union_id, name, state, code or None, *told)
    all_tried = tried[union_id]
    shares: tuple[Cell, Cell] = (None, None)
    if one.is_told and all_tried.is_told:
        of_value = share(one.value, all_tried.value) if all_tried.value > 0 else None
        shares = share(one.number, all_tried.number), of_value
    return (union_id, state, code or None, *told, *shares, None)


def _totals(cells: Sequence[_Cell]) -> dict[str, Cell]:
    """Return all that was tried and has ended, where every month of every union tells it."""
    tried = _tried(cells).values()
    if not all(one.is_told for one in tried):
        return {"tried": None, "tried_value": None}
    number, value = sum(one.number for one in tried), sum(one.value for one in tried)
    return {"tried": number, "tried_value": money(value)}


@dataclass(frozen=True)
class _Waited:
    """A payment that was queued, from when until when, and between whom, erased names left out."""

    value: int
    since: datetime
    until: datetime | None
    members: frozenset[tuple[str, str | None]]


def _queues(session: Session, asked: Asked) -> Iterator[Sequence[Cell]]:
    """Yield what waited at the end of the period, by union.

    What two ends differ by is what entered or left meanwhile. So it is told only where enough did
    in the last month in which anything did: every difference then has a month of enough in it.
    """
    waited: dict[str, list[_Waited]] = {}
    query: Select[*tuple[Any, ...]] = select(
        Transfer.union_id,
        Transfer.payee_clearing,
        Transfer.queued_at,
        Transfer.ended_at,
        Transfer.payer_group,
        Transfer.payer_member,
        Transfer.payee_group,
        Transfer.payee_member,
    ).where(Transfer.queued_at < asked.end, Transfer.reverses.is_(None))
    if asked.union_id is not None:
        query = query.where(Transfer.union_id == asked.union_id)
    for union_id, value, since, until, *sides in session.execute(query):
        members = frozenset(zip(sides[::2], sides[1::2], strict=True))
        left = until if until is not None and until < asked.end else None
        waited.setdefault(union_id, []).append(_Waited(value, since, left, members))
    for union_id, some in sorted(waited.items()):
        waiting = [one for one in some if one.until is None]
        if waiting:
            is_told = _enough(waiting) and _enough(_last_changes(some))
            yield _queue(union_id, waiting, asked.end, is_told=is_told)


def _last_changes(some: Iterable[_Waited]) -> list[_Waited]:
    """Return what entered or left in the last month in which anything did."""
    moments = [(one, at) for one in some for at in (one.since, one.until) if at is not None]
    last = max(first_of_month(at) for _, at in moments)
    return list({id(one): one for one, at in moments if at >= last}.values())


def _enough(some: Sequence[_Waited]) -> bool:
    members = {member for one in some for member in one.members if member[1] is not None}
    return len(some) >= FEWEST_TRANSFERS and len(members) >= FEWEST_MEMBERS


def _queue(
    union_id: str, waiting: Sequence[_Waited], end: datetime, *, is_told: bool
) -> Sequence[Cell]:
    if not is_told:
        return (union_id, QUEUED, None, None, None, None, None, None)
    oldest = (end - min(one.since for one in waiting)) // timedelta(days=1)
    value = money(sum(one.value for one in waiting))
    return (union_id, QUEUED, None, len(waiting), value, None, None, oldest)
