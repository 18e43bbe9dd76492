"""Why a group's listings are, or are not, in the search; for whoever runs its hub."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api import problems
from api.callers import SigningGroup
from api.routes.pages import render
from api.services import Services, Shared
from commons.database import reading, transaction
from commons.errors import TooManyError
from crawler import peers
from crawler.diagnosis import Diagnosis, StepName, StepState, diagnose
from crawler.joining import join
from crawler.peers import FOLLOWS, PeerKind, PeerState

router = APIRouter(tags=["Hubs"])

REFRESH_SECONDS: Final = 5
ROUNDS_MOST: Final = 36
"""How often a page that waits loads itself anew: three minutes in all."""

TITLES: Final = {
    StepName.ADDRESS: "Address",
    StepName.CONNECTION: "DNS and connection",
    StepName.ROBOTS: "robots.txt",
    StepName.SOFTWARE: "Software",
    StepName.ACTOR: "Actor",
    StepName.KEYS: "Keys",
    StepName.CONSENT: "The hub's consent",
    StepName.HUB: "Standing",
    StepName.FOLLOW: "Follow",
    StepName.SOURCE: "Where the listings are",
    StepName.LISTINGS: "Reading the listings",
    StepName.AUTHORS: "The authors' consent",
    StepName.INDEX: "Search",
    StepName.VISIT: "Next visit",
}
STATE_WORDS: Final = {
    StepState.OK: "done",
    StepState.FAILED: "to be mended",
    StepState.WAITING: "under way",
    StepState.NOT_NEEDED: "not needed",
}

HEALTH_EXAMPLE: Final[dict[str, Any]] = {
    "id": "barcelona",
    "name": "Banc de Temps de Barcelona",
    "address": "https://hub.example/group",
    "kind": "activitypub",
    "state": "live",
    "at": "2026-05-02T10:00:07Z",
    "asked": False,
    "listings": 0,
    "failed": "authors",
    "mend": "Put https://www.w3.org/ns/activitystreams#Public into `to` of each listing.",
    "waiting": False,
    "steps": [
        {
            "name": "authors",
            "state": "failed",
            "seen": "All were left out: it is not addressed to the public.",
            "at": None,
            "mend": "Put https://www.w3.org/ns/activitystreams#Public into `to` of each listing.",
            "counts": [
                {
                    "reason": "it is not addressed to the public",
                    "count": 3,
                    "mend": "Put https://www.w3.org/ns/activitystreams#Public into `to`.",
                    "examples": [],
                }
            ],
        }
    ],
}


class CountView(BaseModel):
    """How many listings were not taken for a reason; `examples` for the hub itself alone."""

    reason: str
    count: int
    mend: str
    examples: list[str]


class StepView(BaseModel):
    """One step on the way from the hub's address to the search."""

    name: StepName
    state: StepState
    seen: str
    at: datetime | None
    mend: str
    counts: list[CountView]


class HealthView(BaseModel):
    """All steps; `failed` is the first that failed and `mend` the one thing to mend.

    `asked` tells that the hub was looked at now; `waiting` that something may change by itself.
    """

    id: str
    name: str
    address: str
    kind: PeerKind
    state: PeerState
    at: datetime
    asked: bool
    listings: int
    failed: StepName | None
    mend: str | None
    waiting: bool
    steps: list[StepView]

    @classmethod
    def of(cls, told: Diagnosis, *, is_own: bool) -> Self:
        """Return what is told of a diagnosis: everything but examples and errors as noted.

        Counts, reasons and remedies tell nothing of any member, and no more of a hub than asking
        it does; who pastes its address has no account here to show them to. An example is the
        address of a listing that somebody did not get published, so it is the hub's alone
        (`is_own`). An error as it was noted may hold addresses of an inside, be it the hub's or
        ours: that is for the operator, who reads it by `localpay hub health`.
        """
        first = told.first_failed
        steps = [
            StepView(
                name=step.name,
                state=step.state,
                seen=step.seen,
                at=step.at,
                mend=step.mend,
                counts=[
                    CountView(**{**asdict(one), "examples": one.examples if is_own else ()})
                    for one in step.counts
                ],
            )
            for step in told.steps
        ]
        return cls(
            id=told.group_id or "",
            name=told.name,
            address=told.address,
            kind=told.kind,
            state=told.state,
            at=told.at,
            asked=told.asked,
            listings=told.listings,
            failed=first.name if first else None,
            mend=first.mend if first else None,
            waiting=told.is_waiting,
            steps=steps,
        )


