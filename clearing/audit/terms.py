"""The terms of transfers: the rates and the levy that applied when each was made."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from fractions import Fraction
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing.audit.finding import Finding
from clearing.levies import LevyChange, LevyRule
from clearing.rates import Rate
from clearing.transfers import Transfer
from commons.money import parse_rate

_CHUNK: Final = 10_000


def terms(session: Session) -> Finding:
    """Check what is frozen in each transfer; a reversal has what its original had."""
    found = Finding(15, "a transfer has the rates and the levy that applied when it was made")
    rates = _History(session.execute(select(Rate.group_id, Rate.valid_from, Rate.rate, Rate.id)))
    levies = _History(
        session.execute(
            select(LevyChange.union_id, LevyChange.valid_from, LevyChange.share, LevyChange.id)
        )
    )
    transfers = session.scalars(select(Transfer).execution_options(yield_per=_CHUNK))
    for transfer in transfers:
        found.checked += 1
        meant: tuple[str | None, str | None, int]
        if transfer.reverses is not None:
            original = session.get(Transfer, transfer.reverses)
            rates_then = (original.payer_rate, original.payee_rate) if original else (None, None)
            meant = (*rates_then, transfer.levy)
        else:
            made_at = transfer.created_at
            share = levies.at(transfer.union_id, made_at)
            rule = LevyRule(parse_rate(share) if share else Fraction(0))
            meant = (
                rates.at(transfer.payer_group, made_at),
                rates.at(transfer.payee_group, made_at),
                rule.levy(transfer.payer_clearing),
            )
        if (transfer.payer_rate, transfer.payee_rate, transfer.levy) != meant:
            found.problems.append(f"transfer {transfer.id}: its rates or levy did not apply then")
    return found


class _History:
    """What applied to each group or union, and from when."""

    def __init__(self, rows: Iterable[tuple[str, datetime, str | None, int]]) -> None:
        self._of: dict[str, list[tuple[datetime, int, str | None]]] = defaultdict(list)
        for owner, valid_from, what, number in rows:
            self._of[owner].append((valid_from, number, what))
        for changes in self._of.values():
            changes.sort(key=lambda change: change[:2])

    def at(self, owner: str, moment: datetime) -> str | None:
        """Return what applied at a moment; of what applies from one moment on, the later known."""
        changes = self._of[owner]
        place = bisect_right(changes, moment, key=lambda change: change[0])
        return changes[place - 1][2] if place else None
