"""Amounts in the groups' own currencies, whose decimal places no hash covers, checked by worth.

A chain holds them in smallest units. Where the point is follows from the rate and from what the
payment came to in clearing units, and has to be the same throughout for one currency.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from clearing.verifying.documents import Payment
from commons.errors import InvalidError
from commons.money import CLEARING_SCALE, parse_rate

_AMOUNT: Final = re.compile(r"(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,18})?")
_ROUNDED: Final = 3
"""How many smallest clearing units a part that was taken back may be off, rounded several times."""

_UNITS: Final = 2
"""How many of its own smallest units the payer's side may be off besides, being rounded up."""


def minor(amount: str) -> int:
    """Return an amount in smallest units; ValueError where it is not as the service writes it."""
    if not _AMOUNT.fullmatch(amount):
        raise ValueError(f"{amount!r} is no amount as the service writes it")
    return int(amount.replace(".", ""))


def check(payment: Payment, content: Mapping[str, str]) -> Iterator[str]:
    """Tell which side's amount is worth something else than was chained."""
    sides = (("payer", payment.payer_amount, _UNITS), ("payee", payment.payee_amount, 0))
    for side, amount, units in sides:
        if not _is_worth(amount, content[f"{side}_rate"], content[f"{side}_clearing"], units):
            yield f"{side}_amount is not worth what was chained"


def _is_worth(amount: str, rate: str, clearing: str, units: int) -> bool:
    worth, parts = _smallest(rate, _places(amount))
    difference = abs(minor(amount) * worth - int(clearing) * parts)
    return difference <= units * worth + _ROUNDED * parts


@lru_cache(maxsize=4_096)
def _smallest(rate: str, places: int) -> tuple[int, int]:
    """Return what the smallest unit is worth in smallest clearing units, as a fraction."""
    try:
        exact = parse_rate(rate)
    except InvalidError as error:
        raise ValueError(f"{rate!r} is no rate as the service writes it") from error
    return exact.numerator * 10**CLEARING_SCALE, exact.denominator * 10**places


def _places(amount: str) -> int:
    return len(amount.partition(".")[2])


class Places:
    """How many decimal places each currency of a statement has, as its first amount shows.

    Two groups may call two currencies by one code.
    """

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], int] = {}

    def check(self, payment: Payment) -> Iterator[str]:
        """Tell which side's amount has other places than the currency had before."""
        payer = (payment.payer, payment.payer_currency, payment.payer_amount)
        payee = (payment.payee, payment.payee_currency, payment.payee_amount)
        for who, code, amount in (payer, payee):
            places = _places(amount)
            if self._of.setdefault((who.partition("/")[0], code), places) != places:
                yield f"{amount} has other decimal places than {code} has before"
