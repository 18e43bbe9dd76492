"""Whether an adjustment fits: what is owed and free, and the limits of both accounts."""

from clearing import disputes, events
from clearing.adjustments.rows import Adjustment, AdjustmentKind
from clearing.events import Notice
from clearing.ledger import Book
from clearing.limits import Use, payment_uses
from clearing.pairs import Pair
from commons.errors import ConflictError
from commons.money import CLEARING_SCALE, format_amount


def check_room(book: Book, adjustment: Adjustment, pair: Pair) -> list[Notice]:
    """Raise ConflictError where it does not fit now; the locks are held.

    What is settled or assigned is owed, not disputed and not taken by a proposed round; and what
    changes balances keeps to the limits of both accounts, reservations counted. Returns what hubs
    are told whose limit it brings beyond its level of warning.
    """
    uses = _uses(book, adjustment, pair)
    rooms = [(use.name, use.room) for _, use in uses]
    if adjustment.kind is not AdjustmentKind.OPENING:
        rooms.insert(0, ("obligation", disputes.free_of_rounds(book, *pair.key)))
    reason, room = min(rooms, key=lambda one: one[1])
    if room < adjustment.amount:
        free = format_amount(max(0, room), CLEARING_SCALE)
        raise ConflictError(
            f"it does not fit what is free of {reason}: {free} clearing units",
            reason=reason,
            available=free,
        )
    near = [(owner, use) for owner, use in uses if owner and use.crosses()]
    return [events.approached(owner, adjustment.union_id, use) for owner, use in near]


def _uses(book: Book, adjustment: Adjustment, pair: Pair) -> list[tuple[str | None, Use]]:
    """Return what it uses of limits, each with whose; as a payment the same way would."""
    falls, rises, x = pair.debtor, pair.creditor, adjustment.amount
    if adjustment.kind is AdjustmentKind.ASSIGNMENT:  # moves no balance
        return []
    if adjustment.kind is AdjustmentKind.SETTLEMENT:
        falls, rises = rises, falls
    towards = book.position(falls.id, rises.id)
    sides = book.accounts[falls.id], book.accounts[rises.id]
    credit, surplus, owed = payment_uses(*sides, towards, x, x, x)
    uses = [(falls.group_id, credit), (rises.group_id, surplus)]
    is_opening = adjustment.kind is AdjustmentKind.OPENING  # else the pair owes less
    return [*uses, (falls.group_id, owed)] if is_opening else uses
