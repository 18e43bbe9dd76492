"""What figures are written in: money and shares; and sums of many rows."""

from decimal import Decimal
from fractions import Fraction
from typing import Final

import numpy as np

from clearing.columns import Numbers
from commons.money import CLEARING_SCALE

SHARE_PLACES: Final = 6
_HALF_BITS: Final = 32
_LOW: Final = 2**_HALF_BITS - 1


def money(minor: int) -> Decimal:
    """Return smallest clearing units as clearing units, of four places."""
    return Decimal(minor).scaleb(-CLEARING_SCALE)


def share(part: int, whole: int) -> Decimal | None:
    """Return part ÷ whole, of six places, half to even; None of nothing."""
    return rounded(Fraction(part, whole), SHARE_PLACES) if whole else None


def rounded(value: Fraction, places: int) -> Decimal:
    """Return a fraction as a decimal of so many places, half to even."""
    return Decimal(round(value * 10**places)).scaleb(-places)


def summed(index: Numbers, values: Numbers, size: int) -> list[int]:
    """Return the sum of the values at each index under `size`, also of no 64-bit numbers."""
    high, low = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    np.add.at(high, index, values >> _HALF_BITS)
    np.add.at(low, index, values & _LOW)
    return [(int(h) << _HALF_BITS) + int(n) for h, n in zip(high, low, strict=True)]
