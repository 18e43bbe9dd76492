"""The amounts of posted transfers against the entries of their journals, residues included."""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing.audit.finding import Names
from clearing.audit.merging import side_by_side
from clearing.ledger import Entry
from clearing.transfers import Transfer, TransferState

_CHUNK: Final = 10_000
_ID: Final = itemgetter(0)

Moved = dict[tuple[str, str], int]
"""What each account's position towards another changed by, both by name."""


def other_amounts(session: Session, names: Names) -> Iterator[str]:
    """Tell of posted transfers whose journal moved something else than they say."""
    connection = session.connection().execution_options(yield_per=_CHUNK)
    transfers = connection.execute(
        select(
            Transfer.id,
            Transfer.payer_group,
            Transfer.payee_group,
            Transfer.payer_clearing,
            Transfer.payee_clearing,
            Transfer.reverses,
        )
        .where(Transfer.state == TransferState.POSTED)
        .order_by(Transfer.id)
    )
    entries = connection.execute(
        select(Entry.journal_id, Entry.account_id, Entry.counterparty_id, Entry.amount).order_by(
            Entry.journal_id
        )
    )
    for journal_id, said, moved in side_by_side(transfers, entries, _ID, _ID):
        # One without any entry is told of as one without a journal.
        if said and moved and _moved(names, moved) != _wanted(said[0]):
            yield f"journal {journal_id} moved other amounts than its transfer says"


def _moved(names: Names, entries: Sequence[Sequence[Any]]) -> Moved:
    return {(names[ours], names[theirs]): amount for _, ours, theirs, amount in entries}


def _wanted(transfer: Sequence[Any]) -> Moved:
    _, payer, payee, payer_clearing, payee_clearing, reverses = transfer
    sign = 1 if reverses is None else -1
    residue = payer_clearing - payee_clearing
    parts = {payee: payee_clearing, **({f"residue/{payee}": residue} if residue else {})}
    paid = {(payer, name): -sign * amount for name, amount in parts.items()}
    return paid | {(name, payer): sign * amount for name, amount in parts.items()}
