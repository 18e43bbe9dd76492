"""Ids of journals: a transfer's is its journal's too, and other things have such ids as well."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from sqlalchemy import Uuid, column, select, table, union_all
from sqlalchemy.orm import Session

from clearing import bulk
from clearing.adjustments import Adjustment
from clearing.ledger import Journal
from clearing.transfers import Transfer, levy_journal

_ROUND_ID: Final = column("id", Uuid())
_ROUNDS: Final = table("rounds", _ROUND_ID)
"""The table of rounds by its name alone: rounds post what they release by `clearing.calls`."""
_OF_OTHERS: Final = bulk.Sought(
    lambda among: union_all(
        *(select(one).where(among(one)) for one in (Journal.id, Adjustment.id)),
        select(_ROUND_ID).select_from(_ROUNDS).where(among(_ROUND_ID)),
    )
)
_OF_TRANSFERS: Final = bulk.Sought(lambda among: select(Transfer.id).where(among(Transfer.id)))


def taken(session: Session, wanted: Collection[UUID], *, levied: bool) -> set[UUID]:
    """Return which ids of journals that transfers not posted yet would have are taken.

    By a journal, or by what has a journal of its id once it is posted: whoever is shown a round or
    a transfer knows that id before. `levied`: they may have a second journal, that of the levy.
    """
    levies = {levy_journal(one) for one in wanted} if levied else set()
    every = levies.union(wanted)
    if not every:
        return set()
    rows = [
        *_OF_OTHERS.rows(session, every),
        *(_OF_TRANSFERS.rows(session, levies) if levies else ()),
    ]
    return {found for (found,) in rows}
