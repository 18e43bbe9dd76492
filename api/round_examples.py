"""Rounds as the interface's description shows them: one round of three groups, from each side."""

from typing import Any, Final

ROUND_ID: Final = "0d7c1f0a-9b1e-4c55-8f43-6f0f5d1b2a90"
QUEUE: Final[dict[str, Any]] = {
    "waiting": 1,
    "released": 1,
    "value": "12.5000",
    "bound": "12.5000",
    "exact": True,
}
TOTALS: Final[dict[str, Any]] = {
    "obligations_total": "252.5000",
    "net_internal_debt": "32.5000",
    "cleared": "210.0000",
    "credit_lines": False,
    "drawn": "0.0000",
    "queue": QUEUE,
}
ROUND: Final[dict[str, Any]] = {
    "id": ROUND_ID,
    "union": "main",
    "state": "committed",
    **TOTALS,
    "amended": False,
    "proposed_by": "schedule",
    "proposed_at": "2026-11-20T10:00:00Z",
    "commit_at": "2026-11-22T10:00:00Z",
    "ended_at": "2026-11-22T10:00:01Z",
    "certificate_hash": "7b1e…",
}
PROPOSED: Final[dict[str, Any]] = ROUND | {
    "state": "proposed",
    "proposed_by": "operator",
    "ended_at": None,
    "certificate_hash": None,
}
ABANDONED: Final[dict[str, Any]] = ROUND | {"state": "abandoned", "certificate_hash": None}
PART: Final[dict[str, Any]] = {
    "debtor": "leeds",
    "creditor": "gracia",
    "obligation": "92.5000",
    "released": "12.5000",
    "set_off": "70.0000",
    "drawn": "0.0000",
    "remaining": "22.5000",
}
CHANGE: Final[dict[str, Any]] = {
    "counterparty": "gracia",
    "before": "-80.0000",
    "released": "-12.5000",
    "set_off": "70.0000",
    "drawn": "0.0000",
    "after": "-22.5000",
    "least": "0.0000",
    "at_most": "92.5000",
    "room_before": "20.0000",
    "room_after": "77.5000",
    "their_room_before": None,
    "their_room_after": None,
}
_CLAIM: Final[dict[str, Any]] = CHANGE | {
    "counterparty": "ghent",
    "before": "90.0000",
    "released": "0.0000",
    "after": "20.0000",
    "at_most": "90.0000",
    "room_before": None,
    "room_after": None,
}
PAYMENT: Final[dict[str, Any]] = {
    "transfer": "6a0b8c1e-62f1-4b8e-9d52-0a4f5a1f7c11",
    "payer": "leeds",
    "payee": "gracia",
    "amount": "12.5000",
    "first": False,
    "proposed": True,
    "released": True,
}
SUMS: Final[dict[str, Any]] = {
    "owes_before": "80.0000",
    "is_owed_before": "90.0000",
    "set_off": "70.0000",
    "owes_after": "22.5000",
    "is_owed_after": "20.0000",
}
PAGE: Final[dict[str, Any]] = {
    **SUMS,
    "group": "leeds",
    "round": ROUND,
    "opted_out_at": None,
    "price": "1",
    "balance_now": "-2.5000",
    "pairs": [
        _CLAIM | {"now": "20.0000", "disputed": "0.0000", "kept_back": None, "price": "2"},
        CHANGE | {"now": "-22.5000", "disputed": "0.0000", "kept_back": None, "price": "0"},
    ],
    "payments": [PAYMENT],
}
PLAN: Final[dict[str, Any]] = {
    "union": "main",
    **TOTALS,
    "parts": [PART],
    "groups": [
        SUMS
        | {
            "group": "leeds",
            "pairs": [_CLAIM, CHANGE],
            "payments": [PAYMENT | {"released": False}],
        },
    ],
}
