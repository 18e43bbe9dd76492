"""Accounts, obligations and rounds over HTTP, each hub its own part."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.callers import Calling
from api.services import Reading
from clearing import accounts, rounds
from clearing.accounts import Account, AccountStatus
from clearing.rounds import RoundState
from commons.errors import NotFoundError
from commons.money import CLEARING_SCALE, format_amount

router = APIRouter(tags=["Clearing"])

EXAMPLE_ROUND_ID: Final = "0d7c1f0a-9b1e-4c55-8f43-6f0f5d1b2a90"
ACCOUNT_EXAMPLE: Final[dict[str, Any]] = {
    "group": "leeds",
    "union": "main",
    "balance": "-10.0000",
    "pending_out": "0.0000",
    "pending_in": "0.0000",
    "credit_limit": "100.0000",
    "surplus_limit": "100.0000",
    "status": "ok",
    "version": 7,
    "head": "5f0c…",
    "positions": [
        {
            "counterparty": "gracia",
            "amount": "-10.0000",
            "pending_out": "0.0000",
            "given": "0.0000",
            "pair_limit": "100.0000",
        }
    ],
}
OBLIGATION_EXAMPLE: Final = {"debtor": "leeds", "creditor": "gracia", "amount": "10.0000"}
ROUND_EXAMPLE: Final[dict[str, Any]] = {
    "id": EXAMPLE_ROUND_ID,
    "union": "main",
    "state": "committed",
    "obligations_total": "240.0000",
    "net_internal_debt": "20.0000",
    "cleared": "210.0000",
    "proposed_at": "2026-11-20T10:00:00Z",
    "ended_at": "2026-11-20T10:00:01Z",
}


class PositionView(BaseModel):
    """What the counterparty owes the account (negative: what the account owes it)."""

    counterparty: str
    amount: str
    pending_out: str
    given: str
    pair_limit: str | None


class AccountView(BaseModel):
    """An account; amounts in clearing units, `head` the last hash of its chain."""

    group: str
    union: str
    balance: str
    pending_out: str
    pending_in: str
    credit_limit: str | None
    surplus_limit: str | None
    status: AccountStatus
    version: int
    head: str
    positions: list[PositionView]


class ObligationView(BaseModel):
    """What one account owes another, in clearing units."""

    debtor: str
    creditor: str
    amount: str


class ObligationList(BaseModel):
    """Obligations that the calling hub's group is a side of."""

    obligations: list[ObligationView]


class RoundView(BaseModel):
    """A round and its totals, in clearing units."""

    id: UUID
    union: str
    state: RoundState
    obligations_total: str
    net_internal_debt: str
    cleared: str
    proposed_at: datetime
    ended_at: datetime | None


class RoundList(BaseModel):
    """The last rounds, newest first."""

    rounds: list[RoundView]


class PartView(BaseModel):
    """What a round did to one obligation."""

    debtor: str
    creditor: str
    obligation: str
    set_off: str


class RoundPart(RoundView):
    """A round with the calling hub's own part of it."""

    parts: list[PartView]


def _units(minor: int | None) -> str | None:
    return None if minor is None else format_amount(minor, CLEARING_SCALE)


def _answer(example: dict[str, Any], description: str) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"example": example}}
    return {200: {"description": description, "content": content}}


def account_view(session: Session, account: Account) -> AccountView:
    """Return what is told of an account, with its positions by their counterparties' names."""
    return AccountView(
        group=account.group_id,
        union=account.union_id,
        balance=format_amount(account.balance, CLEARING_SCALE),
        pending_out=format_amount(account.pending_out, CLEARING_SCALE),
        pending_in=format_amount(account.pending_in, CLEARING_SCALE),
        credit_limit=_units(account.credit_limit),
        surplus_limit=_units(account.surplus_limit),
        status=account.status(),
        version=account.version,
        head=account.head,
        positions=[
            PositionView(
                counterparty=name,
                amount=format_amount(position.amount, CLEARING_SCALE),
                pending_out=format_amount(position.pending_out, CLEARING_SCALE),
                given=format_amount(position.given, CLEARING_SCALE),
                pair_limit=_units(position.pair_limit),
            )
            for position, name in accounts.positions_of(session, account.id)
        ],
    )


@router.get(
    "/accounts/{group_id}",
    summary="An account",
    responses=_answer(ACCOUNT_EXAMPLE, "The account with its positions."),
)
def get_account(
    caller: Calling,
    session: Reading,
    group_id: Annotated[str, Path(description="The group's short id.", examples=["leeds"])],
) -> AccountView:
    """Give the calling hub's own account; there is no other one that it may know of."""
    if group_id != caller.group_id:
        raise NotFoundError("there is no such account of yours")
    return account_view(session, accounts.account_of(session, group_id))


@router.get(
    "/obligations",
    summary="Who owes whom",
    responses=_answer({"obligations": [OBLIGATION_EXAMPLE]}, "By debtor and creditor."),
)
def list_obligations(caller: Calling, session: Reading) -> ObligationList:
    """List what the calling hub's group owes and is owed now."""
    found = rounds.obligations(session, caller.group_id)
    return ObligationList(
        obligations=[
            ObligationView(
                debtor=one.debtor,
                creditor=one.creditor,
                amount=format_amount(one.amount, CLEARING_SCALE),
            )
            for one in found
        ]
    )


@router.get(
    "/rounds",
    summary="The last rounds",
    responses=_answer({"rounds": [ROUND_EXAMPLE]}, "Newest first, fifty at most."),
)
def list_rounds(_caller: Calling, session: Reading) -> RoundList:
    """List the last rounds with their totals."""
    return RoundList(rounds=[RoundView(**_totals(found)) for found in rounds.latest(session)])


@router.get(
    "/rounds/{round_id}",
    summary="One round",
    responses=_answer(
        ROUND_EXAMPLE
        | {
            "parts": [
                {
                    "debtor": "leeds",
                    "creditor": "gracia",
                    "obligation": "80.0000",
                    "set_off": "70.0000",
                }
            ]
        },
        "The round with the caller's part.",
    ),
)
def get_round(
    caller: Calling,
    session: Reading,
    round_id: Annotated[UUID, Path(description="The round's id.")],
) -> RoundPart:
    """Give a round's totals and what it did to the calling hub's own obligations."""
    found = rounds.find(session, round_id)
    return RoundPart(
        **_totals(found),
        parts=[
            PartView(
                debtor=part.debtor,
                creditor=part.creditor,
                obligation=format_amount(part.obligation, CLEARING_SCALE),
                set_off=format_amount(part.amount, CLEARING_SCALE),
            )
            for part in rounds.parts(session, round_id, caller.group_id)
        ],
    )


def _totals(found: rounds.Round) -> dict[str, Any]:
    return {
        "id": found.id,
        "union": found.union_id,
        "state": found.state,
        "obligations_total": format_amount(found.obligations_total, CLEARING_SCALE),
        "net_internal_debt": format_amount(found.net_internal_debt, CLEARING_SCALE),
        "cleared": format_amount(found.cleared, CLEARING_SCALE),
        "proposed_at": found.proposed_at,
        "ended_at": found.ended_at,
    }
