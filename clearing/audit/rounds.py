"""Rounds: whole, within what was proposed, of no effect on any balance, and the best there was."""

from collections.abc import Iterator

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from clearing import certificates, columns
from clearing.accounts import Account
from clearing.audit.finding import Finding
from clearing.ledger import ChainRow, Entry, Journal
from clearing.netting.prices import products
from clearing.rounds import Amendment, Candidate, OptOut, Round, RoundPrice, RoundState, SetOff
from clearing.rounds.table import Rows, as_arcs, read_rows, totals
from clearing.transfers import Transfer


def rounds(session: Session) -> Finding:
    """Check that each round is what its rows say, and was posted whole or not at all."""
    found = Finding(
        7, "a round is whole, moves no balance, grows no obligation and clears the most"
    )
    for done in session.scalars(select(Round).order_by(Round.id)):
        found.checked += 1
        found.problems += [f"round {done.id}: {problem}" for problem in _broken(session, done)]
    found.problems += certificates.broken(session)
    return found


def _broken(session: Session, done: Round) -> Iterator[str]:
    proposed = read_rows(session, SetOff, done.id)
    amended = read_rows(session, Amendment, done.id)
    is_amended = bool(len(amended.amount)) or (done.amended and not len(proposed.amount))
    if done.amended != is_amended or (is_amended and done.state is not RoundState.COMMITTED):
        yield "it is not said that it was solved again, or was not"
    rows = amended if is_amended else proposed
    if is_amended and not _is_within(amended, proposed):
        yield "somebody is above its proposal, or what it reserved"
    yield from _within_itself(done, rows)
    yield from _posted(session, done, rows)
    yield from _queue(session, done)
    if done.state is RoundState.COMMITTED:
        yield from _opted_out(session, done, rows)
        yield from _prices(session, done, rows)


def _is_within(amended: Rows, proposed: Rows) -> bool:
    """Tell whether rows are those that were proposed, each with no more than it had.

    Nor may it take more than was reserved of what was owed beside the payments that it releases.
    """
    left, right = (np.lexsort((rows.creditor_id, rows.debtor_id)) for rows in (amended, proposed))
    if not np.array_equal(amended.debtor_id[left], proposed.debtor_id[right]):
        return False
    if not np.array_equal(amended.creditor_id[left], proposed.creditor_id[right]):
        return False
    more = amended.amount[left] > proposed.amount[right]
    more |= amended.reserved()[left] > proposed.reserved()[right]
    return not (more | (amended.drawn[left] > proposed.drawn[right])).any()


def _within_itself(done: Round, rows: Rows) -> Iterator[str]:
    found = totals(rows)
    said = (done.obligations_total, done.net_internal_debt)
    if said != (found.obligations, found.net_internal_debt):
        yield "its totals are not those of its snapshot"
    if (done.cleared, done.drawn) != (found.cleared, found.drawn):
        yield f"its set-offs do not sum to {done.cleared}, or what is drawn to {done.drawn}"
    if not done.credit_lines and rows.line.any():
        yield "it has spare credit lines and was not to use any"
    account, _, amount = rows.moved()
    _, places = np.unique(account, return_inverse=True)
    sums = np.zeros(len(account), np.int64)
    np.add.at(sums, places, amount)
    if sums.any():
        yield "its set-offs would move a balance"


def _posted(session: Session, done: Round, rows: Rows) -> Iterator[str]:
    c = Entry.__table__.c
    query = select(c.account_id, c.counterparty_id, c.amount).where(c.journal_id == done.id)
    account, other, amount = columns.read(session, query)
    order = np.lexsort((other, account))
    posted = [column[order] for column in (account, other, amount)]
    nothing = np.zeros(0, np.int64)
    is_done = done.state is RoundState.COMMITTED
    wanted = rows.moved() if is_done else (nothing, nothing, nothing)
    moved = session.scalar(
        select(func.count()).where(ChainRow.journal_id == done.id, ChainRow.amount != 0)
    )
    if moved or not all(map(np.array_equal, posted, wanted)):
        yield "what was posted is not what was proposed"


def _queue(session: Session, done: Round) -> Iterator[str]:
    """Tell where the payments that it chose from, or released, are not as many as it says."""
    is_posted = Journal.about == done.id
    query = (
        select(Candidate.place, Candidate.proposed, Transfer.payee_clearing, Journal.id)
        .outerjoin(Transfer, Transfer.id == Candidate.transfer_id)
        .outerjoin(Journal, (Journal.id == Candidate.transfer_id) & is_posted)
        .where(Candidate.round_id == done.id)
        .order_by(Candidate.place)
    )
    chosen = session.execute(query).all()
    if [row.place for row in chosen] != list(range(done.waiting)):
        yield f"it did not choose among {done.waiting} queued payments"
    is_done = done.state is RoundState.COMMITTED
    released = [row for row in chosen if (row.id is not None if is_done else row.proposed)]
    value = sum(row.payee_clearing or 0 for row in released)
    if any(row.payee_clearing is None for row in chosen) or any(
        row.id is not None and not row.proposed for row in chosen
    ):
        yield "a payment was released that it did not propose to, or that is not there"
    if (done.released, done.released_value) != (len(released), value):
        yield f"it did not release {done.released} payments of {done.released_value}"
    if done.released_bound < done.released_value:
        yield "it released more than could be"


def _opted_out(session: Session, done: Round, rows: Rows) -> Iterator[str]:
    own = select(Account.id).join(OptOut, OptOut.group_id == Account.group_id)
    ids = session.scalars(own.where(OptOut.round_id == done.id)).all()
    theirs = np.isin(rows.debtor_id, ids) | np.isin(rows.creditor_id, ids)
    if rows.amount[theirs].any() or rows.drawn[theirs].any():
        yield "something is set off of a group that opted out"


def _prices(session: Session, done: Round, rows: Rows) -> Iterator[str]:
    """Tell where prices do not prove that nothing more could be set off."""
    if done.key is None:  # of before there were prices
        return
    c = RoundPrice.__table__.c
    query = select(c.account_id, c.price).where(c.round_id == done.id).order_by(c.account_id)
    ids, price = columns.read(session, query)
    wanted, arcs, _ = as_arcs(rows)
    if not np.array_equal(ids, wanted):
        yield "its prices are not those of its accounts"
        return
    gain = arcs.weight + price[arcs.debtor] - price[arcs.creditor]
    if products(gain, np.where(gain > 0, arcs.cap, arcs.least)) != done.cleared - done.drawn:
        yield "its prices do not prove that nothing more could be set off"
