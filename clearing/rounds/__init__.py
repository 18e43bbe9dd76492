"""Rounds: a snapshot of what groups owe each other, set off optimally, committed whole."""

from clearing.rounds.ending import abandon, commit, due, opt_out, settle
from clearing.rounds.model import (
    TRANSITIONS,
    Amendment,
    Candidate,
    KeptBack,
    OptOut,
    Round,
    RoundPrice,
    RoundState,
    SetOff,
)
from clearing.rounds.planning import Plan
from clearing.rounds.posting import part_digests
from clearing.rounds.proposing import preview, propose
from clearing.rounds.rows import (
    Part,
    Queued,
    candidates,
    find,
    latest,
    obligations,
    parts,
    proposed_now,
    rows,
)
from clearing.rounds.telling import log

__all__ = [
    "TRANSITIONS",
    "Amendment",
    "Candidate",
    "KeptBack",
    "OptOut",
    "Part",
    "Plan",
    "Queued",
    "Round",
    "RoundPrice",
    "RoundState",
    "SetOff",
    "abandon",
    "candidates",
    "commit",
    "due",
    "find",
    "latest",
    "log",
    "obligations",
    "opt_out",
    "part_digests",
    "parts",
    "preview",
    "propose",
    "proposed_now",
    "rows",
    "settle",
]
