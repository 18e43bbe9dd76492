"""The payment side of a hub: pay, ask to be paid, and say yes or no to what comes in.

The group's own books of its members stay at the hub. LocalPay knows group accounts only: a hub
takes the amount off its member's account when a transfer is pending, and gives it back unless it
is posted in the end. That part is left to the hub's own accounting software.
"""

from collections.abc import Iterator
from uuid import UUID, uuid4

from clearing.client import Client, Json


class Payments:
    """Transfers of one group, through the hub's client of LocalPay.

    Amounts are decimal strings in the payee's currency; a transfer is the JSON object that
    LocalPay answers with. Errors are those of `clearing.client`.
    """

    def __init__(self, client: Client, members: frozenset[str]) -> None:
        self._client = client
        self._group_id = client.group
        self._members = members

    def pay(self, payer: str, payee: str, amount: str, description: str = "") -> Json:
        """Pay `payee` (`group/member`) from our member `payer`, once their hub accepts.

        The id is ours and new. A hub in earnest keeps it before it calls, and after a crash
        calls again with the same id and the same body: no transfer is posted twice.
        """
        ours = f"{self._group_id}/{payer}"
        return self._client.create(uuid4(), ours, payee, amount, description=description)

    def request(self, payer: str, payee: str, amount: str, description: str = "") -> Json:
        """Ask `payer` (`group/member`) to pay our member `payee`, once their hub accepts."""
        ours = f"{self._group_id}/{payee}"
        return self._client.create(uuid4(), payer, ours, amount, description=description)

    def accept(self, transfer_id: str) -> Json:
        """Say yes to a pending transfer that the other hub made; it is posted at once."""
        return self._client.accept(UUID(transfer_id))

    def refuse(self, transfer_id: str, reason: str) -> Json:
        """Say no to a pending transfer that the other hub made."""
        return self._client.reject(UUID(transfer_id), reason, "unknown-member")

    def give_back(self, transfer_id: str, reason: str) -> Json:
        """Give back all of a posted transfer; their hub, whose member gets it, has to accept."""
        return self._client.reverse(UUID(transfer_id), uuid4(), reason=reason)

    def accept_at_once(self, up_to: str) -> Json:
        """Have LocalPay accept what others push to our members, up to an amount, by itself."""
        return self._client.change_hub(accepts=[{"initiator": "payer", "up_to": up_to}])

    def transfer(self, transfer_id: str) -> Json:
        """Return a transfer of ours as it stands."""
        return self._client.transfer(UUID(transfer_id))

    def transfers(self, state: str) -> Iterator[Json]:
        """Yield all our transfers in a state, page by page."""
        return self._client.search(state=state)

    def waiting(self) -> list[Json]:
        """Return the pending transfers that wait for our answer."""
        return [transfer for transfer in self.transfers("pending") if self._is_our_turn(transfer)]

    def answer_waiting(self) -> int:
        """Answer what is waiting by this hub's policy; return how many were answered.

        Money that comes to a member whom we know is accepted, to one whom we do not know refused.
        Whoever is asked to pay, or to give back, is a person who decides: that is left alone here.
        """
        answered = 0
        for transfer in self.waiting():
            group, _, member = self._receiver(transfer).partition("/")
            if group != self._group_id:
                continue
            if member in self._members:
                self.accept(transfer["id"])
            else:
                self.refuse(transfer["id"], "there is no such member")
            answered += 1
        return answered

    def account(self) -> Json:
        """Return our account: balance, limits, what is pending, a position per other group."""
        return self._client.account()

    def obligations(self) -> list[Json]:
        """Return what we owe other groups and they owe us."""
        return self._client.obligations()

    def verified_version(self) -> int:
        """Verify that our account's whole history is the one we were told; return its version."""
        return self._client.check().version

    def _is_our_turn(self, transfer: Json) -> bool:
        """Tell whether the other hub made the transfer, so that ours has to answer."""
        other = "payee" if transfer["initiator"] == "payer" else "payer"
        return bool(transfer[other].partition("/")[0] == self._group_id)

    @staticmethod
    def _receiver(transfer: Json) -> str:
        """Return who gets the money: of one that takes another back, whoever paid that."""
        receiver: str = transfer["payee" if transfer["reverses"] is None else "payer"]
        return receiver
