"""A group's terms for rounds over HTTP: whether it takes part, and what it keeps back."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field

from api.bodies import StrictBody, body_of, described
from api.callers import Calling, Reader
from api.routes.accounts import UnionId, seen_account
from api.services import Reading, Shared
from clearing.rounds import terms
from clearing.rounds.terms import MOST_KEPT_BACK, Kept, Terms
from commons.database import transaction
from commons.errors import NotFoundError

router = APIRouter(tags=["Clearing"])

TERMS_EXAMPLE: Final[dict[str, Any]] = {
    "in_rounds": True,
    "kept_back": [
        {"counterparty": "gracia", "amount": "10.0000"},
        {"counterparty": "ghent", "amount": None},
    ],
}
EXAMPLE: Final[dict[str, Any]] = {
    "group": "leeds",
    "union": "main",
    "in_rounds": True,
    "kept_back": [
        {"counterparty": "ghent", "amount": None},
        {"counterparty": "gracia", "amount": "10.0000"},
    ],
}


class KeptBody(StrictBody):
    """How much of what lies between the group and a counterparty stays out; all without amount."""

    counterparty: str = Field(max_length=60)
    amount: str | None = Field(default=None, max_length=40)


class TermsBody(StrictBody):
    """All terms of the group; what is not named here is not kept back."""

    in_rounds: bool
    kept_back: list[KeptBody] = Field(default_factory=list, max_length=MOST_KEPT_BACK)


class KeptView(BaseModel):
    """What stays out of rounds with a counterparty, in clearing units; all where empty."""

    counterparty: str
    amount: str | None


class TermsView(BaseModel):
    """A group's terms in a union: whether rounds set off anything of it, and what it keeps back."""

    group: str
    union: str
    in_rounds: bool
    kept_back: list[KeptView]


GroupId = Annotated[str, Path(description="The group's short id.", examples=["leeds"])]


def _answer(description: str) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"example": EXAMPLE}}
    return {200: {"description": description, "content": content}}


def _view(found: Terms) -> TermsView:
    return TermsView(
        group=found.group,
        union=found.union,
        in_rounds=found.in_rounds,
        kept_back=[
            KeptView(counterparty=one.counterparty, amount=one.amount) for one in found.kept_back
        ],
    )


@router.get(
    "/accounts/{group_id}/rounds",
    summary="A group's terms for rounds",
    responses=_answer("As they are now."),
)
def get_terms(
    asker: Reader, session: Reading, group_id: GroupId, union: UnionId = None
) -> TermsView:
    """Give the calling hub's own terms, or to the bearer of a token those of any group."""
    return _view(terms.terms_of(session, seen_account(asker, session, group_id, union)))


@router.put(
    "/accounts/{group_id}/rounds",
    summary="Set a group's terms for rounds",
    responses=_answer("As they are now."),
    openapi_extra=described(TermsBody, TERMS_EXAMPLE),
)
def put_terms(
    group_id: GroupId,
    caller: Calling,
    body: Annotated[TermsBody, Depends(body_of(TermsBody))],
    services: Shared,
    union: UnionId = None,
) -> TermsView:
    """Replace the calling hub's own terms; they hold from the next proposed round on.

    A round that is proposed already is left by opting out of it.
    """
    if caller.group_id != group_id:
        raise NotFoundError("there is no such account of yours")
    kept = [Kept(one.counterparty, one.amount) for one in body.kept_back]
    with transaction(services.engine) as session:
        found = terms.set_terms(session, group_id, kept, in_rounds=body.in_rounds, union_id=union)
    return _view(found)
