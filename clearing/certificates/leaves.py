"""What a certificate's tree is made of: a leaf for each row of a round, one for each account."""

import hmac
from collections.abc import Iterator, Mapping
from functools import partial
from hmac import HMAC
from typing import Final, NamedTuple

from commons.money import CLEARING_SCALE, format_amount

AMOUNTS: Final = ("obligation", "released", "least", "cap", "amount", "line", "drawn")

amount = partial(format_amount, scale=CLEARING_SCALE)
"""Write smallest clearing units."""

_NOTHING: Final = amount(0)


class Row(NamedTuple):
    """What a round does to one obligation; amounts in smallest clearing units.

    `obligation` is what the debtor owes the creditor with the payments that the round releases, of
    which `released` came by them. Between `least` and `cap` of it may be set off, and `amount`
    is. `drawn` is what the debtor comes to owe anew over a spare credit line of `line`.
    """

    debtor: str
    creditor: str
    obligation: int
    released: int
    least: int
    cap: int
    amount: int
    line: int
    drawn: int

    @property
    def net(self) -> int:
        """What the round takes from what the debtor owes; below 0 where more is drawn."""
        return self.amount - self.drawn

    def leaf(self, round_id: str, salting: HMAC) -> dict[str, str]:
        """Return what stands in the tree, salted."""
        debtor, creditor, obligation, released, least, cap, off, line, drawn = self
        known = {0: _NOTHING, obligation: amount(obligation)}  # most are one of these
        return {
            "round": round_id,
            "debtor": debtor,
            "creditor": creditor,
            "obligation": known[obligation],
            "released": known.get(released) or amount(released),
            "least": known.get(least) or amount(least),
            "cap": known.get(cap) or amount(cap),
            "amount": known.get(off) or amount(off),
            "line": known.get(line) or amount(line),
            "drawn": known.get(drawn) or amount(drawn),
            "salt": _salt(salting, debtor, creditor),
        }


class Price(NamedTuple):
    """The price of an account, a whole number; it means nothing but beside other prices."""

    account: str
    price: int

    def leaf(self, round_id: str, salting: HMAC) -> dict[str, str]:
        """Return what stands in the tree, salted."""
        return {
            "round": round_id,
            "account": self.account,
            "price": str(self.price),
            "salt": _salt(salting, "", self.account),
        }


def salting_by(key: bytes) -> HMAC:
    """Return what salts the leaves of a round by its key; made once, it is half the work."""
    return hmac.new(key, digestmod="sha256")


def _salt(salting: HMAC, first: str, second: str) -> str:
    """Return HMAC-SHA-256(key, first ‖ 0 ‖ second) in hex: nobody can tell it without the key."""
    begun = salting.copy()
    begun.update(f"{first}\0{second}".encode())
    return begun.hexdigest()


def gain(row: Row, prices: Mapping[str, int]) -> int:
    """Return what one unit set off of a row counts once the prices of its ends are added.

    A unit drawn over the row's spare line runs the other way and counts as much with its sign
    turned: -1 + price of the creditor - price of the debtor.
    """
    return 1 + prices[row.debtor] - prices[row.creditor]


def bound(row: Row, prices: Mapping[str, int]) -> int:
    """Return the most that a row could count in any round whatever; see `gain`.

    That is max over least ≤ x ≤ cap of gain · x, and over the spare line max over 0 ≤ y ≤ line of
    -gain · y. What the rows of a circulation count is Σ (amount - drawn), since prices cancel out
    around circles, so the sum over all rows bounds it [Ahuja, Magnanti, Orlin: Network Flows, 9.4].
    """
    debtor, creditor, _, _, least, cap, _, line, _ = row
    by = 1 + prices[debtor] - prices[creditor]  # as `gain`, which a million rows are not called for
    return by * cap if by > 0 else by * (least - line)


def slack(row: Row, prices: Mapping[str, int]) -> Iterator[str]:
    """Tell why a row does not reach its bound; nothing where it does."""
    by = gain(row, prices)
    is_now = f"{amount(row.amount)} is" + (f", {amount(row.drawn)} drawn" if row.drawn else "")
    if by > 0 and (row.amount, row.drawn) != (row.cap, 0):
        yield f"by the prices {amount(row.cap)} would be set off, and {is_now}"
    if by < 0 and (row.amount, row.drawn) != (row.least, row.line):
        drawn = f" and {amount(row.line)} drawn" if row.line else ""
        yield f"by the prices {amount(row.least)} would be set off{drawn}, and {is_now}"


def out_of_bounds(row: Row, *, credit_lines: bool) -> Iterator[str]:
    """Tell which of a row's own bounds it breaks."""
    if row.debtor == row.creditor:
        yield "nobody owes itself"
    if not 0 <= row.least <= row.amount <= row.cap <= row.obligation:
        yield (
            f"{amount(row.amount)} of {amount(row.obligation)} is set off, and between "
            f"{amount(row.least)} and {amount(row.cap)} may be"
        )
    if not 0 <= row.drawn <= row.line:
        yield f"{amount(row.drawn)} is drawn over a line of {amount(row.line)}"
    if (row.line or row.drawn) and not credit_lines:
        yield "spare credit lines were not to be used"
    if row.amount > row.least and row.drawn:
        yield f"{amount(row.drawn)} is drawn while {amount(row.amount)} is set off of the same"
