"""What a hub should do about each difference, in a plain sentence."""

from typing import Final
from uuid import UUID

from clearing.transfers import TransferState

MOVES_NOTHING: Final = frozenset(
    {
        TransferState.REFUSED,
        TransferState.REJECTED,
        TransferState.CANCELLED,
        TransferState.EXPIRED,
    }
)
"""States in which a transfer has ended without money."""


def missing_here(transfer_id: UUID, yours: TransferState | None) -> str:
    """Say what to do about a transfer that only the hub's book has."""
    if yours in MOVES_NOTHING:
        return "Nothing: it never came here, and moved nothing in your book either."
    return (
        f"It is no transfer of yours here. Make it with PUT /transfers/{transfer_id} if it was "
        "never sent; otherwise correct its id, or take it back in your book."
    )


def missing_there(transfer_id: UUID, ours: TransferState, *, made_by_you: bool) -> str:
    """Say what to do about a transfer that only the service has."""
    at = f"/transfers/{transfer_id}"
    if ours is TransferState.POSTED:
        return (
            f"Book it as posted; GET {at} tells all of it. If it should not be, agree with the "
            f"other hub to take it back: POST {at}/reverse."
        )
    if ours is TransferState.QUEUED:
        return f"Book it as waiting for room, or cancel it: POST {at}/cancel."
    if made_by_you:
        return f"Book it as pending, or cancel it: POST {at}/cancel."
    return f"Accept or reject it: POST {at}/accept, POST {at}/reject."


def state(
    transfer_id: UUID, yours: TransferState, ours: TransferState, *, made_by_you: bool
) -> str:
    """Say what to do where the two books have a transfer in different states."""
    at = f"/transfers/{transfer_id}"
    if ours is TransferState.POSTED:
        return "Book it as posted: both hubs have agreed, and the groups' accounts were moved."
    if ours in MOVES_NOTHING:
        if yours in MOVES_NOTHING:
            return f"Book it as {ours}; no money was moved either way."
        return f"Book it as {ours} and give your member back what was taken: nothing was posted."
    if ours is TransferState.QUEUED:
        return f"Book it as waiting for room; it is posted when there is some, or POST {at}/cancel."
    if made_by_you:
        return (
            f"Book it as pending: the other hub has not answered. Or cancel it: POST {at}/cancel."
        )
    return f"Book it as pending, and answer it: POST {at}/accept, POST {at}/reject."


def content(transfer_id: UUID, ours: TransferState, *, made_by_you: bool) -> str:
    """Say what to do where amount, currency or parties differ."""
    at = f"/transfers/{transfer_id}"
    if ours in MOVES_NOTHING:
        return "Correct your book to ours; no money was moved."
    if ours is TransferState.POSTED:
        undo = f"take it back with POST {at}/reverse and make it anew"
    elif made_by_you or ours is TransferState.QUEUED:
        undo = f"cancel it with POST {at}/cancel and make it anew"
    else:
        undo = f"reject it with POST {at}/reject"
    return f"Correct your book to ours. If yours is right, {undo} under another id."


def rate() -> str:
    """Say what to do where a rate differs."""
    return (
        "Convert this transfer at our rate in your book: it was frozen when the transfer was made, "
        "whatever was agreed since."
    )
