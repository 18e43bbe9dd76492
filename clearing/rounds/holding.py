"""Rounds held by themselves: proposed when a union's schedule says so, committed after notice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from clearing import rounds
from clearing.accounts import union_of
from clearing.poster import is_out_of_reach
from clearing.rounds import scheduling
from clearing.sealing import Seal
from commons import database
from commons.database import reading, transaction

PROPOSED_BY: Final = "schedule"
AGAIN_AFTER: Final = timedelta(minutes=1)
"""How long what failed is left alone: to solve it may take seconds, and others wait."""

Due = TypeVar("Due", UUID, str)

_log = structlog.get_logger(__name__)


@dataclass
class Holder:
    """Holds what rounds are due, and remembers what failed, why, and until when it is left alone.

    What failed is logged once for each reason, tried again, and holds up no other union.
    """

    engine: Engine
    seal: Seal
    _reasons: dict[str, str] = field(default_factory=dict, init=False)
    _again_at: dict[str, datetime] = field(default_factory=dict, init=False)

    def hold(self) -> int:
        """Commit what is past its notice, then propose what is due; return how many were.

        A look that locks nothing comes first. Each has a transaction of its own.
        """
        ended = self._each(rounds.due, self._commit)
        return ended + self._each(scheduling.due_unions, self._propose)

    def _each(
        self, look: Callable[[Session], Sequence[Due]], do: Callable[[Session, Due], bool]
    ) -> int:
        with reading(self.engine) as session:
            moment, found = database.now(session), list(look(session))
        done = 0
        for one in found:
            if self._again_at.get(str(one), moment) > moment:
                continue
            try:
                with transaction(self.engine) as session:
                    done += do(session, one)
            except Exception as error:
                if is_out_of_reach(error):
                    raise
                with reading(self.engine) as session:
                    if one in look(session):  # else somebody else was first
                        self._failed(str(one), error, moment)
            else:
                self._reasons.pop(str(one), None)
        return done

    def _commit(self, session: Session, round_id: UUID) -> bool:
        rounds.commit(session, round_id, self.seal)
        return True

    def _propose(self, session: Session, union_id: str) -> bool:
        """Propose a union's round; where nobody has notice, it is committed along with that."""
        if not scheduling.advance(session, union_id):
            return False
        if union_of(session, union_id).round_notice_seconds:
            rounds.propose(session, union_id, proposed_by=PROPOSED_BY, notice=None)
        else:
            rounds.settle(session, union_id, self.seal, proposed_by=PROPOSED_BY)
        return True

    def _failed(self, name: str, error: Exception, moment: datetime) -> None:
        self._again_at[name] = moment + AGAIN_AFTER
        reason = f"{type(error).__name__}: {error}"
        if self._reasons.get(name) != reason:
            self._reasons[name] = reason
            _log.error("a round could not be held", which=name, reason=reason, exc_info=error)
