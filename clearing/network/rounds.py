"""Committed rounds: how much of what was owed each of them cleared, and what it released."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from clearing.network.answers import Answer, Asked, Cell, Column, Grain
from clearing.network.nodes import NAMED, UNION, Node, label, nodes
from clearing.network.numbers import money, share
from clearing.rounds import Amendment, Round, RoundState, SetOff

_ROUND: Final = Column("round", "id", "The round.")
_WHEN: Final = Column("committed_at", "moment", "When it was committed.")
_SHARES: Final = (
    Column("cleared", "clearing units", "What was set off of that."),
    Column("cleared_share", "share", "How much of what was owed was set off."),
    Column("of_possible", "share", "How much of what any netting could have set off."),
)
_OF_UNION: Final = (
    Column("obligations", "clearing units", "What was owed, the released payments posted."),
    Column("net_internal_debt", "clearing units", "What no netting can remove of that."),
    *_SHARES,
    Column("netting_efficiency", "share", "How much of what was owed netting can remove."),
    Column("drawn", "clearing units", "What is owed anew over spare credit lines."),
    Column("credit_lines", "yes or no", "Whether the round might use spare credit lines."),
    Column("amended", "yes or no", "Whether it was solved again before it was committed."),
    Column("waiting", "number", "Queued payments that there were to choose from."),
    Column("released", "number", "Those that were chosen."),
    Column("released_value", "clearing units", "What those come to."),
    Column("released_bound", "clearing units", "What no choice could have exceeded."),
    Column("released_exact", "yes or no", "Whether no better choice exists for certain."),
)
_OF_NAMED: Final = (
    Column("owed", "clearing units", "What it owed, the released payments posted."),
    Column("is_owed", "clearing units", "What others owed it."),
    *_SHARES,
    Column("drawn", "clearing units", "What it owes anew over spare credit lines."),
)


def rounds(session: Session, asked: Asked) -> Answer:
    """Each committed round of a period: what was cleared of what was owed, and what released.

    Formula: cleared share = C / T; of what is possible C / (T - NID), of a group's own part its
    C / min(owed, is owed), of a region Σ ÷ Σ of its groups; netting efficiency = 1 - NID / T.
    T: all obligations at the snapshot; NID = ½ Σ|b|; C = Σ of the set-offs. Spare credit lines can
    lift C / (T - NID) above 1; what they are drawn is told apart.
    Unit: clearing units; shares of 1; numbers of payments.
    Source: rounds and their rows as they were committed in the period, the amended ones where a
    round was solved again; Fleischman, Dini 2021, JRFM 14:452.
    """
    found = _committed(session, asked)
    if asked.by is Grain.UNION:
        rows = [_row(one, None, _of_union(one)) for one in found]
        columns: Sequence[Column] = (_ROUND, UNION, _WHEN, *_OF_UNION)
    else:
        rows = _by_name(session, asked, found)
        columns = (_ROUND, UNION, *NAMED[asked.by], _WHEN, *_OF_NAMED)
    return Answer("rounds", asked, columns, rows, _totals(found))


def _committed(session: Session, asked: Asked) -> Sequence[Round]:
    query = select(Round).where(
        Round.state == RoundState.COMMITTED,
        Round.ended_at >= asked.start,
        Round.ended_at < asked.end,
    )
    if asked.union_id is not None:
        query = query.where(Round.union_id == asked.union_id)
    return session.scalars(query.order_by(Round.ended_at, Round.id)).all()


def _row(one: Round, name: str | None, cells: Sequence[Cell]) -> Sequence[Cell]:
    named = () if name is None else (name,)
    return (str(one.id), one.union_id, *named, one.ended_at, *cells)


def _of_union(one: Round) -> Sequence[Cell]:
    owed, debt = one.obligations_total, one.net_internal_debt
    return (
        money(owed),
        money(debt),
        *_cleared(one.cleared, owed, owed - debt),
        share(owed - debt, owed),
        money(one.drawn),
        one.credit_lines,
        one.amended,
        one.waiting,
        one.released,
        money(one.released_value),
        money(one.released_bound),
        one.released_exact,
    )


def _cleared(cleared: int, owed: int, possible: int) -> tuple[Cell, Cell, Cell]:
    return money(cleared), share(cleared, owed), share(cleared, possible)


def _by_name(session: Session, asked: Asked, found: Iterable[Round]) -> list[Sequence[Cell]]:
    """Return what each round did to each group or region: both sides of its obligations."""
    known = {node.id: node for node in nodes(session, asked)}
    owed = _sides(session, asked, SetOff.debtor_id, Amendment.debtor_id)
    is_owed = _sides(session, asked, SetOff.creditor_id, Amendment.creditor_id)
    rows = []
    for one in found:
        debts, claims = owed.get(one.id, {}), is_owed.get(one.id, {})
        sums: dict[str, list[int]] = {}
        for node in _ordered(known[account] for account in debts.keys() | claims.keys()):
            debt, cleared, drawn = debts.get(node.id, (0, 0, 0))
            claim, _, _ = claims.get(node.id, (0, 0, 0))
            name = label(node.union_id, node.group_id, node.name, asked)[1]
            values = sums.setdefault(name, [0] * 5)
            for n, value in enumerate((debt, claim, cleared, min(debt, claim), drawn)):
                values[n] += value
        for name, (debt, claim, cleared, possible, drawn) in sorted(sums.items()):
            cells = _cleared(cleared, debt, possible)
            rows.append(_row(one, name, (money(debt), money(claim), *cells, money(drawn))))
    return rows


def _ordered(found: Iterable[Node]) -> list[Node]:
    return sorted(found, key=lambda node: node.name)


_Side = InstrumentedAttribute[int]


def _sides(
    session: Session, asked: Asked, of_set_off: _Side, of_amendment: _Side
) -> Mapping[UUID, Mapping[int, tuple[int, int, int]]]:
    """Return obligation, set-off and drawn by round and account, on one side of the rows."""
    proposed = _summed(SetOff, of_set_off, asked).where(~Round.amended)
    amended = _summed(Amendment, of_amendment, asked).where(Round.amended)
    found: dict[UUID, dict[int, tuple[int, int, int]]] = {}
    for round_id, account, *sums in session.execute(union_all(proposed, amended)):
        obligation, amount, drawn = map(int, sums)
        found.setdefault(round_id, {})[account] = obligation, amount, drawn
    return found


def _summed(
    rows: type[SetOff] | type[Amendment], side: _Side, asked: Asked
) -> Select[*tuple[Any, ...]]:
    query: Select[*tuple[Any, ...]] = (
        select(
            rows.round_id,
            side,
            func.sum(rows.obligation),
            func.sum(rows.amount),
            func.sum(rows.drawn),
        )
        .join(Round, Round.id == rows.round_id)
        .where(
            Round.state == RoundState.COMMITTED,
            Round.ended_at >= asked.start,
            Round.ended_at < asked.end,
        )
        .group_by(rows.round_id, side)
    )
    return query if asked.union_id is None else query.where(Round.union_id == asked.union_id)


def _totals(found: Sequence[Round]) -> dict[str, Cell]:
    owed = sum(one.obligations_total for one in found)
    debt = sum(one.net_internal_debt for one in found)
    cleared = sum(one.cleared for one in found)
    return {
        "rounds": len(found),
        "obligations": money(owed),
        "net_internal_debt": money(debt),
        "cleared": money(cleared),
        "cleared_share": share(cleared, owed),
        "of_possible": share(cleared, owed - debt),
        "drawn": money(sum(one.drawn for one in found)),
        "released": sum(one.released for one in found),
        "released_value": money(sum(one.released_value for one in found)),
    }
