"""The replay: what was tried in a period, decided upon again in its order; in memory alone."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final

import numpy as np

from clearing.simulation import rounds
from clearing.simulation.matrix import Matrix
from clearing.simulation.outcome import LIMITS, Changes, Counted, Flags, Outcome, RoundRun, Step
from clearing.simulation.recorded import Recorded, micros, moment_of

MOST_STEPS: Final = 60
_TICK: Final = 10_000

Tick = Callable[[int], object]


class _Event(IntEnum):
    """What happens, in the order in which it does where the moment is the same."""

    LIMIT = 0
    MOVE = 1
    TRY = 2
    AGREE = 3
    UNTIL = 4
    ROUND = 5
    STEP = 6


class _State(IntEnum):
    """Where an attempt stands."""

    UNTRIED = 0
    RESERVED = 1
    OPEN = 2
    QUEUED = 3
    POSTED = 4
    REFUSED = 5
    LAPSED = 6
    GIVEN_UP = 7


def replay(
    recorded: Recorded,
    changes: Changes | None = None,
    tick: Tick = lambda _done: None,
    steps: Sequence[datetime] | None = None,
) -> Outcome:
    """Decide upon everything that was tried, in its order, with what is changed; deterministic.

    `tick` is told of how many of the attempts were come to. `steps` are where each step ends, the
    last one at the end of the period; by default at most sixty of as many whole days.
    """
    ends = even_steps(recorded) if steps is None else steps
    return _Replay(recorded, changes or Changes(), ends).run(tick)


def even_steps(recorded: Recorded) -> list[datetime]:
    """Return the ends of at most sixty equal steps of whole days, the last one at the end."""
    days = max(1, -((recorded.start - recorded.end) // timedelta(days=1)))
    step = timedelta(days=-(-days // MOST_STEPS))
    found, moment = [], recorded.start
    while recorded.end - moment > step:
        moment += step
        found.append(moment)
    return [*found, recorded.end]


def _timeline(
    recorded: Recorded, held: Iterable[datetime], steps: Iterable[datetime]
) -> tuple[list[int], list[int], list[int]]:
    """Return all that happens before the end, in order: when, what, and which of its kind."""
    end = micros(recorded.end)
    moments: dict[_Event, list[tuple[int, int]]] = {
        _Event.LIMIT: [(one.at, n) for n, one in enumerate(recorded.limits)],
        _Event.MOVE: [(at, n) for n, (at, _) in enumerate(recorded.moves)],
        _Event.TRY: [(one.tried_at, n) for n, one in enumerate(recorded.attempts)],
        _Event.AGREE: [
            (one.agreed_at, n)
            for n, one in enumerate(recorded.attempts)
            if one.reserves and one.agreed_at is not None
        ],
        _Event.UNTIL: [
            (one.until, n) for n, one in enumerate(recorded.attempts) if one.until is not None
        ],
        _Event.ROUND: [(micros(at), n) for n, at in enumerate(held)],
        _Event.STEP: [(micros(at), n) for n, at in enumerate(steps)],
    }
    rows = [np.array(found, dtype=np.int64).reshape(-1, 2) for found in moments.values()]
    at, which = np.concatenate(rows).T
    kind = np.repeat([int(event) for event in moments], [len(found) for found in rows])
    order = np.lexsort((which, kind, at))
    order = order[at[order] < end]
    return at[order].tolist(), kind[order].tolist(), which[order].tolist()


class _Replay:
    """A replay on its way."""

    def __init__(self, recorded: Recorded, changes: Changes, ends: Sequence[datetime]) -> None:
        self.recorded, self.changes, self.ends = recorded, changes, ends
        self.matrix = Matrix(recorded, changes)
        self.left = [group in changes.without for group in recorded.groups]
        size = len(recorded.attempts)
        self.states = [_State.UNTRIED] * size
        self.ended_at = np.zeros(size, dtype=np.int64)
        self.did_meet = {limit: np.zeros(size, dtype=np.bool_) for limit in LIMITS}
        self.released = np.zeros(size, dtype=np.bool_)
        self.queue: dict[int, int] = {}  # the attempts that wait, and how often passed over
        self.queued_of: dict[int, set[int]] = defaultdict(set)
        self.roomy: set[int] = set()
        self.counted: Mapping[str, Counted] = defaultdict(Counted)
        self.met = {limit: Counted() for limit in LIMITS}
        self.held: list[RoundRun] = []
        self.steps: list[Step] = []
        self.now = micros(recorded.start)
        self.in_use_area = self.owed_area = 0
        self.in_use_peak, self.owed_peak = self.matrix.in_use, self.matrix.owed

    def run(self, tick: Tick) -> Outcome:
        """Let everything happen."""
        does = {
            _Event.LIMIT: self._set_limit,
            _Event.MOVE: self._move,
            _Event.TRY: self._try,
            _Event.AGREE: self._agree,
            _Event.UNTIL: self._until,
            _Event.ROUND: self._round,
            _Event.STEP: self._step,
        }
        recorded, asked = self.recorded, self.changes.rounds
        held = recorded.rounds if asked is None else asked
        tried = 0
        for at, kind, which in zip(*_timeline(recorded, held, self.ends[:-1]), strict=True):
            self._wait_until(at)
            if kind != _Event.LIMIT:
                self._release()  # after the last of limits that were set together
            does[_Event(kind)](which)
            if kind != _Event.LIMIT:
                self._release()
            self.in_use_peak = max(self.in_use_peak, self.matrix.in_use)
            self.owed_peak = max(self.owed_peak, self.matrix.owed)
            tried += kind == _Event.TRY
            if kind == _Event.TRY and tried % _TICK == 0:
                tick(_TICK)
        tick(tried % _TICK)
        self._wait_until(micros(self.recorded.end))
        self._step(0)
        return self._outcome()

    def _wait_until(self, at: int) -> None:
        passed = max(0, at - self.now)  # what was open at the start was tried before it
        self.in_use_area += passed * self.matrix.in_use
        self.owed_area += passed * self.matrix.owed
        self.now += passed

    def _set_limit(self, which: int) -> None:
        self.matrix.set_limit(self.recorded.limits[which])
        self.roomy.update(self.queued_of)

    def _move(self, which: int) -> None:
        _, moved = self.recorded.moves[which]
        self.matrix.move([moved])
        self.roomy.update(moved[:2])

    def _try(self, which: int) -> None:
        """Decide upon an attempt: refuse it, reserve room, post it, or let it wait.

        What was pending at the start had its room then.
        """
        one = self.recorded.attempts[which]
        if self.left[one.debtor] or self.left[one.creditor]:
            return
        if one.reverses is not None and self.states[one.reverses] is not _State.POSTED:
            return  # there is nothing to take back
        self.counted["tried"].add(one.pair)
        has_room = one.forced or (one.reserves and one.tried_at < micros(self.recorded.start))
        lacking = None if has_room else self.matrix.lacking(one)
        if lacking is not None:
            self.met[lacking].add(one.pair)
            self.did_meet[lacking][which] = True
        if lacking is not None and not one.wait:
            self._end(which, _State.REFUSED)
        elif not one.reserves:
            self._post_or_queue(which, lacking)
        elif lacking is None:
            self.matrix.reserve(one, +1)
            self.states[which] = _State.RESERVED
        else:
            self.states[which] = _State.OPEN

    def _post_or_queue(self, which: int, lacking: str | None) -> None:
        if lacking is None:
            self._post(which)
            return
        one = self.recorded.attempts[which]
        self.states[which] = _State.QUEUED
        self.queue[which] = 0
        for account in (one.debtor, one.creditor):
            self.queued_of[account].add(which)

    def _post(self, which: int) -> None:
        one = self.recorded.attempts[which]
        self.matrix.move(one.entries)
        self._end(which, _State.POSTED)
        self.roomy.update((one.debtor, one.creditor))

    def _end(self, which: int, state: _State) -> None:
        self.states[which] = state
        self.ended_at[which] = self.now
        self.counted[state.name].add(self.recorded.attempts[which].pair)

    def _agree(self, which: int) -> None:
        one = self.recorded.attempts[which]
        if self.states[which] is _State.RESERVED:
            self.matrix.reserve(one, -1)
            self._post(which)
        elif self.states[which] is _State.OPEN:
            self._post_or_queue(which, self.matrix.lacking(one))

    def _until(self, which: int) -> None:
        one, state = self.recorded.attempts[which], self.states[which]
        if state is _State.RESERVED:
            self.matrix.reserve(one, -1)
            self.roomy.update((one.debtor, one.creditor))
        if state in {_State.RESERVED, _State.OPEN}:
            self._end(which, _State.GIVEN_UP)
        elif state is _State.QUEUED:
            self._leave_queue(which)
            self._end(which, _State.LAPSED)

    def _leave_queue(self, which: int) -> None:
        one = self.recorded.attempts[which]
        del self.queue[which]
        for account in (one.debtor, one.creditor):
            self.queued_of[account].discard(which)

    def _release(self) -> None:
        """Post what waits for accounts that have got room, in the order in which it was queued."""
        while self.roomy:
            touched = {one for account in self.roomy for one in self.queued_of.get(account, ())}
            self.roomy.clear()
            for which in [one for one in self.queue if one in touched] if touched else ():
                if self.matrix.lacking(self.recorded.attempts[which]) is None:
                    self._leave_queue(which)
                    self._post(which)

    def _round(self, _which: int) -> None:
        """Hold a round; of groups left out and those that take no part nothing is set off."""
        chosen = list(self.queue)[: rounds.CHOSEN_FROM]
        out = [left or n in self.recorded.barred for n, left in enumerate(self.left)]
        asked = self.changes.credit_lines
        owed = self.matrix.owed
        done = rounds.run(
            self.matrix,
            [self.recorded.attempts[one] for one in chosen],
            [self.queue[one] for one in chosen],
            out,
            lines=self.recorded.credit_lines if asked is None else asked,
        )
        released = Counted()
        for one, is_released in zip(chosen, done.released, strict=True):
            if is_released:
                self._leave_queue(one)
                self._end(one, _State.POSTED)
                self.released[one] = True
                released.add(self.recorded.attempts[one].pair)
            else:
                self.queue[one] += 1
        self.roomy.update(self.queued_of)
        at = moment_of(self.now)
        self.held.append(
            RoundRun(at, owed, done.cleared, done.drawn, released.number, released.value)
        )

    def _step(self, _which: int) -> None:
        self.steps.append(
            Step(
                at=moment_of(self.now),
                in_use=self.matrix.in_use,
                owed=self.matrix.owed,
                posted_value=self.counted[_State.POSTED.name].value,
                cleared=sum(one.cleared for one in self.held),
            )
        )

    def _outcome(self) -> Outcome:
        recorded, counted = self.recorded, self.counted
        span = micros(recorded.end) - micros(recorded.start)
        waiting = Counted()
        for which in self.queue:
            waiting.add(recorded.attempts[which].pair)
        same = [
            (state is _State.POSTED) == one.posted
            for one, state in zip(recorded.attempts, self.states, strict=True)
            if state is not _State.UNTRIED
        ]
        return Outcome(
            tried=counted["tried"],
            posted=counted[_State.POSTED.name],
            refused=counted[_State.REFUSED.name],
            waiting=waiting,
            lapsed=counted[_State.LAPSED.name],
            given_up=counted[_State.GIVEN_UP.name],
            met=self.met,
            in_use_peak=self.in_use_peak,
            in_use_mean=self.in_use_area // span,
            lines_needed=-sum(
                n for n, own in zip(self.matrix.lowest, recorded.own, strict=True) if own
            ),
            owed_peak=self.owed_peak,
            owed_mean=self.owed_area // span,
            rounds=self.held,
            steps=self.steps,
            as_recorded=sum(same),
            balances=dict(zip(recorded.names, self.matrix.balances, strict=True)),
            made_of=self._made_of(),
            ended_at=self.ended_at,
        )

    def _made_of(self) -> dict[str, Flags]:
        """Return which of the attempts each number of the outcome is made of."""
        states = np.array(self.states, dtype=np.int64)
        return {
            "tried": states != _State.UNTRIED,
            "posted": states == _State.POSTED,
            "refused": states == _State.REFUSED,
            "waiting": states == _State.QUEUED,
            "lapsed": states == _State.LAPSED,
            "given_up": states == _State.GIVEN_UP,
            **{f"met_{limit}": met for limit, met in self.did_meet.items()},
            "released": self.released,
        }
