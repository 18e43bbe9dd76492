"""Transfers: payments between two groups' members, and what their hubs see of them."""

from clearing.transfers.digests import (
    content,
    content_digest,
    levy_content,
    levy_digest,
    levy_journal,
    name_digests,
)
from clearing.transfers.model import (
    MAX_DESCRIPTION,
    MAX_MEMBER,
    MAX_REASON,
    TRANSITIONS,
    AnyTransfer,
    HeldTransfer,
    Party,
    ReasonCode,
    Reservation,
    Transfer,
    TransferState,
    Unit,
    reservation,
)
from clearing.transfers.searching import Wanted, find, search
from clearing.transfers.views import Denomination, View, view

__all__ = [
    "MAX_DESCRIPTION",
    "MAX_MEMBER",
    "MAX_REASON",
    "TRANSITIONS",
    "AnyTransfer",
    "Denomination",
    "HeldTransfer",
    "Party",
    "ReasonCode",
    "Reservation",
    "Transfer",
    "TransferState",
    "Unit",
    "View",
    "Wanted",
    "content",
    "content_digest",
    "find",
    "levy_content",
    "levy_digest",
    "levy_journal",
    "name_digests",
    "reservation",
    "search",
    "view",
]
