"""Reconciliations over HTTP: a hub sends its own book of transfers and is told each difference."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api import problems
from api.bodies import MEDIA_TYPE
from api.callers import Calling
from api.services import Shared
from clearing.reconciliation import (
    COLUMNS,
    MEMBER,
    BookRow,
    Bounds,
    Kind,
    Period,
    Report,
    read_book,
    reconcile,
)
from clearing.statements import read_moment
from clearing.transfers import TransferState
from commons.database import reading
from commons.errors import (
    InvalidError,
    MalformedError,
    TooLargeError,
    TooManyError,
    UnsupportedMediaError,
)

router = APIRouter(tags=["Clearing"])

CSV: Final = "text/csv"
MOST_ROWS: Final = 20_000
MOST_BODY_BYTES: Final = 8 * 1024 * 1024
MOST_DIFFERENCES: Final = 1_000
MOST_TRANSFERS: Final = 100_000

ROW_EXAMPLE: Final[dict[str, str]] = {
    "id": "6f1c0e7e-3a51-4c3e-9d0a-2f8f6f1b7c11",
    "payer": "leeds/moss",
    "payee": "gracia/ines",
    "amount": "10.42",
    "currency": "CLD",
    "state": "posted",
    "rate": "1/10",
    "date": "2026-11-20",
}
EXAMPLE: Final[dict[str, Any]] = {
    "rows": 1,
    "matching": 0,
    "outside": 0,
    "counts": {**dict.fromkeys(Kind, 0), Kind.STATE: 1},
    "differences": [
        {
            "kind": "state",
            "id": ROW_EXAMPLE["id"],
            "row": 1,
            "field": "state",
            "yours": "posted",
            "ours": "pending",
            "do": "Book it as pending: the other hub has not answered. Or cancel it: "
            f"POST /transfers/{ROW_EXAMPLE['id']}/cancel.",
        }
    ],
    "rest": 0,
    "totals": [{"state": "pending", "count": 1, "paid": "10.42", "received": "0.00"}],
}
_CELL: Final = {"type": ["string", "null"]}
_BODIES: Final[dict[str, Any]] = {
    MEDIA_TYPE: {
        "schema": {
            "type": "object",
            "required": [MEMBER],
            "additionalProperties": False,
            "properties": {
                MEMBER: {
                    "type": "array",
                    "maxItems": MOST_ROWS,
                    "items": {
                        "type": "object",
                        "required": ["id"],
                        "additionalProperties": False,
                        "properties": dict.fromkeys(COLUMNS, _CELL),
                    },
                }
            },
        },
        "example": {MEMBER: [ROW_EXAMPLE]},
    },
    CSV: {
        "schema": {"type": "string"},
        "example": f"{','.join(ROW_EXAMPLE)}\n{','.join(ROW_EXAMPLE.values())}\n",
    },
}


class DifferenceView(BaseModel):
    """One difference, and what to do about it; `row` counts from 1."""

    kind: Kind
    id: UUID
    row: int | None
    field: str | None
    yours: str | None
    ours: str | None
    do: str


class TotalView(BaseModel):
    """The hub's transfers of the period in one state, amounts in its own currency."""

    state: TransferState
    count: int
    paid: str
    received: str


class ReconciliationView(BaseModel):
    """All differences counted by kind, the first 1,000 of them told, the `rest` only counted."""

    rows: int
    matching: int
    outside: int
    counts: dict[Kind, int]
    differences: list[DifferenceView]
    rest: int
    totals: list[TotalView]


@router.post(
    "/reconciliations",
    summary="Compare a hub's book of transfers with ours",
    responses={
        200: {
            "description": "How the two books differ.",
            "content": {MEDIA_TYPE: {"example": EXAMPLE}},
        },
        **problems.answers(
            MalformedError, InvalidError, TooLargeError, UnsupportedMediaError, TooManyError
        ),
    },
    openapi_extra={"requestBody": {"required": True, "content": _BODIES}},
)
async def post_reconciliation(
    request: Request,
    caller: Calling,
    services: Shared,
    *,
    begins: Annotated[
        str | None,
        Query(
            alias="from",
            max_length=40,
            description="Ours that were made from this date or moment on; empty: from the first.",
        ),
    ] = None,
    ends: Annotated[
        str | None,
        Query(alias="to", max_length=40, description="And before this one; empty: all since."),
    ] = None,
) -> ReconciliationView:
    """Hold a hub's own book of transfers against ours; nothing is stored.

    The book is JSON, or CSV in UTF-8 with a header, of up to 20,000 rows. Each row has an `id`
    and an amount: `amount`, which is in the hub's own currency unless `unit` or `currency` says
    otherwise, `payer_amount` or `payee_amount`. What else it says is compared, and what it leaves
    out is not. A transfer of two other groups is missing here, as one that does not exist.
    """
    services.allowances.batches.take("this hub sends too many books and batches", caller.group_id)
    period = Period(_moment(begins, "from"), _moment(ends, "to"))
    sent = request.headers.get("content-type", "")
    rows = await run_in_threadpool(_rows, sent, await request.body())
    report = await run_in_threadpool(_report, services.engine, caller.group_id, rows, period)
    return ReconciliationView.model_validate(asdict(report))


def _report(engine: Engine, group_id: str, rows: list[BookRow], period: Period) -> Report:
    bounds = Bounds(differences=MOST_DIFFERENCES, transfers=MOST_TRANSFERS)
    with reading(engine) as session:
        return reconcile(session, group_id, rows, period, bounds)


def _moment(text: str | None, field: str) -> datetime | None:
    return None if text is None else read_moment(text, field)


def _rows(sent: str, body: bytes) -> list[BookRow]:
    media_type = sent.partition(";")[0].strip().lower()
    if media_type not in {MEDIA_TYPE, CSV}:
        raise UnsupportedMediaError(f"this address reads {MEDIA_TYPE} and {CSV}")
    return read_book(body, is_json=media_type == MEDIA_TYPE, rows_max=MOST_ROWS)
