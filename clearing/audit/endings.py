"""How transfers ended: posted once, and what was taken back or levied with them."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Select, exists, func, select
from sqlalchemy.orm import Bundle, Session, aliased

from clearing.adjustments import Adjustment, AdjustmentState
from clearing.audit.amounts import other_amounts
from clearing.audit.finding import Finding, names_of
from clearing.ledger import Entry, Journal, JournalKind
from clearing.periods import PeriodEnd
from clearing.rounds import Candidate, Round, RoundState
from clearing.transfers import Transfer, TransferState, levy_journal

_CHUNK: Final = 10_000
_OPEN: Final = frozenset({TransferState.PENDING, TransferState.QUEUED})


def once(session: Session) -> Finding:
    """Check that each journal belongs to something that was posted, and the other way round."""
    found = Finding(5, "what is posted is posted once, under its own id, and only if it says so")
    for journal, made, levied, adjusted, state, releasing, period in session.execute(_abouts()):
        found.checked += 1
        wanted = list(_wanted(journal.id, made, levied, adjusted, releasing))
        if len(wanted) > 1:
            found.problems.append(f"journal {journal.id} is that of several that were posted")
        elif wanted and wanted[0] != tuple(journal[1:]):
            found.problems.append(f"journal {journal.id} is not what it is about says")
        elif not wanted:
            is_round = journal.kind is JournalKind.SET_OFF and journal.about is None
            is_round = is_round and state is RoundState.COMMITTED
            is_residue = journal.kind is JournalKind.RESIDUE and period is not None
            if journal.value_date is not None or not (is_round or is_residue):
                found.problems.append(f"journal {journal.id} is of nothing that was posted")
    for posted_id in _missing(session):
        found.problems.append(f"{posted_id} is said to be posted and has no journal")
    found.problems += other_amounts(session, names_of(session))
    return found


def _abouts() -> Select[Any]:
    """Ask for the journals, each with what could have been posted by it.

    The second round is the one that the journal is about, where that released it of the queue.
    """
    made, levied, releasing = aliased(Transfer), aliased(Transfer), aliased(Round)
    proposed = (Candidate.round_id == Journal.about) & (Candidate.transfer_id == Journal.id)
    done = (releasing.id == Candidate.round_id) & (releasing.state == RoundState.COMMITTED)
    return (
        select(
            _columns(Journal, "id", "kind", "about", "posted_at", "value_date"),
            _columns(made, "state", "reverses", "ended_at", "value_date"),
            _columns(levied, "id", "state", "levy", "reverses", "ended_at", "value_date"),
            _columns(Adjustment, "state", "kind", "ended_at", "value_date"),
            Round.state,
            releasing.id,
            PeriodEnd.id,
        )
        .select_from(Journal)
        .outerjoin(made, made.id == Journal.id)
        .outerjoin(levied, levied.id == Journal.about)
        .outerjoin(Adjustment, Adjustment.id == Journal.id)
        .outerjoin(Round, Round.id == Journal.id)
        .outerjoin(Candidate, proposed & Candidate.proposed)
        .outerjoin(releasing, done)
        .outerjoin(PeriodEnd, PeriodEnd.id == Journal.about)
        .execution_options(yield_per=_CHUNK)
    )


def _columns(table: Any, *names: str) -> Bundle[Any]:  # noqa: ANN401 (a model or an alias of one)
    return Bundle(names[0], *(getattr(table, name) for name in names))


def _wanted(
    journal_id: UUID,
    made: Row[Any],
    levied: Row[Any],
    adjusted: Row[Any],
    releasing: UUID | None,
) -> Iterator[tuple[object, ...]]:
    """Return what a journal's kind, about, time and value date have to be, by what was posted."""
    if made.state is TransferState.POSTED:
        kind = JournalKind.PAYMENT if made.reverses is None else JournalKind.REVERSAL
        yield kind, releasing, made.ended_at, made.value_date
    if levied.state is TransferState.POSTED and levied.levy:
        kind = JournalKind.LEVY if levied.reverses is None else JournalKind.REVERSAL
        if journal_id == levy_journal(levied.id):
            yield kind, levied.id, levied.ended_at, levied.value_date
    if adjusted.state is AdjustmentState.POSTED:
        yield JournalKind(adjusted.kind), None, adjusted.ended_at, adjusted.value_date


