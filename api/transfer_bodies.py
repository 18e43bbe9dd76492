"""What hubs send about transfers and what they are told: bodies, answers and their examples."""

from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field, TypeAdapter

from api.bodies import Moment, StrictBody
from clearing import transfers
from clearing.calls import Call, Create, Head, Move, Outcome, Reverse, Verb
from clearing.transfers import ReasonCode, Unit, View

MOST_IN_A_BATCH: Final = 8_000

EXAMPLE_ID: Final = "6f1c0e7e-3a51-4c3e-9d0a-2f8f6f1b7c11"
REVERSAL_ID: Final = "b2d9a3f0-6a53-4a0e-8a1e-0a5b7d1c9e42"
CREATE_EXAMPLE: Final[dict[str, Any]] = {
    "payer": "leeds/moss",
    "payee": "gracia/ines",
    "amount": "12.50",
    "unit": "payee",
    "description": "Bicycle repair",
}
EXAMPLE: Final[dict[str, Any]] = {
    "id": EXAMPLE_ID,
    "union": "main",
    "state": "pending",
    "initiator": "payer",
    **CREATE_EXAMPLE,
    "payer_amount": "10.42",
    "payer_currency": "CLD",
    "payee_amount": "12.50",
    "payee_currency": "GRA",
    "payer_clearing": "1.0417",
    "payee_clearing": "1.0416",
    "residue": "0.0001",
    "levy": "0.0000",
    "payer_rate": "1/10",
    "payee_rate": "1/12",
    "reverses": None,
    "reversed_amount": "0.00",
    "by_operator": False,
    "wait": False,
    "reserved": True,
    "value_date": None,
    "created_at": "2026-11-20T10:00:00Z",
    "expires_at": "2026-11-27T10:00:00Z",
    "queued_at": None,
    "ended_at": None,
    "reason_code": None,
    "reason": None,
    "account": {"group": "leeds", "balance": "-4.0000", "version": 7, "head": "5f0c…"},
    "warnings": [],
}
REJECT_EXAMPLE: Final = {"code": "unknown-member", "reason": "We know no such member."}
REVERSE_EXAMPLE: Final = {
    "id": REVERSAL_ID,
    "amount": "2.50",
    "reason": "Part of the repair was not done",
}
SEEN_EXAMPLE: Final = EXAMPLE | {"account": None}
ENDED_EXAMPLE: Final = EXAMPLE | {"ended_at": "2026-11-20T10:05:00Z", "reserved": False}
ANSWERED_EXAMPLE: Final = ENDED_EXAMPLE | {
    "account": {"group": "gracia", "balance": "3.0416", "version": 5, "head": "a914…"}
}
REVERSAL_EXAMPLE: Final = ANSWERED_EXAMPLE | {
    "id": REVERSAL_ID,
    "state": "pending",
    "initiator": "payee",
    "amount": "2.50",
    "payer_amount": "2.08",
    "payee_amount": "2.50",
    "payer_clearing": "0.2083",
    "payee_clearing": "0.2083",
    "residue": "0.0000",
    "description": "Part of the repair was not done",
    "reverses": EXAMPLE_ID,
    "reserved": True,
    "ended_at": None,
}
REFUSED_EXAMPLE: Final[dict[str, Any]] = {
    "reason": "credit_limit",
    "available": "0.7500",
    "transfer": EXAMPLE_ID,
    "state": "refused",
    "type": "https://localpay.example/problems/refused",
    "title": "The payment is refused",
    "status": 409,
    "detail": "the payment does not fit the credit_limit; available: 0.7500 clearing units",
}
BATCH_EXAMPLE: Final[dict[str, Any]] = {
    "atomic": False,
    "calls": [
        {"do": "create", "id": EXAMPLE_ID, **CREATE_EXAMPLE},
        {"do": "accept", "id": "0f6e2c1a-94b5-4d58-9a43-7a52c1d3e8b7"},
    ],
}
BATCH_ANSWER_EXAMPLE: Final[dict[str, Any]] = {
    "failed": 1,
    "outcomes": [
        {"id": EXAMPLE_ID, "status": 201, "transfer": EXAMPLE, "problem": None},
        {
            "id": "0f6e2c1a-94b5-4d58-9a43-7a52c1d3e8b7",
            "status": 404,
            "transfer": None,
            "problem": {
                "type": "https://localpay.example/problems/not-found",
                "title": "There is no such thing",
                "status": 404,
                "detail": "there is no transfer 0f6e2c1a-94b5-4d58-9a43-7a52c1d3e8b7",
            },
        },
    ],
}


@dataclass
class TransferView(View):
    """A transfer as its two hubs see it; amounts are decimal strings.

    `account` is that of the calling hub right after a call that may have changed it, `warnings`
    the limits of which the call went beyond the level that asks for attention.
    """

    account: Head | None = None
    warnings: tuple[str, ...] = ()


class TransferPage(BaseModel):
    """A page of transfers, newest first; `cursor` leads to the next one."""

    transfers: list[TransferView]
    cursor: str | None


