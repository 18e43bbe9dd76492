"""Means of payment: what a listing may be paid with, and how that is asked for; pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

from commons.errors import InvalidError
from commons.money import CurrencyKind

LONGEST_TEXT: Final = 500
LONGEST_UNIT: Final = 2048
_AMOUNT: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,15}")
_WIKIDATA: Final = re.compile(r"https?://(?:www\.)?wikidata\.org/(?:wiki|entity)/(Q[0-9]+)")

# ISO 4217, the codes of money in circulation (no metals, funds and test codes).
NATIONAL_CODES: Final = frozenset(
    """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN
    BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP
    GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS
    KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR
    MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF
    SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD
    TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG""".split()  # noqa: SIM905 (154 lines would say no more)
)

WIKIDATA_CODES: Final = {
    "Q4916": "EUR",
    "Q4917": "USD",
    "Q25224": "GBP",
    "Q25344": "CHF",
    "Q8146": "JPY",
    "Q1104069": "CAD",
    "Q259502": "AUD",
    "Q122922": "SEK",
    "Q132643": "NOK",
    "Q25417": "DKK",
    "Q123213": "PLN",
    "Q173117": "BRL",
    "Q39099": "CNY",
    "Q80524": "INR",
}

HOUR_UNITS: Final = frozenset(
    {
        "h",
        "hr",
        "hour",
        "hours",
        "om2:hour",
        "http://www.ontology-of-units-of-measure.org/resource/om-2/hour",
        "https://www.wikidata.org/wiki/q25235",
        "http://www.wikidata.org/entity/q25235",
    }
)


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
        """Raise InvalidError where the amount or a length breaks its rule."""
        if self.amount is not None and not _AMOUNT.fullmatch(self.amount):
            raise InvalidError(field, "amount must be a decimal number, 0 or more")
        if self.currency is not None and not 1 <= len(self.currency) <= LONGEST_UNIT:
            raise InvalidError(field, f"currency must have 1 to {LONGEST_UNIT} characters")
        if self.text is not None and len(self.text) > LONGEST_TEXT:
            raise InvalidError(field, f"text must have at most {LONGEST_TEXT} characters")


@dataclass(frozen=True)
class KnownCurrency:
    """What is known here of a currency that a listing names: its URI, code and kind."""

    uri: str
    code: str
    kind: CurrencyKind


@dataclass(frozen=True)
class PaymentTerms:
    """What an index holds of a listing's payments: `pay` is counted, `currencies` only asked."""

    pay: tuple[str, ...]
    currencies: tuple[str, ...]


def terms_of(
    payments: Iterable[Payment],
    known: dict[str, KnownCurrency],
    group_currency: KnownCurrency | None,
) -> PaymentTerms:
    """Return the terms under which a listing with `payments` is found.

    `known` holds currencies by URI. A listing in its group's default currency is found by that
    currency's kind, code and URI too, so that a time bank's listings are found by `time`.
    """
    pay: set[str] = set()
    currencies: set[str] = set()
    for payment in payments:
        pay.add(str(payment.means))
        currency = known.get(payment.currency or "")
        if payment.means is PaymentMeans.GROUP_DEFAULT:
            currency = group_currency
        if currency is not None:
            pay.add(str(currency.kind))
            currencies |= {currency.uri, currency.code.upper()}
        elif payment.currency is not None:
            currencies.add(_currency_term(payment.currency))
        if payment.means is PaymentMeans.NATIONAL and payment.currency is not None:
            pay.add(f"national:{payment.currency.upper()}")
    return PaymentTerms(tuple(sorted(pay)), tuple(sorted(currencies)))


def read_pay(value: str) -> str:
    """Read one `pay` parameter into the term it asks for: of `pay`, or `currency:` and a unit.

    Raises InvalidError where it is neither a means, `national:CODE`, a code nor a URI.
    """
    if value in set(PaymentMeans):
        return value
    means, _, code = value.partition(":")
    if means == PaymentMeans.NATIONAL:
        if code not in NATIONAL_CODES:
            raise InvalidError("pay", "national: must be followed by an ISO 4217 code")
        return value
    if _is_uri(value) or _CODE.fullmatch(value):
        return f"currency:{_currency_term(value)}"
    raise InvalidError(
        "pay",
        "must be local, time, national, national:CODE, crypto, barter, gift, or a currency's "
        "code or URI",
    )


def resolve(unit: str) -> tuple[PaymentMeans, str | None]:
    """Return the means and the currency that a listing's `unit` stands for.

    A unit is an ISO 4217 code, a Wikidata item of a national currency, a CAIP-19 asset, a unit
    of time, or the URI of a group's currency; what is none of these is unspecified.
    """
    unit = unit.strip()
    if unit.lower() in HOUR_UNITS:
        return PaymentMeans.TIME, None
    if unit.upper() in NATIONAL_CODES:
        return PaymentMeans.NATIONAL, unit.upper()
    if item := _WIKIDATA.fullmatch(unit):
        code = WIKIDATA_CODES.get(item[1])
        return (PaymentMeans.NATIONAL, code) if code else (PaymentMeans.UNSPECIFIED, unit)
    if unit.startswith("caip:19:"):
        return PaymentMeans.CRYPTO, unit
    if unit.startswith(("https://", "http://")):
        return PaymentMeans.LOCAL, unit
    return PaymentMeans.UNSPECIFIED, None


def _is_uri(value: str) -> bool:
    return len(value) <= LONGEST_UNIT and value.startswith(("https://", "http://", "caip:19:"))


def _currency_term(unit: str) -> str:
    return unit if _is_uri(unit) else unit.upper()