def _missing(session: Session) -> Iterator[UUID]:
    """Return what is said to be posted, or levied, and has no journal."""
    posted = Transfer.state == TransferState.POSTED
    of_transfer = exists().where(Journal.id == Transfer.id)
    of_levy = exists().where(Journal.about == Transfer.id)
    of_adjustment = exists().where(Journal.id == Adjustment.id)
    done = Adjustment.state == AdjustmentState.POSTED
    yield from session.scalars(select(Transfer.id).where(posted, ~of_transfer))
    for levied in session.scalars(select(Transfer.id).where(posted, Transfer.levy > 0, ~of_levy)):
        yield levy_journal(levied)
    yield from session.scalars(select(Adjustment.id).where(done, ~of_adjustment))


def ended(session: Session) -> Finding:
    """Check that what ended says when."""
    found = Finding(6, "a transfer ends once, not before it was made")
    for transfer in session.scalars(select(Transfer).execution_options(yield_per=_CHUNK)):
        found.checked += 1
        has_ended = transfer.ended_at is not None
        queued = transfer.queued_at is not None
        if (
            has_ended == (transfer.state in _OPEN)
            or (transfer.ended_at is not None and transfer.ended_at < transfer.created_at)
            or (transfer.state is TransferState.QUEUED and not queued)
            or (transfer.state is TransferState.PENDING and queued)
        ):
            found.problems.append(f"transfer {transfer.id} is {transfer.state}")
    return found


def taken_back(session: Session) -> Finding:
    """Check levies and reversals against what they belong to."""
    found = Finding(12, "levies are their transfers', and what is taken back is never more")
    levied = _levied(session)
    parts: dict[UUID, list[Transfer]] = defaultdict(list)
    reversals = select(Transfer).where(
        Transfer.reverses.is_not(None), Transfer.state == TransferState.POSTED
    )
    for part in session.scalars(reversals):
        if part.reverses is not None:
            parts[part.reverses].append(part)
    for transfer in session.scalars(select(Transfer).execution_options(yield_per=_CHUNK)):
        found.checked += 1
        moved = levied.get(transfer.id, 0)
        if moved != (transfer.levy if transfer.state is TransferState.POSTED else 0):
            found.problems.append(f"transfer {transfer.id}: levy {transfer.levy}, posted {moved}")
        of = parts.get(transfer.id, [])
        if transfer.reversed_amount != sum(part.payee_amount for part in of):
            found.problems.append(
                f"transfer {transfer.id}: reversed amount is not the sum of parts"
            )
        if of and not _is_right(session, transfer, of):
            found.problems.append(
                f"transfer {transfer.id}: was taken back otherwise than it was posted"
            )
    return found


def _levied(session: Session) -> dict[UUID, int]:
    """Return what the journals of levies moved, by the transfer that they belong to."""
    rows = (
        select(Journal.about, func.sum(Entry.amount))
        .join(Entry, Entry.journal_id == Journal.id)
        .where(Journal.kind.in_((JournalKind.LEVY, JournalKind.REVERSAL)))
        .where(Journal.about.is_not(None), Entry.amount > 0)
        .group_by(Journal.about)
    )
    return {about: int(moved) for about, moved in session.execute(rows) if about is not None}


def _is_right(session: Session, original: Transfer, parts: list[Transfer]) -> bool:
    """Tell whether parts take back no more than there was, and the whole exactly what there was."""
    is_whole = original.reversed_amount == original.payee_amount
    for id_of in (lambda transfer: transfer.id, lambda transfer: levy_journal(transfer.id)):
        there = _sums_by_pair(session, [id_of(original)])
        back = _sums_by_pair(session, [id_of(part) for part in parts])
        for pair in back.keys() | there.keys():
            was, taken = there.get(pair, 0), -back.get(pair, 0)
            if was * taken < 0 or abs(taken) > abs(was) or (is_whole and taken != was):
                return False
    return True


def _sums_by_pair(session: Session, journal_ids: list[UUID]) -> dict[tuple[int, int], int]:
    sums: dict[tuple[int, int], int] = defaultdict(int)
    for entry in session.scalars(select(Entry).where(Entry.journal_id.in_(journal_ids))):
        sums[entry.account_id, entry.counterparty_id] += entry.amount
    return sums
