"""The service as a hub calls it: one method for each thing that a hub may do."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Final, Self
from urllib.parse import urlencode
from uuid import UUID

import orjson

from clearing import chain
from clearing.client import told
from clearing.client.answers import HistoryError, Json
from clearing.client.history import Head, History
from clearing.client.records import MemoryStore, Store
from clearing.client.roots import DayRoot, Roots, leaf_of, root_of
from clearing.client.rounds import Rounds
from clearing.client.wire import JSON, Ask, Patience, Signer, Wire
from commons.signatures import PublicKey

CSV: Final = "text/csv"
PAGE_SIZE: Final = 100
LINES: Final = 1_000
WAIT_SECONDS: Final = 25
MAIN_UNION: Final = "main"
_THE_FIRST_DAY: Final = "1970-01-01T00:00:00Z"
_MS: Final = 1_000


class Client(Rounds):
    """A hub's side of the clearing service; a context manager, safe to use from several threads.

    `url` is the service's base URL, `group` the id of the hub's group. `store` keeps what must
    outlive this process: the heads that were told, and the service's key where `service_key` is
    not given (it is then taken as the service shows it at first, and never another one).

    Amounts are decimal strings; answers are the JSON objects of the interface's description
    (`/openapi.json` of the service). Every call may raise the errors of `commons.errors`:
    UnavailableError and TooManyError where no answer came after all tries (call again with the
    same id), any other for what the service refuses; besides, UntrustedAnswerError and
    HistoryError, upon which a person should look.
    """

    def __init__(  # noqa: PLR0913 - who calls whom, and how
        self,
        url: str,
        group: str,
        signer: Signer,
        *,
        store: Store | None = None,
        service_key: PublicKey | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.group = group
        kept = MemoryStore() if store is None else store
        self._wire = Wire(url, signer, kept, service_key, patience or Patience())
        self._history = History(kept)
        self._roots = Roots(kept, self._history)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._wire.close()

    # Transfers

    def create(  # noqa: PLR0913 - a payment has that much to say
        self,
        transfer_id: UUID,
        payer: str,
        payee: str,
        amount: str,
        *,
        unit: str = "payee",
        description: str = "",
        expires_at: datetime | None = None,
        union: str | None = None,
        wait: bool = False,
        value_date: date | None = None,
    ) -> Json:
        """Make a transfer: a push where our member pays, a request where ours is paid.

        `payer` and `payee` are `group/member`, `unit` says in whose money `amount` is (`payer`,
        `payee`, `clearing`). Keep the id before this is called: called again with the same id and
        the rest the same, it is never posted twice. RefusedError where a limit stands against it.
        """
        body = {
            "payer": payer,
            "payee": payee,
            "amount": amount,
            "unit": unit,
            "description": description,
            "expires_at": expires_at,
            "union": union,
            "wait": wait,
            "value_date": value_date,
        }
        return self.call("PUT", f"/transfers/{transfer_id}", _said(body))

    def accept(self, transfer_id: UUID, *, wait: bool = False) -> Json:
        """Accept what the other hub made; with `wait` it may wait for room that is missing now."""
        return self.call("POST", f"/transfers/{transfer_id}/accept", _said({"wait": wait}) or None)

    def reject(self, transfer_id: UUID, reason: str, code: str | None = None) -> Json:
        """Reject what the other hub made, with a sentence for it and a code for its software."""
        body = _said({"reason": reason, "code": code})
        return self.call("POST", f"/transfers/{transfer_id}/reject", body)

    def cancel(self, transfer_id: UUID) -> Json:
        """Cancel what is pending and was made by us, or what waits for room."""
        return self.call("POST", f"/transfers/{transfer_id}/cancel")

    def reverse(
        self,
        transfer_id: UUID,
        reversal_id: UUID,
        *,
        amount: str | None = None,
        reason: str = "",
        expires_at: datetime | None = None,
    ) -> Json:
        """Ask to take a posted transfer back by a new one, which the other hub has to accept.

        `amount` is in the payee's currency; without it all that is left. Keep `reversal_id`
        before this is called, as with `create`.
        """
        body = {
            "id": reversal_id,
            "amount": amount,
            "reason": reason,
            "expires_at": expires_at,
        }
        return self.call("POST", f"/transfers/{transfer_id}/reverse", _said(body))

    def batch(self, calls: Sequence[Mapping[str, object]], *, atomic: bool = False) -> Json:
        """Make up to 8,000 calls at once; `outcomes` has a transfer or a problem for each.

        A call is an object with `do` (create, accept, reject, cancel, reverse), `id`, and what
        that call says alone. With `atomic` all of them are carried out, or none.
        """
        return self.call(
            "POST", "/transfers/batch", _said({"calls": list(calls), "atomic": atomic})
        )

    def transfer(self, transfer_id: UUID) -> Json:
        """Return a transfer of ours as it stands."""
        return self.call("GET", f"/transfers/{transfer_id}")

    def search(self, **filters: str) -> Iterator[Json]:
        """Yield all our transfers that fit, page by page; filters are those of `GET /transfers`."""
        asked = {"limit": str(PAGE_SIZE), **filters}
        while True:
            page = self.call("GET", "/transfers", params=asked)
            yield from page["transfers"]
            if page["cursor"] is None:
                return
            asked["cursor"] = page["cursor"]

    def quote(
        self,
        payer_group: str,
        payee_group: str,
        amount: str,
        *,
        unit: str = "payee",
        union: str | None = None,
    ) -> Json:
        """Ask what a payment would come to on both sides, until when, and whether it would fit."""
        body = {
            "payer": payer_group,
            "payee": payee_group,
            "amount": amount,
            "unit": unit,
            "union": union,
        }
        return self.call("POST", "/quotes", _said(body))

    # Accounts, statements, and the proof that they have one history

    def account(self, union: str | None = None) -> Json:
        """Return our account: balance, limits, what is available, a position per counterparty."""
        return self.call("GET", f"/accounts/{self.group}", params=_asked(union=union))

    def obligations(self) -> list[Json]:
        """Return what we owe other groups and they owe us."""
        found: list[Json] = self.call("GET", "/obligations")["obligations"]
        return found

    def statement(
        self, begins: str, ends: str | None = None, union: str | None = None
    ) -> Iterator[Json]:
        """Yield the pages of our statement from a day or moment on, and before another."""
        asked = _asked(from_=begins, to=ends, union=union, limit=LINES)
        while True:
            page = self.call("GET", f"/accounts/{self.group}/statement", params=asked)
            yield page
            if page["next"] is None:
                return
            asked = _asked(cursor=page["next"], union=union, limit=LINES)

    def check(self, union: str = MAIN_UNION) -> Head:
        """Prove that our account's history goes on from all that was told of it, and keep that.

        Reads the statement since the last check, verifies what it says, hashes every row, and
        compares with each head that came with an answer since. Raises HistoryError, which names
        both heads, where the service shows another history than the one it told, and
        UntrustedAnswerError where the statement does not verify in itself. Call it daily.
        """
        proven = self._history.proven(union, self.group)
        now = self.account(union)  # so that the newest head is among those to be proven
        if now["version"] < proven.version:
            shown = f"nothing, but version {now['version']} as {now['head']}"
            raise HistoryError(self.group, proven.version, proven.head, shown)
        return self._history.prove(union, self.group, self._rows(proven))

    def root(self, day: date, union: str = MAIN_UNION) -> Json:
        """Return the root that was published for a day, to compare it with other hubs; it is kept.

        Verified are its signature, that it goes on from the roots that are kept, the way from our
        account to it, and that our head in it lies in the chain of the heads that are kept. Raises
        RootError or HistoryError where not; NotFoundError where none was published yet, or where
        our account had no entries by then.
        """
        shown = self.call("GET", f"/roots/{day}")
        root = root_of(shown, day, self._wire.service_key())
        self._roots.chain(root, self._published)
        path = f"/accounts/{self.group}/roots/{day}"
        answered = self.call("GET", path, params=_asked(union=union))
        leaf = leaf_of(answered, (union, self.group), shown)
        proven = self._history.proven(union, self.group)
        start = self._roots.head_before(union, self.group, leaf.version)
        if start is None or start.version < proven.version <= leaf.version:
            start = proven if proven.version <= leaf.version else told.beginning(union, self.group)
        found = self._history.head_at(start, leaf.version, self._rows(start))
        if found.head != leaf.head:
            raise HistoryError(self.group, leaf.version, found.head, leaf.head)
        self._roots.keep(root, found)
        return shown

    def _published(self, day: date) -> DayRoot:
        return root_of(self.call("GET", f"/roots/{day}"), day, self._wire.service_key())

    def _rows(self, proven: Head) -> Iterator[chain.Row]:
        """Yield the account's rows after a proven one, which itself must be what it was."""
        for page in self.statement(proven.time or _THE_FIRST_DAY, union=proven.union):
            statement = told.statement_of(page)
            for line in statement.lines:
                if line.version == proven.version and line.hash != proven.head:
                    raise HistoryError(proven.account, line.version, proven.head, line.hash)
                if line.version > proven.version:
                    yield told.row_of(proven.account, line)
            told.verify(statement)

    # Events

    def events(self, after: int, wait_seconds: int = WAIT_SECONDS) -> Iterator[Json]:
        """Yield what happened after an event's number, in order, each once, and wait for more.

        Keep the number of each event in your own database, in the transaction that acts on it,
        and begin there next time: so nothing is lost or done twice. It goes on without end; with
        `wait_seconds` 0 it ends when there is nothing more. HistoryError where a number is missing.
        """
        while True:
            asked = _asked(after=after, wait_seconds=wait_seconds)
            page = self.call("GET", "/events", params=asked, waits_ms=wait_seconds * _MS)
            for event in page["events"]:
                if event["number"] != after + 1:
                    told = f"event {event['number']}"
                    raise HistoryError(self.group, after + 1, f"event {after + 1}", told)
                yield event
                after = event["number"]
            if not page["events"] and not wait_seconds:
                return

    # Rates, adjustments, disputes

    def rates(self) -> Json:
        """Return what the currencies of the groups we clear with were, are and will be worth."""
        return self.call("GET", "/rates")

    def propose_rate(
        self, proposal_id: UUID, rate: str, valid_from: datetime | None = None
    ) -> Json:
        """Propose another rate for our currency, such as `2/13`; the operator has to agree."""
        body = _said({"rate": rate, "valid_from": valid_from})
        return self.call("PUT", f"/rates/{proposal_id}", body)

    def answer_rate(self, proposal_id: UUID, answer: str) -> Json:
        """Answer a proposed rate: `agree` or `decline` the operator's, `withdraw` our own."""
        return self.call("POST", f"/rates/{proposal_id}/{answer}")

    def propose_adjustment(  # noqa: PLR0913 - what an adjustment has to say
        self,
        adjustment_id: UUID,
        kind: str,
        debtor: str,
        creditor: str,
        amount: str,
        *,
        note: str = "",
        union: str | None = None,
        value_date: date | None = None,
    ) -> Json:
        """Propose a `settlement` outside, an `assignment` or an `opening`, in clearing units.

        The other hub has to agree. Called again with the same id it stays one proposal.
        """
        body = {
            "kind": kind,
            "debtor": debtor,
            "creditor": creditor,
            "amount": amount,
            "note": note,
            "union": union,
            "value_date": value_date,
        }
        return self.call("PUT", f"/adjustments/{adjustment_id}", _said(body))

    def answer_adjustment(self, adjustment_id: UUID, answer: str) -> Json:
        """Answer an adjustment: `agree` or `decline` the other's, `cancel` our own."""
        return self.call("POST", f"/adjustments/{adjustment_id}/{answer}")

    def adjustments(self, state: str | None = None) -> list[Json]:
        """Return our adjustments, newest first, those in one state where it is named."""
        answered = self.call("GET", "/adjustments", params=_asked(state=state))
        found: list[Json] = answered["adjustments"]
        return found

    # The books of both, and the hub itself

    def reconcile(self, book: bytes, begins: str | None = None, ends: str | None = None) -> Json:
        """Compare our own book of transfers, a CSV file with a header, with the service's.

        `begins` and `ends`, dates or moments, bound what should be in the book. Each difference
        tells what to do about it.
        """
        params = _asked(from_=begins, to=ends)
        return self.call("POST", "/reconciliations", book, params, media_type=CSV)

    def register(self, registration: Mapping[str, object]) -> Json:
        """Register the hub, or renew its keys and addresses; the operator then admits it."""
        return self.call("POST", "/hubs", registration)

    def hub(self) -> Json:
        """Return how our hub stands with the service, and its settings."""
        return self.call("GET", f"/hubs/{self.group}")

    def change_hub(self, **settings: object) -> Json:
        """Change settings of our hub; those that are not named stay as they are.

        `webhook` is where events are posted, None for nowhere. `accepts` are all rules of what is
        accepted at once, such as `{"initiator": "payer", "counterparty": "leeds", "up_to": "20"}`.
        """
        return self.call("PATCH", f"/hubs/{self.group}", settings)

    def call(  # noqa: PLR0913 - what a call consists of
        self,
        method: str,
        path: str,
        body: object = None,
        params: Mapping[str, str] | None = None,
        *,
        media_type: str = JSON,
        waits_ms: int = 0,
    ) -> Json:
        """Make any call of the interface; a body that is not bytes is sent as JSON.

        Only for calls that do the same twice as once, since it is repeated until it is answered.
        """
        sent = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        target = path + (f"?{urlencode(params)}" if params else "")
        ask = Ask(method, target, sent, media_type, waits_ms=waits_ms)
        answered = self._wire.call(ask).json()
        for head in told.heads_of(answered):
            self._history.told(head)
        return answered


def _said(body: Mapping[str, object]) -> dict[str, object]:
    """Leave out what is not said: None, an empty text, False."""
    return {name: value for name, value in body.items() if value}


def _asked(**params: str | int | datetime | None) -> dict[str, str]:
    """Return the parameters of a question, without those that are not said."""
    return {
        name.rstrip("_"): value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in params.items()
        if value is not None
    }