class OutcomeView(BaseModel):
    """What one call of a batch came to: the status, and the transfer or the problem document."""

    id: UUID | None
    status: int
    transfer: TransferView | None
    problem: dict[str, Any] | None


class OutcomesView(BaseModel):
    """What the calls of a batch came to, in their order, and how many of them are problems."""

    failed: int
    outcomes: list[OutcomeView]


class CreateBody(StrictBody):
    """A payment; `unit` says in whose money `amount` is written.

    `union` is the union to go through; `wait`, said by the payer's hub, has the payment wait for
    room where there is none; `value_date` is the day that it counts for.
    """

    payer: str = Field(max_length=200)
    payee: str = Field(max_length=200)
    amount: str = Field(max_length=40)
    unit: Unit = Field(default=Unit.PAYEE, strict=False)
    description: str = Field(default="", max_length=transfers.MAX_DESCRIPTION)
    expires_at: Moment | None = None
    union: str | None = Field(default=None, min_length=1, max_length=40)
    wait: bool = False
    value_date: date | None = None

    def call(self, transfer_id: UUID, caller: str) -> Create:
        """Return the call."""
        return Create(
            id=transfer_id,
            caller=caller,
            payer=self.payer,
            payee=self.payee,
            amount=self.amount,
            unit=self.unit,
            description=self.description,
            expires_at=self.expires_at,
            union=self.union,
            wait=self.wait,
            value_date=self.value_date,
        )


class AcceptBody(StrictBody):
    """How a transfer is accepted: `wait` is the payer's hub's word that it may wait for room."""

    wait: bool = False

    def call(self, transfer_id: UUID, caller: str) -> Move:
        """Return the call."""
        return Move(transfer_id, caller, Verb.ACCEPT, wait=self.wait)


class RejectBody(StrictBody):
    """Why a transfer is rejected: a code for the other hub's software, words for its people."""

    code: ReasonCode = Field(default=ReasonCode.OTHER, strict=False)
    reason: str = Field(min_length=1, max_length=transfers.MAX_REASON)

    def call(self, transfer_id: UUID, caller: str) -> Move:
        """Return the call."""
        return Move(transfer_id, caller, Verb.REJECT, self.reason, self.code)


class ReverseBody(StrictBody):
    """A posted transfer is to be taken back by a transfer with the id `id`.

    `amount` is in the payee's currency; without it all that is left is taken back. The operator's
    `reason` is the notice that both hubs are given.
    """

    id: UUID = Field(strict=False)
    amount: str | None = Field(default=None, max_length=40)
    reason: str = Field(default="", max_length=transfers.MAX_DESCRIPTION)
    expires_at: Moment | None = None

    def reversal(self, transfer_id: UUID, caller: str) -> Reverse:
        """Return the call of a hub that takes the transfer back."""
        return Reverse(self.id, caller, transfer_id, self.amount, self.reason, self.expires_at)

    def by_operator(self, transfer_id: UUID, actor: str) -> Reverse:
        """Return the operator's call that takes the transfer back; `actor` is for the audit log."""
        return replace(self.reversal(transfer_id, ""), caller=None, actor=actor)


class CreateItem(CreateBody):
    """A payment in a batch."""

    do: Literal["create"]
    id: UUID = Field(strict=False)


class AcceptItem(AcceptBody):
    """An acceptance in a batch."""

    do: Literal["accept"]
    id: UUID = Field(strict=False)


class RejectItem(RejectBody):
    """A rejection in a batch."""

    do: Literal["reject"]
    id: UUID = Field(strict=False)


class CancelItem(StrictBody):
    """A cancellation in a batch."""

    do: Literal["cancel"]
    id: UUID = Field(strict=False)


class ReverseItem(ReverseBody):
    """A reversal in a batch, of the transfer `transfer`."""

    do: Literal["reverse"]
    transfer: UUID = Field(strict=False)


Item = Annotated[
    CreateItem | AcceptItem | RejectItem | CancelItem | ReverseItem, Field(discriminator="do")
]
ITEM: Final[TypeAdapter[Item]] = TypeAdapter(Item)


class BatchBody(StrictBody):
    """Up to 8,000 calls, each held against its own rules; with `atomic` all are done or none."""

    atomic: bool = False
    calls: list[Any] = Field(min_length=1, max_length=MOST_IN_A_BATCH)


class DescribedBatchBody(BatchBody):
    """The same for the interface's description, which tells what a call is."""

    calls: list[Item] = Field(min_length=1, max_length=MOST_IN_A_BATCH)


def call_of(item: Item, caller: str) -> Call:
    """Return the call that one of a batch is."""
    if isinstance(item, ReverseItem):
        return item.reversal(item.transfer, caller)
    if isinstance(item, CancelItem):
        return Move(item.id, caller, Verb.CANCEL)
    return item.call(item.id, caller)


def transfer_of(outcome: Outcome) -> dict[str, Any] | None:
    """Return a call's transfer as `TransferView` describes it, ready to be written as JSON."""
    if outcome.transfer is None:
        return None
    more = {"account": outcome.account, "warnings": outcome.warnings}
    return {**vars(outcome.transfer), **more}
