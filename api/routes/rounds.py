"""Obligations and rounds over HTTP: hubs see their part, analysts the whole, operators act."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api import problems, round_examples
from api.bodies import StrictBody, body_of, described, json_answer, optional_body_of, schema_of
from api.callers import Asker, Calling, Operator, Reader
from api.round_page import CSV, CSV_AS_SENT, HTML, POLICY, page_csv, page_html
from api.round_views import (
    PageView,
    PartView,
    PlanView,
    RoundView,
    page_view,
    part_document,
    plan_view,
    round_view,
    units,
)
from api.routes.accounts import UnionId
from api.routes.statements import JSON, chosen
from api.seals import seal_of
from api.services import Reading, Shared
from clearing import accounts, rounds
from clearing.rounds import Round, pages, scheduling
from commons.database import reading, transaction
from commons.errors import (
    ConflictError,
    ForbiddenError,
    MalformedError,
    NotFoundError,
    UnauthenticatedError,
    UnsupportedMediaError,
)
from commons.tokens import Bearer

router = APIRouter(tags=["Clearing"])

OBLIGATION_EXAMPLE: Final = {"debtor": "leeds", "creditor": "gracia", "amount": "10.0000"}
OPT_OUT_EXAMPLE: Final[dict[str, Any]] = {
    "round": round_examples.ROUND_ID,
    "group": "leeds",
    "opted_out_at": "2026-11-21T09:30:00Z",
}
PROPOSAL_EXAMPLE: Final = {"union": "main", "notice_seconds": 172_800}
OFFERED: Final = (JSON, CSV, HTML)
_OPERATORS: Final = problems.answers(UnauthenticatedError, ForbiddenError)
_TEXT: Final = {"type": "string"}

RoundId = Annotated[UUID, Path(description="The round's id.")]
GroupId = Annotated[str, Path(description="The group's short id.", examples=["leeds"])]


class ObligationView(BaseModel):
    """What one account owes another, in clearing units."""

    debtor: str
    creditor: str
    amount: str


class ObligationList(BaseModel):
    """Obligations: to a hub those that its group is a side of."""

    obligations: list[ObligationView]


class RoundList(BaseModel):
    """The last rounds, newest first."""

    rounds: list[RoundView]


class RoundPart(RoundView):
    """A round with the calling hub's own part of it; with a token, with all of it."""

    parts: list[PartView]


class ProposalBody(StrictBody):
    """Of which union a round is proposed, for how long groups may opt out, and whether at all.

    Without `notice_seconds` it is as the union's rounds are; with `dry_run` nothing is changed.
    """

    union: str = Field(default=accounts.DEFAULT_UNION, max_length=40)
    dry_run: bool = False
    notice_seconds: int | None = None


class NothingBody(StrictBody):
    """A body that says nothing: who opts out is the hub that signs, for its own group alone."""


class OptOutView(BaseModel):
    """A group's word that nothing of its own is to be set off in a round."""

    round: UUID
    group: str
    opted_out_at: datetime


