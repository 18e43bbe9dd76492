"""Rates over HTTP: what the currencies are worth, and how a hub and the operator change one."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, Field
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from api.bodies import Moment, StrictBody, body_of, described
from api.callers import Acting, Caller, Reader
from api.services import Reading, Shared
from clearing import rate_proposals, rates
from clearing.rate_proposals import Answer, ProposalState, RateProposal, RateSide, Reply, Wish
from commons import database, nonces
from commons.database import transaction
from commons.errors import ForbiddenError, InvalidError, UnauthenticatedError
from commons.groups import Currency, Group
from commons.money import parse_rate
from commons.tokens import Bearer

router = APIRouter(tags=["Rates"])

BODY_EXAMPLE: Final[dict[str, Any]] = {"rate": "2/13", "valid_from": "2027-01-01T00:00:00Z"}
PROPOSAL_EXAMPLE: Final[dict[str, Any]] = {
    "id": "5f0a4b52-6d0e-4f0e-9d55-0c8b5b8a2a11",
    "group": "barcelona",
    "side": "hub",
    "state": "proposed",
    "rate": "2/13",
    "wanted_from": "2027-01-01T00:00:00Z",
    "proposed_at": "2026-11-24T08:00:00Z",
    "ended_at": None,
    "valid_from": None,
}
RATES_EXAMPLE: Final[dict[str, Any]] = {
    "groups": [
        {
            "group": "barcelona",
            "currency": "HORA",
            "scale": 2,
            "rate": "1/10",
            "history": [
                {
                    "rate": "1/10",
                    "valid_from": "2026-04-01T08:00:00Z",
                    "known_from": "2026-04-01T08:00:00Z",
                }
            ],
        }
    ],
    "proposals": [PROPOSAL_EXAMPLE],
}


class RateBody(StrictBody):
    """A rate that is wanted: clearing units per unit of the group's currency, as a fraction.

    Without `valid_from` it applies as soon as it may once both sides agreed. A hub proposes for its
    own group and needs not name it.
    """

    group: str | None = Field(default=None, max_length=40)
    rate: str = Field(max_length=32)
    valid_from: Moment | None = None


class ProposalView(BaseModel):
    """A proposed rate; `valid_from` is when it applies, once it is agreed."""

    id: UUID
    group: str
    side: RateSide
    state: ProposalState
    rate: str
    wanted_from: datetime | None
    proposed_at: datetime
    ended_at: datetime | None
    valid_from: datetime | None


class DatedRate(BaseModel):
    """A rate, from when on it applies, and since when that is known here."""

    rate: str
    valid_from: datetime
    known_from: datetime


class GroupRates(BaseModel):
    """A group's currency, what a unit of it is worth now, and all its rates, oldest first.

    Of two that apply from one moment the later one in the list does. `rate` is empty where none
    applies yet.
    """

    group: str
    currency: str
    scale: int
    rate: str | None
    history: list[DatedRate]


class RatesView(BaseModel):
    """The rates of all groups that the caller clears with, and its own proposals, newest first."""

    groups: list[GroupRates]
    proposals: list[ProposalView]


ProposalId = Annotated[UUID, Path(description="The UUID that the proposing side gave it.")]


def _answer(example: dict[str, Any], text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"example": example}}}


@router.get(
    "/rates", summary="The rates", responses={200: _answer(RATES_EXAMPLE, "All that is known.")}
)
def get_rates(asker: Reader, session: Reading) -> RatesView:
    """Tell what the currencies of the groups that one clears with are worth, were and will be.

    A rate's history is added to and never rewritten. A transfer takes the rates that apply when
    it is made, whatever its value date.
    """
    if asker.group_id is not None:
        seen = rates.shared_with(session, asker.group_id)
    else:
        seen = rates.clearing_groups(session, asker.bearer.union_id if asker.bearer else None)
    found = rate_proposals.latest(session, asker.group_id)
    return RatesView(
        groups=group_rates(session, seen),
        proposals=[proposal_view(one) for one in found if one.group_id in seen],
    )


@router.put(
    "/rates/{proposal_id}",
    summary="Propose a rate",
    status_code=201,
    responses={
        200: _answer(PROPOSAL_EXAMPLE, "Proposed before: as it stands now.")
        | {"model": ProposalView},
        201: _answer(PROPOSAL_EXAMPLE, "Proposed; the operator has to agree."),
    },
    openapi_extra=described(RateBody, BODY_EXAMPLE),
)
def put_rate(
    proposal_id: ProposalId,
    caller: Acting,
    body: Annotated[RateBody, Depends(body_of(RateBody))],
    services: Shared,
    response: Response,
) -> ProposalView:
    """Propose another rate: as a hub for its own currency, or as the operator for a group's.

    The other side has to agree. One proposal of a group is open at a time. Agreed, it applies no
    sooner than 16 minutes later, so that every quote holds for its life.
    """
    side, own = _side(caller)
    group_id = body.group or own
    if group_id is None or own not in {None, group_id}:
        raise InvalidError("group", "must be the group whose rate it is; a hub's own")
    rate = parse_rate(body.rate)
    wish = Wish(proposal_id, group_id, side, caller.actor, rate, body.valid_from)
    _use(services.engine, caller)
    with transaction(services.engine) as session:
        proposal, is_new = rate_proposals.propose(session, wish)
        told = proposal_view(proposal)
    response.status_code = 201 if is_new else 200
    return told


@router.post(
    "/rates/{proposal_id}/agree",
    summary="Agree with a rate",
    responses={
        200: _answer(
            PROPOSAL_EXAMPLE
            | {"side": "operator", "state": "agreed", "ended_at": "2026-11-24T09:00:00Z"}
            | {"valid_from": "2027-01-01T00:00:00Z"},
            "Agreed; `valid_from` says when it applies.",
        )
    },
)
def agree_with_rate(proposal_id: ProposalId, caller: Acting, services: Shared) -> ProposalView:
    """Agree as the side that did not propose it."""
    return _ended(services.engine, proposal_id, caller, Answer.AGREE)


@router.post(
    "/rates/{proposal_id}/decline",
    summary="Decline a rate",
    responses={
        200: _answer(
            PROPOSAL_EXAMPLE
            | {"side": "operator", "state": "declined", "ended_at": "2026-11-24T09:00:00Z"},
            "Declined.",
        )
    },
)
def decline_rate(proposal_id: ProposalId, caller: Acting, services: Shared) -> ProposalView:
    """Decline as the side that did not propose it."""
    return _ended(services.engine, proposal_id, caller, Answer.DECLINE)


@router.post(
    "/rates/{proposal_id}/withdraw",
    summary="Withdraw a proposed rate",
    responses={
        200: _answer(
            PROPOSAL_EXAMPLE | {"state": "withdrawn", "ended_at": "2026-11-24T09:00:00Z"},
            "Withdrawn.",
        )
    },
)
def withdraw_rate(proposal_id: ProposalId, caller: Acting, services: Shared) -> ProposalView:
    """Withdraw as the side that proposed it, while the other has not answered."""
    return _ended(services.engine, proposal_id, caller, Answer.WITHDRAW)


def _side(caller: Caller | Bearer) -> tuple[RateSide, str | None]:
    """Return for which side somebody speaks, and for which group where it is a hub."""
    if isinstance(caller, Caller):
        return RateSide.HUB, caller.group_id
    if caller.union_id is not None:
        raise ForbiddenError("a rate holds in all unions, and this token opens one alone")
    return RateSide.OPERATOR, None


def _use(engine: Engine, caller: Caller | Bearer) -> None:
    """Use up a hub's nonce, whatever its call comes to."""
    if isinstance(caller, Bearer):
        return
    with transaction(engine) as session:
        for why in nonces.use(session, [caller.used]).values():
            raise UnauthenticatedError(why)


