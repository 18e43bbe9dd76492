"""How an agreed transfer is posted: its journals, its levy, and what it takes back."""

from collections.abc import Iterable
from uuid import UUID

from clearing import periods, transfers
from clearing.calls.desk import Desk
from clearing.ledger import Draft, JournalKind, Line, post
from clearing.limits import Use
from clearing.transfers import HeldTransfer, TransferState, reservation

_PAIR = "pair_limit"
_SURPLUS = "surplus_limit"


def post_transfer(desk: Desk, one: HeldTransfer, about: UUID | None = None) -> None:
    """Post a transfer that both hubs agreed to, and its levy with it; `about` is its journal's.

    Raises ConflictError where it counts for a day of a period that was closed since.
    """
    periods.check_open(one.value_date, desk.closed.get(one.union_id))
    desk.move(one, TransferState.POSTED)
    moment = desk.posted(one)
    post(desk.book, _journal(desk, one, about), moment)
    if one.levy:
        post(desk.book, _levy(desk, one), moment)
    if one.reverses is not None:
        original = desk.find(one.reverses)
        original.reversed_amount += one.payee_amount
        desk.change(original)


def _journal(desk: Desk, one: HeldTransfer, about: UUID | None) -> Draft:
    """Return the journal of a payment, or of a reversal: the same entries the other way round."""
    seats, accounts = desk.seats(one), desk.book.accounts
    payer, payee = (accounts[seat.account_id] for seat in seats)
    parts = [(payee, one.payee_clearing)]
    if one.payer_clearing > one.payee_clearing:
        parts.append((accounts[seats[1].residue_id], one.payer_clearing - one.payee_clearing))
    sign = 1 if one.reverses is None else -1
    entries = [(payer.id, account.id, -sign * amount) for account, amount in parts]
    entries += [(account.id, payer.id, sign * amount) for account, amount in parts]
    digest = transfers.content_digest(one)
    lines = [Line(payer.id, payee.name, digest)]
    lines += [Line(account.id, payer.name, digest) for account, _ in parts]
    kind = JournalKind.PAYMENT if one.reverses is None else JournalKind.REVERSAL
    return Draft(one.id, kind, entries, lines, about, one.value_date)


def _levy(desk: Desk, one: HeldTransfer) -> Draft:
    """Return the journal of what the payer's group pays its union, or gets back of it."""
    payer = desk.book.accounts[desk.seats(one)[0].account_id]
    levied = desk.book.accounts[desk.levy_account(one.union_id)]
    amount = one.levy if one.reverses is None else -one.levy
    digest = transfers.levy_digest(one)
    return Draft(
        transfers.levy_journal(one.id),
        JournalKind.LEVY if one.reverses is None else JournalKind.REVERSAL,
        [(payer.id, levied.id, -amount), (levied.id, payer.id, amount)],
        [Line(payer.id, levied.name, digest), Line(levied.id, payer.name, digest)],
        about=one.id,
        value_date=one.value_date,
    )


def broken(one: HeldTransfer, uses: Iterable[Use]) -> tuple[str, int] | None:
    """Return the first limit that a transfer does not fit and what would fit, or None."""
    over = [use for use in uses if not use.passes()]
    if not over:
        return None
    rooms = [use.room - (use.change - one.payee_clearing) for use in uses]
    return over[0].name, max(0, min(rooms))


def warn(desk: Desk, one: HeldTransfer, uses: Iterable[Use], caller: str | None) -> list[str]:
    """Tell hubs whose limit a transfer has just brought beyond the level of warning.

    Returns the names of the caller's own limits that are beyond it.
    """
    wanted, names = reservation(one), []
    for use in uses:
        owner = wanted.creditor if use.name == _SURPLUS else wanted.debtor
        if use.crosses():
            desk.tell_of_limit(owner, one.union_id, use)
        if use.warns() and (owner == caller or use.name == _PAIR):
            names.append(use.name)
    return names
