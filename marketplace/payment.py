"""Means of payment: what a listing may be paid with, and how that is asked for; pure."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from commons.errors import InvalidError
from commons.money import CurrencyKind
from marketplace.currencies import (
    CODES_LIKE_WORDS,
    NATIONAL_CODES,
    asset_of,
    is_uri,
    is_wikidata,
    one_spelling,
    unit_of,
)

LONGEST_TEXT: Final = 500
LONGEST_UNIT: Final = 2048
_AMOUNT: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")
_UNKEPT: Final = re.compile("[\x00\ud800-\udfff]")
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,15}")


class PaymentMeans(StrEnum):
    """How a listing may be paid."""

    LOCAL = "local"
    TIME = "time"
    NATIONAL = "national"
    CRYPTO = "crypto"
    BARTER = "barter"
    GIFT = "gift"
    GROUP_DEFAULT = "group-default"
    UNSPECIFIED = "unspecified"


@dataclass(frozen=True)
class Payment:
    """One way to pay: `currency` is a URI or a code, `amount` a decimal string."""

    means: PaymentMeans
    currency: str | None = None
    amount: str | None = None
    text: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the members that are there, for a JSON column or an answer."""
        members = {"currency": self.currency, "amount": self.amount, "text": self.text}
        return {"means": str(self.means)} | {k: v for k, v in members.items() if v is not None}

    @classmethod
    def from_json(cls, members: dict[str, Any]) -> Self:
        """Read back what `as_json` gave."""
        return cls(**{**members, "means": PaymentMeans(members["means"])})

    def check(self, field: str) -> None:
        """Raise InvalidError where the amount, a length or a character breaks its rule."""
        if self.amount is not None and not is_amount(self.amount):
            raise InvalidError(field, "amount must be a decimal number, 0 or more")
        if self.currency is not None and not 1 <= len(self.currency) <= LONGEST_UNIT:
            raise InvalidError(field, f"currency must have 1 to {LONGEST_UNIT} characters")
        if self.text is not None and len(self.text) > LONGEST_TEXT:
            raise InvalidError(field, f"text must have at most {LONGEST_TEXT} characters")
        if _UNKEPT.search(f"{self.currency}{self.text}"):
            raise InvalidError(field, "must not hold NUL or lone surrogates")


@dataclass(frozen=True)
class KnownCurrency:
    """What is known here of a currency that a listing names: its URI, code and kind."""

    uri: str
    code: str
    kind: CurrencyKind


def is_amount(written: str) -> bool:
    """Tell whether a text is a plain decimal number, 0 or more, as payments hold it."""
    return _AMOUNT.fullmatch(written) is not None


def read_pay(value: str) -> str:
    """Read one `pay` parameter into the term it asks for: of `pay`, or `currency:` and a unit.

    All names of a currency give one term, but for a coin's code, which a group's currency may
    have too. Raises InvalidError where it is neither a means, `national:CODE`, a code nor a URI.
    """
    value = value.strip()
    if value.lower() in set(PaymentMeans):
        return value.lower()
    means, _, code = value.upper().partition(":")
    if means == PaymentMeans.NATIONAL.upper():
        if code not in NATIONAL_CODES:
            raise InvalidError("pay", "national: must be followed by an ISO 4217 code")
        return f"{PaymentMeans.NATIONAL}:{code}"
    unit = unit_of(value)
    if unit is None:
        return f"currency:{_known_form(value)}"
    if unit.kind is CurrencyKind.TIME:
        return str(PaymentMeans.TIME)
    if unit.kind is CurrencyKind.NATIONAL:
        return f"{PaymentMeans.NATIONAL}:{unit.code}"
    return f"currency:{unit.code if value.upper() == unit.code else unit.uri}"


def resolve(unit: str) -> tuple[PaymentMeans, str | None]:
    """Return the means and the currency that a listing's `unit` stands for.

    A unit is any name that `currencies.unit_of` knows, another CAIP-19 asset, or the URI of a
    group's currency; what is none of these is unspecified, as is a word such as `cup`.
    """
    unit = unit.strip()
    is_word = unit.upper() in CODES_LIKE_WORDS and unit not in CODES_LIKE_WORDS
    known = None if is_word else unit_of(unit)
    if known is not None:
        currency = asset_of(unit) or known.code
        return PaymentMeans(known.kind), None if known.kind is CurrencyKind.TIME else currency
    if asset := asset_of(unit):
        return PaymentMeans.CRYPTO, asset
    if is_wikidata(unit):
        return PaymentMeans.UNSPECIFIED, unit
    if is_uri(unit):
        return PaymentMeans.LOCAL, unit
    return PaymentMeans.UNSPECIFIED, None


def _known_form(value: str) -> str:
    if (len(value) <= LONGEST_UNIT and is_uri(value)) or _CODE.fullmatch(value):
        return one_spelling(value)
    raise InvalidError(
        "pay",
        "must be local, time, national, national:CODE, crypto, barter, gift, or a currency's "
        "code or URI",
    )