def _ended(
    engine: Engine, proposal_id: UUID, caller: Caller | Bearer, answer: Answer
) -> ProposalView:
    side, group_id = _side(caller)
    _use(engine, caller)
    with transaction(engine) as session:
        reply = Reply(answer, side, caller.actor, group_id)
        return proposal_view(rate_proposals.answer(session, proposal_id, reply))


def proposal_view(proposal: RateProposal) -> ProposalView:
    """Return a proposal as it is told."""
    return ProposalView(
        id=proposal.id,
        group=proposal.group_id,
        side=proposal.side,
        state=proposal.state,
        rate=proposal.rate,
        wanted_from=proposal.wanted_from,
        proposed_at=proposal.proposed_at,
        ended_at=proposal.ended_at,
        valid_from=proposal.valid_from,
    )


def group_rates(session: Session, group_ids: list[str]) -> list[GroupRates]:
    """Return groups' rates, by group; those without a currency are left out."""
    rows = session.execute(
        select(Group.id, Currency)
        .join(Currency, Currency.id == Group.currency_id)
        .where(Group.id.in_(group_ids))
        .order_by(Group.id)
    )
    now = rates.rates_at(database.now(session))
    wanted = select(now.c.group_id, now.c.rate).where(now.c.group_id.in_(group_ids))
    current = dict(session.execute(wanted).all())
    dated: dict[str, list[DatedRate]] = {group_id: [] for group_id in group_ids}
    for rate in rates.history(session, group_ids):
        dated[rate.group_id].append(
            DatedRate(rate=rate.rate, valid_from=rate.valid_from, known_from=rate.known_from)
        )
    return [
        GroupRates(
            group=group_id,
            currency=currency.code,
            scale=currency.scale,
            rate=current.get(group_id),
            history=dated[group_id],
        )
        for group_id, currency in rows
    ]
