"""What-if: what was recorded in a period, decided upon again with other limits, rounds or members.

Everything is replayed in memory; nothing is changed. What it is true to, and what it leaves out,
is told in docs/simulation.md.
"""

from clearing.simulation.outcome import (
    AS_RECORDED,
    LIMITS,
    Changes,
    Comparison,
    Counted,
    Outcome,
    RoundRun,
    Step,
)
from clearing.simulation.recorded import Recorded, check_groups, count, read
from clearing.simulation.replay import even_steps, replay
from clearing.simulation.rounds import by_cron, every, rounds_of
from clearing.simulation.views import ROUGH, parse_factor, view

__all__ = [
    "AS_RECORDED",
    "LIMITS",
    "ROUGH",
    "Changes",
    "Comparison",
    "Counted",
    "Outcome",
    "Recorded",
    "RoundRun",
    "Step",
    "by_cron",
    "check_groups",
    "count",
    "even_steps",
    "every",
    "parse_factor",
    "read",
    "replay",
    "rounds_of",
    "view",
]
