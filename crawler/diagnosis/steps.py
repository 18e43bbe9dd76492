"""The steps of a diagnosis, and how they are put together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from crawler.peers import PeerKind, PeerState
from crawler.plain_words import StepName, Trouble


class StepState(StrEnum):
    """How a step stands."""

    OK = "ok"
    FAILED = "failed"
    WAITING = "waiting"
    NOT_NEEDED = "not needed"


EXAMPLES_MOST: Final = 5


@dataclass(frozen=True)
class Count:
    """How many listings were not taken for a reason; `examples` are addresses of some of them."""

    reason: str
    count: int
    mend: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step: what was seen and when, and what to mend where it failed.

    `error` is the error as it was noted, for the operator of this service alone: it may hold
    addresses of somebody's inside.
    """

    name: StepName
    state: StepState
    seen: str
    at: datetime | None = None
    mend: str = ""
    error: str = ""
    counts: tuple[Count, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """How far a hub's listings get on their way to the search; `asked` is whether we looked now.

    `listings` is how many of them are in the search.
    """

    peer_id: int
    group_id: str | None
    name: str
    address: str
    kind: PeerKind
    state: PeerState
    at: datetime
    asked: bool
    listings: int
    steps: tuple[Step, ...]

    @property
    def first_failed(self) -> Step | None:
        """The step at which the way ends, whose remedy is the one thing to mend.

        A Follow comes last of all, since a hub that does not take it is read all the same.
        """
        wrong = [step for step in self.steps if step.state is StepState.FAILED]
        return min(wrong, key=lambda step: step.name is StepName.FOLLOW, default=None)

    @property
    def is_waiting(self) -> bool:
        """Whether something may change by itself soon; an answer to our Follow may take days."""
        waits = (step for step in self.steps if step.state is StepState.WAITING)
        return any(step.name is not StepName.FOLLOW for step in waits)


def ok(name: StepName, seen: str, at: datetime | None = None) -> Step:
    """Return a step that was taken."""
    return Step(name, StepState.OK, seen, at)


def waiting(name: StepName, seen: str, at: datetime | None = None) -> Step:
    """Return a step that is yet to be taken."""
    return Step(name, StepState.WAITING, seen, at)


def not_needed(name: StepName, seen: str) -> Step:
    """Return a step that this hub does not take."""
    return Step(name, StepState.NOT_NEEDED, seen)


def failed(
    name: StepName, seen: str, mend: str, *, at: datetime | None = None, error: str = ""
) -> Step:
    """Return a step at which the way ends."""
    return Step(name, StepState.FAILED, seen, at, mend, error)


def troubled(
    name: StepName, trouble: Trouble, *, at: datetime | None = None, error: str = ""
) -> Step:
    """Return a failed step, of an error that was explained."""
    return failed(trouble.step or name, trouble.said, trouble.mend, at=at, error=error)


def in_order(*sources: Mapping[StepName, Step] | Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps in the order of the way; those of a later source go before earlier ones."""
    merged: dict[StepName, Step] = {}
    for source in sources:
        steps = source.values() if isinstance(source, Mapping) else source
        merged |= {step.name: step for step in steps}
    return tuple(merged[name] for name in StepName if name in merged)


def moment(at: datetime) -> str:
    """Return a moment as a person reads it."""
    return at.strftime("%-d %B %Y, %H:%M UTC")
