"""Rounds as a hub calls for them: what was proposed and done to its group, and its own terms."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from uuid import UUID

from clearing.client.answers import Json


class Rounds(ABC):
    """What a hub may do about rounds; a part of `Client`."""

    group: str

    @abstractmethod
    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        params: Mapping[str, str] | None = None,
    ) -> Json:
        """Make a call of the interface, as `Client.call` does."""

    def rounds(self, union: str | None = None) -> list[Json]:
        """Return the last rounds of our union with their totals, newest first."""
        found: list[Json] = self.call("GET", "/rounds", params=_in(union))["rounds"]
        return found

    def round(self, round_id: UUID) -> Json:
        """Return a round: its totals, until when we may opt out, and our part of it."""
        return self.call("GET", f"/rounds/{round_id}")

    def round_page(self, round_id: UUID) -> Json:
        """Return our page of a round: with whom what was set off, what was released, what is now.

        It is what a person reads, who may have it as CSV or as a page too: `GET` of the same
        address with `Accept: text/csv` or `text/html`.
        """
        return self.call("GET", f"/rounds/{round_id}/groups/{self.group}")

    def opt_out(self, round_id: UUID) -> Json:
        """Have nothing of ours set off in a proposed round; said again it stays said.

        ConflictError once its deadline, `commit_at`, has passed.
        """
        return self.call("POST", f"/rounds/{round_id}/opt-out")

    def round_terms(self, union: str | None = None) -> Json:
        """Return whether rounds set off anything of ours, and what we keep back from whom."""
        return self.call("GET", f"/accounts/{self.group}/rounds", params=_in(union))

    def set_round_terms(
        self,
        *,
        in_rounds: bool = True,
        kept_back: Sequence[Mapping[str, object]] = (),
        union: str | None = None,
    ) -> Json:
        """Replace our terms, wholly; they hold from the next proposed round on.

        `kept_back` has rows such as `{"counterparty": "leeds", "amount": "10.0000"}`, in clearing
        units; without an amount all that lies between the two is kept back.
        """
        body = {"in_rounds": in_rounds, "kept_back": [dict(one) for one in kept_back]}
        return self.call("PUT", f"/accounts/{self.group}/rounds", body, params=_in(union))

    def round_slice(self, round_id: UUID) -> Json:
        """Return our slice of a committed round's certificate, to be kept and to be verified.

        `localpay verify-round FILE` checks it without the service.
        """
        path = f"/rounds/{round_id}/certificate"
        return self.call("GET", path, params={"form": "slice"})


def _in(union: str | None) -> dict[str, str] | None:
    return None if union is None else {"union": union}
