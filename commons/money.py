"""Amounts as integers in the smallest unit, rates as exact fractions; no float anywhere."""

import re
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from commons.errors import InvalidError

CLEARING_SCALE: Final = 4
"""Decimal places of the clearing unit: 1 hour of work = 1.0000."""

MAX_MINOR: Final = 2**53 - 1
"""Largest single amount in smallest units; sums stay within BIGINT by a wide margin."""

_AMOUNT: Final = re.compile(r"(?P<whole>0|[1-9][0-9]{0,15})(?:\.(?P<part>[0-9]{1,18}))?")
_RATE: Final = re.compile(r"([1-9][0-9]{0,11})/([1-9][0-9]{0,11})")


class CurrencyKind(StrEnum):
    """What a currency stands on."""

    LOCAL = "local"
    TIME = "time"
    NATIONAL = "national"
    CRYPTO = "crypto"


def parse_amount(text: object, scale: int, field: str = "amount") -> int:
    """Read a positive decimal string such as "12.50" into smallest units.

    `scale` is the currency's number of decimal places. Nothing is rounded: more places than
    the currency has, a sign, an exponent, a separator, zero or a JSON number are an
    InvalidError that names `field`.
    """
    match = _AMOUNT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidError(field, 'must be a decimal string such as "12.50"')
    part = match["part"] or ""
    if len(part) > scale:
        raise InvalidError(field, f"may have at most {scale} decimal places")
    minor = int(match["whole"] + part.ljust(scale, "0"))
    if minor == 0:
        raise InvalidError(field, "must be more than zero")
    if minor > MAX_MINOR:
        raise InvalidError(field, f"must be at most {format_amount(MAX_MINOR, scale)}")
    return minor


def format_amount(minor: int, scale: int) -> str:
    """Write smallest units as a decimal string with all the currency's places."""
    digits = str(minor).zfill(scale + 1 + (minor < 0))  # behind the sign
    return f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits


def parse_rate(text: str, field: str = "rate", example: str = "1/10") -> Fraction:
    """Read "2/13": clearing units that one unit of the currency is worth."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise InvalidError(field, f'must be a fraction of whole numbers such as "{example}"')
    return Fraction(int(match[1]), int(match[2]))


def format_rate(rate: Fraction) -> str:
    """Write a rate as "2/13"."""
    return f"{rate.numerator}/{rate.denominator}"


def floor_minor(value: Fraction, scale: int) -> int:
    """Return `value` units in smallest units, rounded down."""
    return int((value.numerator * 10**scale) // value.denominator)


def ceil_minor(value: Fraction, scale: int) -> int:
    """Return `value` units in smallest units, rounded up."""
    return -floor_minor(-value, scale)


@dataclass(frozen=True)
class Side:
    """One side of a payment: what a unit of its currency is worth and how far it divides."""

    rate: Fraction
    scale: int


@dataclass(frozen=True)
class Conversion:
    """A payment in both groups' own currencies and in clearing units, all in smallest units."""

    payer_local: int
    payee_local: int
    payer_clearing: int
    payee_clearing: int

    @property
    def residue(self) -> int:
        """What lies between the sides in smallest clearing units; it is booked, not lost.

        0 ≤ residue < one smallest unit of the payee's currency + 2 smallest clearing units.
        """
        return self.payer_clearing - self.payee_clearing


def convert(value: Fraction, payer: Side, payee: Side) -> Conversion:
    """Compute both sides of a payment worth `value` clearing units.

    The payer's side is rounded up and the payee's down, each from the exact fraction
    (`clearing.md`, Rates and rounding). Raises InvalidError where the payee would get nothing.
    """
    worth, parts = value.numerator, value.denominator  # integers, many times faster than fractions
    payee_local = worth * payee.rate.denominator * 10**payee.scale // (parts * payee.rate.numerator)
    payee_worth = payee_local * payee.rate.numerator * 10**CLEARING_SCALE
    conversion = Conversion(
        payer_local=-(
            -worth * payer.rate.denominator * 10**payer.scale // (parts * payer.rate.numerator)
        ),
        payee_local=payee_local,
        payer_clearing=ceil_minor(value, CLEARING_SCALE),
        payee_clearing=payee_worth // (10**payee.scale * payee.rate.denominator),
    )
    if conversion.payee_local <= 0 or conversion.payee_clearing <= 0:
        raise InvalidError("amount", "is so small that the payee would get nothing")
    if conversion.payer_clearing > MAX_MINOR:
        raise InvalidError("amount", "is too large in clearing units")
    if max(conversion.payer_local, conversion.payee_local) > MAX_MINOR:
        raise InvalidError("amount", "is too large in the currency of one of the groups")
    return conversion
