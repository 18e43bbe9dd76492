"""When a union's rounds are due: a cron expression in UTC, at most one round an hour."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cronsim import CronSim, CronSimError
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from clearing.accounts import Union
from clearing.rounds.model import Round, RoundState
from commons import database
from commons.errors import InvalidError

SECONDS_A_DAY: Final = 86_400
LONGEST_NOTICE_DAYS: Final = 90
LONGEST_NOTICE_SECONDS: Final = LONGEST_NOTICE_DAYS * SECONDS_A_DAY
_LONGEST_EXPRESSION: Final = 100
_FIELDS: Final = 5
_UNREADABLE: Final = 'must be a cron expression of five fields in UTC, such as "0 6 * * 1"'


def next_time(expression: str, after: datetime) -> datetime:
    """Return the first moment of a cron expression after another, in UTC.

    Raises InvalidError for what is none, for one that never comes, and for one by which two
    rounds could fall into one hour, which is any with more than one minute.
    """
    fields = expression.split() if len(expression) <= _LONGEST_EXPRESSION else []
    if len(fields) != _FIELDS or not expression.isascii():
        raise InvalidError("schedule", _UNREADABLE)
    try:
        found = CronSim(expression, after.astimezone(UTC))
        if len(found.minutes) > 1:
            raise InvalidError("schedule", "may have one minute alone: a round an hour at most")
        return next(found)
    except CronSimError as error:
        raise InvalidError("schedule", _UNREADABLE) from error
    except (StopIteration, OverflowError) as error:
        raise InvalidError("schedule", "names no day that ever comes") from error


def set_schedule(session: Session, union: Union, expression: str | None) -> None:
    """Have a union's rounds proposed by a cron expression from now on, or by nobody (None)."""
    if expression is None:
        union.round_schedule = union.round_at = None
        return
    union.round_at = next_time(expression, database.now(session))
    union.round_schedule = " ".join(expression.split())


def set_notice(union: Union, seconds: int) -> None:
    """Set how long groups may opt out of a union's proposed rounds, from the next one on."""
    union.round_notice_seconds = checked_notice(seconds)


def checked_notice(seconds: int) -> int:
    """Return a notice in seconds; InvalidError for a negative one, or one beyond 90 days."""
    if not 0 <= seconds <= LONGEST_NOTICE_SECONDS:
        days = f"{LONGEST_NOTICE_DAYS} days, which are {LONGEST_NOTICE_SECONDS} seconds"
        raise InvalidError("notice_seconds", f"must be from 0 to {days}")
    return seconds


def due_unions(session: Session) -> Sequence[str]:
    """Return the unions whose round is due now; one with a proposed round waits until it ended."""
    standing = exists().where(Round.union_id == Union.id, Round.state == RoundState.PROPOSED)
    return session.scalars(
        select(Union.id)
        .where(Union.round_at <= database.now(session), ~standing)
        .order_by(Union.round_at, Union.id)
    ).all()


def advance(session: Session, union_id: str) -> bool:
    """Move a union's schedule on to its next moment from now; False where none is due any more.

    Times that were missed are passed over, but for the one that is held now. The union's row is
    locked until the commit, so of two that look at once one holds the round.
    """
    moment = database.now(session)
    found = session.scalar(
        select(Union)
        .where(Union.id == union_id, Union.round_at <= moment)
        .with_for_update(key_share=True)  # else whoever proposes a round here would stop for it
        .execution_options(populate_existing=True)
    )
    if found is None or found.round_schedule is None:
        return False
    found.round_at = next_time(found.round_schedule, moment)
    session.flush()
    return True
