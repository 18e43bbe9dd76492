"""Signed payments as many hubs make them at once, with a note of all that was acknowledged."""

import asyncio
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import orjson

from bench.paying_hubs import NO_ANSWER, Json, Line, PayingHub
from commons.money import CLEARING_SCALE, format_amount

COURIERS: Final = 16
LARGEST: Final = 20 * 10**CLEARING_SCALE
SERVER_ERRORS: Final = 500
GIVE_UP_SECONDS: Final = 20.0
_AFTER_PUSH: Final = ("accept",) * 7 + ("cancel", "reject", "nothing")
_PART_REVERSED: Final = 0.15
_PART_BATCHED: Final = 0.1
_BATCH: Final = 10


@dataclass
class Noted:
    """What hubs were told, and what they asked without being told."""

    states: dict[UUID, str] = field(default_factory=dict)
    heads: dict[tuple[str, int], str] = field(default_factory=dict)
    unanswered: set[UUID] = field(default_factory=set)
    answers: int = 0

    def answered(self, transfer_id: UUID, told: Json) -> None:
        """Note an answer: the state of the transfer, and the head of the account's chain."""
        self.answers += 1
        self.unanswered.discard(transfer_id)
        if "state" in told:
            self.states[transfer_id] = told["state"]
        account = told.get("account")
        if account:
            self.heads[account["group"], account["version"]] = account["head"]


class Load:
    """Couriers that make payments between `hubs` until the service is gone, or `stop`."""

    def __init__(self, base_url: str, ports: Sequence[int], hubs: Sequence[PayingHub]) -> None:
        self.noted = Noted()
        self.failed = 0
        self._base_url = base_url
        self._ports = ports
        self._hubs = hubs
        self._going = True
        self._chance = random.Random()  # noqa: S311 (other payments at each run)

    def stop(self) -> None:
        """Let every courier end after its call."""
        self._going = False

    async def run(self, give_up_seconds: float | None = GIVE_UP_SECONDS) -> None:
        """Pay until stopped, or until no answer comes any more; `failed` counts such ends."""
        self._going = True
        lines = [Line(self._ports[number % len(self._ports)]) for number in range(COURIERS)]
        async with asyncio.timeout(give_up_seconds):
            await asyncio.gather(*(self._pay_on(line) for line in lines))

    async def _pay_on(self, line: Line) -> None:
        try:
            while self._going:
                if self._chance.random() < _PART_BATCHED:
                    await self._batch(line)
                else:
                    await self._pay(line)
        except NO_ANSWER:
            self.failed += 1
        finally:
            await line.close()

    async def _pay(self, line: Line) -> None:
        """Make a payment, and go on with it as its hubs would."""
        payer, payee = self._chance.sample(self._hubs, 2)
        caller, other = self._chance.sample((payer, payee), 2)
        transfer_id = uuid.uuid4()
        made = await self._ask(
            line, caller, "PUT", f"/transfers/{transfer_id}", self._payment(payer, payee)
        )
        if made.get("state") != "pending":
            return
        verb = self._chance.choice(_AFTER_PUSH)
        if verb == "nothing":
            return
        body = {"reason": "No such member."} if verb == "reject" else None
        by = caller if verb == "cancel" else other
        ended = await self._ask(line, by, "POST", f"/transfers/{transfer_id}/{verb}", body)
        if ended.get("state") == "posted" and self._chance.random() < _PART_REVERSED:
            await self._reverse(line, transfer_id, payer, payee)

    async def _reverse(
        self, line: Line, original: UUID, payer: PayingHub, payee: PayingHub
    ) -> None:
        """Take a payment back: one hub asks, the other accepts."""
        back = uuid.uuid4()
        made = await self._ask(
            line, payee, "POST", f"/transfers/{original}/reverse", {"id": str(back)}, told_of=back
        )
        if made.get("state") == "pending":
            await self._ask(line, payer, "POST", f"/transfers/{back}/accept")

    async def _batch(self, line: Line) -> None:
        """Push several payments of one hub in one call."""
        payer, *payees = self._chance.sample(self._hubs, _BATCH + 1)
        wanted = [
            self._payment(payer, payee) | {"id": str(uuid.uuid4()), "do": "create"}
            for payee in payees
        ]
        ids = [UUID(one["id"]) for one in wanted]
        self.noted.unanswered.update(ids)
        request = payer.call(self._base_url, "POST", "/transfers/batch", {"calls": wanted})
        status, body = await line.ask(request)
        _raise_for(status)
        for transfer_id, outcome in zip(ids, orjson.loads(body)["outcomes"], strict=True):
            self.noted.answered(transfer_id, outcome["transfer"] or outcome["problem"])

    def _payment(self, payer: PayingHub, payee: PayingHub) -> Json:
        return {
            "payer": f"{payer.group_id}/ines",
            "payee": f"{payee.group_id}/moss",
            "amount": format_amount(self._chance.randint(1, LARGEST), CLEARING_SCALE),
            "unit": "clearing",
        }

    async def _ask(  # noqa: PLR0913, PLR0917 (a call has that much to say)
        self,
        line: Line,
        hub: PayingHub,
        method: str,
        path: str,
        body: Json | None = None,
        told_of: UUID | None = None,
    ) -> Json:
        transfer_id = told_of or UUID(path.split("/")[2])
        self.noted.unanswered.add(transfer_id)
        status, answer = await line.ask(hub.call(self._base_url, method, path, body))
        _raise_for(status)
        told: Json = orjson.loads(answer)
        self.noted.answered(transfer_id, told)
        return told


def _raise_for(status: int) -> None:
    """Take an answer that tells of a failure as none: it acknowledges nothing."""
    if status >= SERVER_ERRORS:
        raise ConnectionError(status)
