"""What-if over HTTP: a period replayed with other limits, rounds or members, for analysts."""

from threading import Lock
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from api import problems
from api.bodies import Moment, StrictBody, body_of, described, json_answer
from api.caching import NOT_KEPT
from api.callers import Analyst
from api.network_asking import year_before
from api.services import Services, Shared
from clearing import simulation
from clearing.accounts import DEFAULT_UNION
from clearing.network.answers import Every
from clearing.network.cuts import first_of_month
from clearing.network.steps import ends
from clearing.simulation import Changes, Recorded, privacy
from clearing.simulation.apart import compare_apart
from commons import database
from commons.database import reading
from commons.errors import InvalidError, NotFoundError, TooManyError
from commons.groups import GROUP_ID_PATTERN
from commons.tokens import Bearer

MOST_TRANSFERS: Final = 200_000
DEADLINE_SECONDS: Final = 60
_YEAR_DAYS: Final = 366
_TENTHS: Final = r"^[0-9]{1,3}(\.[0-9])?$"

router = APIRouter(tags=["Network"])
one_at_a_time: Final = Lock()

Factor = Annotated[str, Field(pattern=_TENTHS, description="In tenths, such as 0.5.")]
Group = Annotated[str, Field(max_length=40)]

EXAMPLE_BODY: Final[dict[str, Any]] = {
    "union": "main",
    "from": "2025-11-01T00:00:00Z",
    "to": "2026-11-01T00:00:00Z",
    "credit_factor": "0.5",
    "rounds_every": 7,
}


class SimulationBody(StrictBody):
    """What is replayed, and what is to be otherwise; what is not named is as it was."""

    union: str | None = Field(None, pattern=GROUP_ID_PATTERN)
    start: Moment | None = Field(None, alias="from", description="The beginning of a month.")
    end: Moment | None = Field(None, alias="to", description="The beginning of a later one.")
    credit_factor: Factor = "1"
    surplus_factor: Factor = "1"
    pair_factor: Factor = "1"
    without: list[Group] = Field(
        default_factory=list, max_length=1, description="One group that is left out, at most."
    )
    rounds_every: int | None = Field(None, ge=1, le=_YEAR_DAYS, description="In days.")
    schedule: str | None = Field(None, max_length=100, description="Cron, in UTC.")
    no_rounds: bool = False
    credit_lines: bool | None = None


_FIGURES: Final[dict[str, Any]] = {
    "tried": 4120,
    "posted": 3980,
    "refused": 130,
    "met_credit_limit": 95,
    "in_use_peak": "1400.0000",
    "owed_mean": "2100.0000",
    "cleared": "820.0000",
    "cleared_share": "0.3905",
    "steps": [],
}
_ANSWER: Final[dict[str, Any]] = {
    "union": "main",
    "from": "2025-11-01T00:00:00Z",
    "to": "2026-11-01T00:00:00Z",
    "changes": {"credit_factor": "1/2", "rounds": "every 7 days"},
    "as_recorded": "1.0000",
    "baseline": _FIGURES,
    "what_if": _FIGURES,
    "difference": {"tried": 0, "posted": 0},
}


@router.post(
    "/network/simulate",
    summary="What would have been",
    response_class=Response,
    responses={
        200: {
            "description": "As it was, as it would have been, and the difference; rough.",
            "content": {"application/json": {"example": _ANSWER, "schema": {"type": "object"}}},
        },
        **problems.answers(NotFoundError, TooManyError),
    },
    openapi_extra=described(SimulationBody, EXAMPLE_BODY),
)
def simulate(
    bearer: Analyst,
    services: Shared,
    body: Annotated[SimulationBody, Depends(body_of(SimulationBody))],
) -> Response:
    """Replay what was paid and refused in whole months, in memory; nothing is changed.

    One is replayed at a time. Numbers are told in steps of five, amounts by their first two
    digits; groups, never members.
    """
    if not one_at_a_time.acquire(blocking=False):
        raise TooManyError("another replay is on its way", retry_after_seconds=30)
    try:
        recorded, changes = _asked(bearer, services, body)
        steps = ends(recorded.start, recorded.end, Every.MONTH)
        compared = compare_apart(recorded, changes, steps, DEADLINE_SECONDS)
    finally:
        one_at_a_time.release()
    answer = json_answer(simulation.view(compared, simulation.ROUGH))
    answer.headers["Cache-Control"] = NOT_KEPT
    return answer


def _asked(bearer: Bearer, services: Services, body: SimulationBody) -> tuple[Recorded, Changes]:
    """Read what is asked for; raises InvalidError, and NotFoundError as for what is not there."""
    union = body.union or bearer.union_id or DEFAULT_UNION
    if bearer.union_id not in {None, union}:
        raise NotFoundError("there is no such union of yours")
    with reading(services.engine) as session:
        end = body.end or first_of_month(database.now(session))
        start = body.start or year_before(end)
        months = privacy.months_of(session, union, start, end)
        held = simulation.rounds_of(
            start, end, body.rounds_every, body.schedule, none=body.no_rounds
        )
        if simulation.count(session, union, start, end) > MOST_TRANSFERS:
            most = f"at most {MOST_TRANSFERS} are replayed here; `localpay simulate` has no bound"
            raise InvalidError("from", f"there are more payments until then: {most}")
        privacy.check(session, union, months, next(iter(body.without), None))
        recorded = simulation.read(session, union, start, end)
    without = frozenset(body.without)
    simulation.check_groups(recorded, without)
    credit, surplus, pair = (
        simulation.parse_factor(getattr(body, name), name)
        for name in ("credit_factor", "surplus_factor", "pair_factor")
    )
    return recorded, Changes(credit, surplus, pair, without, *held, body.credit_lines)