GroupId = Annotated[str, Path(description="The group's short id.", examples=["barcelona"])]


def _answer(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"example": HEALTH_EXAMPLE}}}


@router.get(
    "/hubs/{group_id}/health",
    summary="Why a hub's listings are, or are not, in the search",
    response_model=HealthView,
    responses={200: _answer("Each step, with the one thing to mend.")},
)
async def get_health_of_hub(
    request: Request, services: Shared, signer: SigningGroup, group_id: GroupId
) -> Response:
    """Tell each step from the hub's address to the search, and the one thing to mend.

    As it is stored, without asking the hub; to a browser as a page. Signed by the hub, it also
    tells up to five examples of what could not be read.
    """
    told = await _diagnosis(services, group_id, ask=False)
    view = HealthView.of(told, is_own=signer == group_id)
    if not wants_page(request):
        return _unkept(JSONResponse(view.model_dump(mode="json")))
    return health_page(view, rounds=_rounds(request))


@router.post(
    "/hubs/{group_id}/check",
    summary="Look at a hub now",
    response_model=HealthView,
    responses={200: _answer("Each step as it was seen just now; a visit has begun.")},
)
async def check_hub(
    request: Request, services: Shared, signer: SigningGroup, group_id: GroupId
) -> Response:
    """Look at a hub now, in at most 6 requests and 20 seconds, and begin a visit of it.

    Once a minute for each hub and 30 a minute in all; 429 with Retry-After beyond that. A hub
    that has not agreed yet is asked whether it does now.
    """
    peer = await run_in_threadpool(_peer, services, group_id)
    try:
        services.allowances.checks_of_hub.take("this hub was looked at just now", group_id)
        services.allowances.checks.take("many hubs are looked at right now")
    except TooManyError as error:
        if not wants_page(request):
            raise
        return too_many(error, f"/hubs/{group_id}/health")
    if peer.consented_at is None and peer.kind in FOLLOWS:
        await join(services.engine, services.door, services.settings, peer.actor_uri)
    await run_in_threadpool(_begin_visit, services, group_id)
    told = await _diagnosis(services, group_id, ask=True)
    view = HealthView.of(told, is_own=signer == group_id)
    if not wants_page(request):
        return _unkept(JSONResponse(view.model_dump(mode="json")))
    return health_page(view, rounds=ROUNDS_MOST)


def health_page(view: HealthView, *, rounds: int) -> Response:
    """Return the page; while something is under way it loads itself anew, `rounds` are over."""
    following = rounds + 1 if view.waiting and rounds < ROUNDS_MOST else 0
    context = {
        "told": view,
        "titles": TITLES,
        "state_words": STATE_WORDS,
        "refresh_seconds": REFRESH_SECONDS,
        "following": following,
    }
    return _unkept(render("hub_health.html", context))


def too_many(error: TooManyError, back: str) -> Response:
    """Return the page for whoever asks too often."""
    context = {"title": "A little later, please", "message": f"Now {error.detail}.", "back": back}
    response = render("later.html", context, problems.kind_of(error).status)
    response.headers["Retry-After"] = str(error.retry_after_seconds)
    return _unkept(response)


def wants_page(request: Request) -> bool:
    """Tell whether a browser asks, which names HTML before anything else that it takes."""
    first = request.headers.get("accept", "").partition(",")[0].partition(";")[0]
    return first.strip().lower() in {"text/html", "application/xhtml+xml"}


def _unkept(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept"
    return response


def _rounds(request: Request) -> int:
    given = request.query_params.get("round", "")
    return min(int(given), ROUNDS_MOST) if given.isascii() and given.isdigit() else 0


async def _diagnosis(services: Services, group_id: str, *, ask: bool) -> Diagnosis:
    peer = await run_in_threadpool(_peer, services, group_id)
    return await diagnose(
        services.engine,
        services.door,
        services.settings,
        peer.id,
        index=services.index,
        ask=ask,
    )


def _peer(services: Services, group_id: str) -> peers.Peer:
    with reading(services.engine) as session:
        peer = peers.by_group(session, group_id)
        session.expunge(peer)
        return peer


def _begin_visit(services: Services, group_id: str) -> None:
    with transaction(services.engine) as session:
        peer = peers.by_group(session, group_id, lock=True)
        if peers.may_index(session, peer):
            peers.schedule(session, peer.id)
    services.worker.wake()