def _answer(example: dict[str, Any], description: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": description, "content": {JSON: {"example": example}}}}


@router.get(
    "/obligations",
    summary="Who owes whom",
    responses=_answer({"obligations": [OBLIGATION_EXAMPLE]}, "By debtor and creditor."),
)
def list_obligations(asker: Reader, session: Reading, union: UnionId = None) -> ObligationList:
    """List what the calling hub's group owes and is owed now; to the bearer of a token, all."""
    found = rounds.obligations(session, asker.group_id, _seen_union(asker, session, union))
    return ObligationList(
        obligations=[
            ObligationView(debtor=one.debtor, creditor=one.creditor, amount=units(one.amount))
            for one in found
        ]
    )


def _seen_union(asker: Asker, session: Session, union: str | None) -> str:
    """Return the union that is asked for, to whoever may see it; NotFoundError to anybody else."""
    if asker.group_id is not None:
        return accounts.account_in(session, asker.group_id, union).union_id
    own = None if asker.bearer is None else asker.bearer.union_id
    asked = union or own or accounts.DEFAULT_UNION
    if not asker.may_see_union(asked):
        raise NotFoundError("there is no such union of yours")
    return asked


def seen_round(asker: Asker, session: Session, round_id: UUID) -> Round:
    """Return a round to whoever may see its union; to anybody else there is none."""
    found = rounds.find(session, round_id)
    seen = asker.may_see_union(found.union_id)
    if asker.group_id is not None:
        seen = accounts.find_account(session, asker.group_id, found.union_id) is not None
    if not seen:
        raise NotFoundError(f"there is no round {round_id}")
    return found


@router.get(
    "/rounds",
    summary="The last rounds",
    responses=_answer({"rounds": [round_examples.ROUND]}, "Newest first, fifty at most."),
)
def list_rounds(asker: Reader, session: Reading, union: UnionId = None) -> RoundList:
    """List the last rounds of a union with their totals."""
    last = rounds.latest(session, union_id=_seen_union(asker, session, union))
    return RoundList(rounds=[round_view(found) for found in last])


@router.get(
    "/rounds/{round_id}",
    summary="One round",
    response_model=RoundPart,
    responses=_answer(
        round_examples.ROUND | {"parts": [round_examples.PART]}, "With the caller's part."
    ),
)
def get_round(asker: Reader, session: Reading, round_id: RoundId) -> Response:
    """Give a round's totals and what it does to the calling hub's own obligations, or to all.

    While it is proposed, its hubs may opt out of it until `commit_at`.
    """
    found = seen_round(asker, session, round_id)
    parts = [part_document(part) for part in rounds.rows(session, found, asker.group_id)]
    return json_answer({**round_view(found).model_dump(), "parts": parts})


@router.get(
    "/rounds/{round_id}/groups/{group_id}",
    summary="A group's page of a round",
    response_class=Response,
    responses={
        200: {
            "description": "Its own part of the round, and how it stands now.",
            "content": {
                JSON: {"example": round_examples.PAGE, "schema": schema_of(PageView)},
                CSV: {"example": "kind,counterparty,before,…", "schema": _TEXT},
                HTML: {"example": "<!doctype html>…", "schema": _TEXT},
            },
        }
    },
)
def get_page(
    asker: Reader,
    session: Reading,
    round_id: RoundId,
    group_id: GroupId,
    accept: Annotated[str, Header(description="In which form.")] = JSON,
) -> Response:
    """Give what a group owed and was owed, what was set off with whom, and what it is now.

    A hub is given its own group's page, the bearer of a token any. The page as HTML stands for
    itself, without scripts; a file's name comes along, to keep it by.
    """
    media_type = chosen(accept, OFFERED)
    if not asker.may_see_group(group_id):
        raise NotFoundError("there is no such page of yours")
    found = seen_round(asker, session, round_id)
    account = accounts.account_of(session, group_id, found.union_id)
    page = page_view(pages.page_of(session, found, account))
    name = f"round-{round_id}-{group_id}"
    kept = {"Vary": "Accept", "Cache-Control": "private, no-store"}
    if media_type == CSV:
        kept["Content-Disposition"] = f'attachment; filename="{name}.csv"'
        return Response(page_csv(page), media_type=CSV_AS_SENT, headers=kept)
    if media_type == HTML:
        kept["Content-Disposition"] = f'inline; filename="{name}.html"'
        kept["Content-Security-Policy"] = POLICY
        return Response(page_html(page), media_type=HTML, headers=kept)
    kept["Content-Disposition"] = f'inline; filename="{name}.json"'
    return Response(page.model_dump_json(), media_type=JSON, headers=kept)


@router.post(
    "/rounds",
    summary="Propose a round",
    status_code=201,
    responses={
        200: {
            "description": "A dry run: what a round would do now to each group. Nothing changed.",
            "content": {JSON: {"example": round_examples.PLAN}},
            "model": PlanView,
        },
        201: {
            "description": "Proposed.",
            "content": {JSON: {"example": round_examples.PROPOSED}},
            "model": RoundView,
        },
        **_OPERATORS,
        **problems.answers(ConflictError, MalformedError, UnsupportedMediaError),
    },
    response_model=None,
    openapi_extra=described(ProposalBody, PROPOSAL_EXAMPLE),
)
def post_round(
    operator: Operator,
    body: Annotated[ProposalBody, Depends(body_of(ProposalBody))],
    services: Shared,
) -> Response:
    """Propose the optimal set-off of a union, as the operator; its groups are told of it.

    What it sets off is reserved until it is committed or abandoned; 409 while another round of the
    union is proposed. With a notice of 0 it may be committed at once.
    """
    if operator.union_id not in {None, body.union}:
        raise NotFoundError(f"there is no union {body.union!r}")
    notice = None
    if body.notice_seconds is not None:
        notice = timedelta(seconds=scheduling.checked_notice(body.notice_seconds))
    if body.dry_run:
        with reading(services.engine) as session:
            accounts.union_of(session, body.union)
            plan = rounds.preview(session, body.union)
            return json_answer(
                plan_view(
                    plan, pages.parts_of_groups(session, plan.union_id, plan.rows(), plan.queued)
                ).model_dump()
            )
    with transaction(services.engine) as session:
        accounts.union_of(session, body.union)
        made = rounds.propose(session, body.union, proposed_by=operator.actor, notice=notice)
        told = round_view(made)
        rounds.log(session, made, operator.actor)
    return json_answer(told.model_dump(), 201)


@router.post(
    "/rounds/{round_id}/commit",
    summary="Commit a round",
    responses={
        **_answer(round_examples.ROUND, "Committed, whole."),
        **_OPERATORS,
        **problems.answers(NotFoundError, ConflictError),
    },
)
def commit_round(round_id: RoundId, operator: Operator, services: Shared) -> RoundView:
    """Commit a proposed round as the operator, once nobody may opt out any more; else 409."""
    seal = seal_of(services.settings, services.keys)
    with transaction(services.engine) as session:
        _acted_on(session, operator, round_id)
        done = rounds.commit(session, round_id, seal)
        rounds.log(session, done, operator.actor)
        return round_view(done)


@router.post(
    "/rounds/{round_id}/abandon",
    summary="Abandon a round",
    responses={
        **_answer(round_examples.ABANDONED, "Without effect."),
        **_OPERATORS,
        **problems.answers(NotFoundError, ConflictError),
    },
)
def abandon_round(round_id: RoundId, operator: Operator, services: Shared) -> RoundView:
    """End a proposed round without effect, as the operator; what it reserved is free again."""
    with transaction(services.engine) as session:
        _acted_on(session, operator, round_id)
        done = rounds.abandon(session, round_id)
        rounds.log(session, done, operator.actor)
        return round_view(done)


def _acted_on(session: Session, operator: Bearer, round_id: UUID) -> None:
    seen_round(Asker(None, operator), session, round_id)


@router.post(
    "/rounds/{round_id}/opt-out",
    summary="Opt out of a round",
    responses={
        **_answer(OPT_OUT_EXAMPLE, "Nothing of the group's own is set off."),
        **problems.answers(UnauthenticatedError, ForbiddenError, NotFoundError, ConflictError),
    },
)
def opt_out(
    round_id: RoundId,
    caller: Calling,
    _nothing: Annotated[NothingBody, Depends(optional_body_of(NothingBody))],
    services: Shared,
) -> OptOutView:
    """Have nothing of the calling hub's own group set off in a proposed round, until its deadline.

    The round is solved again for the others when it is committed, nobody above what was proposed
    to it. Said again it stays said; after `commit_at` it is 409.
    """
    with transaction(services.engine) as session:
        seen_round(Asker(caller.group_id, None), session, round_id)
        said = rounds.opt_out(session, round_id, caller.group_id)
        return OptOutView(round=said.round_id, group=said.group_id, opted_out_at=said.opted_out_at)
