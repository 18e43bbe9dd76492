"""The payment side of a hub: pay, ask to be paid, and say yes or no to what comes in.

The group's own books of its members stay at the hub. LocalPay knows group accounts only: a hub
takes the amount off its member's account when a transfer is pending, and gives it back unless it
is posted in the end. That part is left to the hub's own accounting software.
"""

import uuid
from collections.abc import Iterator
from typing import Final

from demo.documents import Json
from demo.wire import Wire

_PAGE_SIZE: Final = 100


class Payments:
    """Transfers of one group, through its hub's signed wire to LocalPay.

    Amounts are decimal strings in the payee's currency; a transfer is the JSON object that
    LocalPay answers with. Errors are those of `Wire.call`.
    """

    def __init__(self, wire: Wire, group_id: str, members: frozenset[str]) -> None:
        self._wire = wire
        self._group_id = group_id
        self._members = members

    def pay(self, payer: str, payee: str, amount: str, description: str = "") -> Json:
        """Pay `payee` (`group/member`) from our member `payer`, once their hub accepts.

        The id is ours and new. A hub in earnest keeps it before it calls, and after a broken
        connection calls again with the same id and the same body: no transfer is posted twice.
        """
        return self._put(f"{self._group_id}/{payer}", payee, amount, description)

    def request(self, payer: str, payee: str, amount: str, description: str = "") -> Json:
        """Ask `payer` (`group/member`) to pay our member `payee`, once their hub accepts."""
        return self._put(payer, f"{self._group_id}/{payee}", amount, description)

    def accept(self, transfer_id: str) -> Json:
        """Say yes to a pending transfer that the other hub made; it is posted at once."""
        return self._wire.call("POST", f"/transfers/{transfer_id}/accept")

    def refuse(self, transfer_id: str, reason: str) -> Json:
        """Say no to a pending transfer that the other hub made."""
        return self._wire.call("POST", f"/transfers/{transfer_id}/reject", {"reason": reason})

    def transfer(self, transfer_id: str) -> Json:
        """Return a transfer of ours as it stands."""
        return self._wire.call("GET", f"/transfers/{transfer_id}")

    def transfers(self, state: str) -> Iterator[Json]:
        """Yield all our transfers in a state, page by page."""
        params = {"state": state, "limit": str(_PAGE_SIZE)}
        while True:
            answer = self._wire.call("GET", "/transfers", params=params)
            yield from answer["transfers"]
            if answer["cursor"] is None:
                return
            params["cursor"] = answer["cursor"]

    def waiting(self) -> list[Json]:
        """Return the pending transfers that wait for our answer."""
        return [transfer for transfer in self.transfers("pending") if self._is_our_turn(transfer)]

    def answer_waiting(self) -> int:
        """Answer what is waiting by this hub's policy; return how many were answered.

        Money that comes to a member whom we know is accepted, to one whom we do not know refused.
        Whoever is asked to pay is a person who decides, so requests are left alone here.
        """
        answered = 0
        for transfer in self.waiting():
            if transfer["initiator"] != "payer":
                continue
            if self._member_of(transfer["payee"]) in self._members:
                self.accept(transfer["id"])
            else:
                self.refuse(transfer["id"], "there is no such member")
            answered += 1
        return answered

    def account(self) -> Json:
        """Return our account: balance, limits, what is pending, a position per other group."""
        return self._wire.call("GET", f"/accounts/{self._group_id}")

    def obligations(self) -> list[Json]:
        """Return what we owe other groups and they owe us."""
        obligations: list[Json] = self._wire.call("GET", "/obligations")["obligations"]
        return obligations

    def _put(self, payer: str, payee: str, amount: str, description: str) -> Json:
        body = {"payer": payer, "payee": payee, "amount": amount, "unit": "payee"}
        if description:
            body["description"] = description
        return self._wire.call("PUT", f"/transfers/{uuid.uuid4()}", body)

    def _is_our_turn(self, transfer: Json) -> bool:
        """Tell whether the other hub made the transfer, so that ours has to answer."""
        other = "payee" if transfer["initiator"] == "payer" else "payer"
        return bool(transfer[other].partition("/")[0] == self._group_id)

    @staticmethod
    def _member_of(party: str) -> str:
        return party.partition("/")[2]
