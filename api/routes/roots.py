"""Published roots over HTTP: for anybody to compare, and each hub's proof that it is in them."""

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from api.callers import Reader
from api.routes.accounts import UnionId, seen_account
from api.services import Reading
from clearing import roots

router = APIRouter(tags=["Clearing"])

ROOT_EXAMPLE: Final[dict[str, Any]] = {
    "service": "https://clearing.example",
    "day": "2026-11-22",
    "accounts": 12,
    "root": "2c1d…",
    "previous": "77ab…",
    "hash": "e09f…",
    "proof": {
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-jcs-2022",
        "verificationMethod": "https://clearing.example/actor#ed25519-key",
        "proofPurpose": "assertionMethod",
        "created": "2026-11-23T00:10:00Z",
        "proofValue": "z3F…",
    },
}
INCLUSION_EXAMPLE: Final[dict[str, Any]] = {
    "account": "leeds",
    "union": "main",
    "version": 7,
    "head": "5f0c…",
    "index": 3,
    "path": ["0a31…", "b7d2…"],
    "published": ROOT_EXAMPLE,
}

Day = Annotated[date, Path(description="A day in UTC.", examples=["2026-11-22"])]


class Proof(BaseModel):
    """The service's signature, by eddsa-jcs-2022."""

    type: str
    cryptosuite: str
    verificationMethod: str  # noqa: N815 (the standard's name)
    proofPurpose: str  # noqa: N815
    created: str
    proofValue: str  # noqa: N815


class RootView(BaseModel):
    """The root of one day: that of a Merkle tree over the heads of so many accounts.

    `hash` chains it to the root of the day before, whose hash is `previous`.
    """

    service: str
    day: str
    accounts: int
    root: str
    previous: str
    hash: str
    proof: Proof


class RootList(BaseModel):
    """Published roots, newest first, a hundred at most."""

    roots: list[RootView]


class InclusionView(BaseModel):
    """An account at the end of a day, its place in the tree, and the way from there to the root."""

    account: str
    union: str
    version: int
    head: str
    index: int
    path: list[str]
    published: RootView


def _answer(example: dict[str, Any], description: str) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"example": example}}
    return {200: {"description": description, "content": content}}


@router.get(
    "/roots",
    summary="The published roots",
    responses=_answer({"roots": [ROOT_EXAMPLE]}, "Newest first."),
)
def list_roots(
    session: Reading,
    before: Annotated[date | None, Query(description="Only those before this day.")] = None,
) -> RootList:
    """List the roots that were published; each holds the one before it by its hash."""
    found = roots.latest(session, before)
    return RootList(roots=[RootView.model_validate(one.document) for one in found])


@router.get(
    "/roots/{day}",
    summary="The root of one day",
    responses=_answer(ROOT_EXAMPLE, "As it was signed and published."),
)
def get_root(session: Reading, day: Day) -> RootView:
    """Give the root of a day; it is published soon after that day has ended."""
    return RootView.model_validate(roots.find(session, day).document)


@router.get(
    "/accounts/{group_id}/roots/{day}",
    summary="An account in the root of one day",
    responses=_answer(INCLUSION_EXAMPLE, "The account as it was, and the way to the root."),
)
def get_inclusion(
    asker: Reader,
    session: Reading,
    group_id: Annotated[str, Path(description="The group's short id.", examples=["leeds"])],
    day: Day,
    union: UnionId = None,
) -> InclusionView:
    """Give the proof that the hub's own account stands in the root of a day as it was.

    `localpay verify-statement --root` checks it against a statement.
    """
    account = seen_account(asker, session, group_id, union)
    return InclusionView.model_validate(roots.inclusion(session, account, day))
