"""Accounts over HTTP, each hub its own."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.bodies import json_answer
from api.callers import Asker, Reader
from api.services import Reading
from clearing import accounts
from clearing.accounts import Account, AccountState, AccountStatus
from commons.errors import NotFoundError
from commons.groups import GROUP_ID_PATTERN
from commons.money import CLEARING_SCALE, format_amount

router = APIRouter(tags=["Clearing"])

ACCOUNT_EXAMPLE: Final[dict[str, Any]] = {
    "group": "leeds",
    "union": "main",
    "state": "open",
    "state_reason": None,
    "balance": "-10.0000",
    "pending_out": "0.0000",
    "pending_in": "0.0000",
    "credit_warn": "80.0000",
    "credit_limit": "100.0000",
    "surplus_warn": None,
    "surplus_limit": "100.0000",
    "available_out": "90.0000",
    "available_in": "110.0000",
    "status": "ok",
    "version": 7,
    "head": "5f0c…",
    "positions": [
        {
            "counterparty": "gracia",
            "amount": "-10.0000",
            "pending_out": "0.0000",
            "given": "0.0000",
            "pair_warn": None,
            "pair_limit": "100.0000",
            "available": "90.0000",
        }
    ],
}

UnionId = Annotated[
    str | None,
    Query(
        alias="union",
        pattern=GROUP_ID_PATTERN,
        description="The union's id; without it the only one, or `main`.",
        examples=["main"],
    ),
]


class PositionView(BaseModel):
    """What the counterparty owes the account (negative: what the account owes it).

    `available` is what can be paid to it now, empty where no limit holds.
    """

    counterparty: str
    amount: str
    pending_out: str
    given: str
    pair_warn: str | None
    pair_limit: str | None
    available: str | None


class AccountView(BaseModel):
    """An account; amounts in clearing units, `head` the last hash of its chain.

    `available_out` and `available_in` are what it can pay and be paid now as far as its own limits
    go, empty where no limit holds.
    """

    group: str
    union: str
    state: AccountState
    state_reason: str | None
    balance: str
    pending_out: str
    pending_in: str
    credit_warn: str | None
    credit_limit: str | None
    surplus_warn: str | None
    surplus_limit: str | None
    available_out: str | None
    available_in: str | None
    status: AccountStatus
    version: int
    head: str
    positions: list[PositionView]


def _units(minor: int | None) -> str | None:
    return None if minor is None else format_amount(minor, CLEARING_SCALE)


def _answer(example: dict[str, Any], description: str) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"example": example}}
    return {200: {"description": description, "content": content}}


def account_view(session: Session, account: Account) -> AccountView:
    """Return what is told of a group's account, with its positions by their counterparties."""
    return AccountView.model_validate(account_document(session, account))


def account_document(session: Session, account: Account) -> dict[str, Any]:
    """Return the same as `AccountView` describes it, ready to be written as JSON."""
    room = accounts.available(session, account)
    return {
        "group": account.name,
        "union": account.union_id,
        "state": account.state,
        "state_reason": account.state_reason,
        "balance": format_amount(account.balance, CLEARING_SCALE),
        "pending_out": format_amount(account.pending_out, CLEARING_SCALE),
        "pending_in": format_amount(account.pending_in, CLEARING_SCALE),
        "credit_warn": _units(account.credit_warn),
        "credit_limit": _units(account.credit_limit),
        "surplus_warn": _units(account.surplus_warn),
        "surplus_limit": _units(account.surplus_limit),
        "available_out": _units(room.out),
        "available_in": _units(room.into),
        "status": account.status(),
        "version": account.version,
        "head": account.head,
        "positions": [
            {
                "counterparty": towards.counterparty,
                "amount": format_amount(towards.amount, CLEARING_SCALE),
                "pending_out": format_amount(towards.pending_out, CLEARING_SCALE),
                "given": format_amount(towards.given, CLEARING_SCALE),
                "pair_warn": _units(towards.pair_warn),
                "pair_limit": _units(towards.pair_limit),
                "available": _units(towards.available),
            }
            for towards in room.towards
        ],
    }


@router.get(
    "/accounts/{group_id}",
    summary="An account",
    response_model=AccountView,
    responses=_answer(ACCOUNT_EXAMPLE, "The account with its positions."),
)
def get_account(
    asker: Reader,
    session: Reading,
    group_id: Annotated[str, Path(description="The group's short id.", examples=["leeds"])],
    union: UnionId = None,
) -> Response:
    """Give the calling hub's own account, or to the bearer of a token any account of its union."""
    account = seen_account(asker, session, group_id, union)
    return json_answer(account_document(session, account))


def seen_account(asker: Asker, session: Session, group_id: str, union: str | None) -> Account:
    """Return a group's account to whoever may see it; NotFoundError to anybody else."""
    if not asker.may_see_group(group_id):
        raise NotFoundError("there is no such account of yours")
    account = accounts.account_in(session, group_id, union or _own_union(asker))
    if not asker.may_see_union(account.union_id):
        raise NotFoundError("there is no such account of yours")
    return account


def _own_union(asker: Asker) -> str | None:
    """Return the union that a token is for; a hub may have accounts in several."""
    return None if asker.bearer is None else asker.bearer.union_id
