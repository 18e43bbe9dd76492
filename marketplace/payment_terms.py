"""Under which terms a listing is found by its means of payment; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from commons.money import CurrencyKind
from marketplace.currencies import one_spelling, unit_of
from marketplace.payment import KnownCurrency, Payment, PaymentMeans
from marketplace.prices import read_price


@dataclass(frozen=True)
class PaymentTerms:
    """What an index holds of a listing's payments: `pay` is counted, the others only asked.

    `settles` tells that a member of another group could pay it by a transfer: it can be had in
    its group's own currency, for nothing, or it does not say. `price` is the least such amount in
    that currency, None where one of these ways tells none.
    """

    pay: tuple[str, ...]
    currencies: tuple[str, ...]
    settles: bool = False
    price: float | None = None


def terms_of(
    payments: Sequence[Payment],
    known: dict[str, KnownCurrency],
    group_currency: KnownCurrency | None,
) -> PaymentTerms:
    """Return the terms under which a listing with `payments` is found.

    `known` holds currencies by URI. A listing in its group's default currency is found by that
    currency's kind, code and URI too, so that a time bank's listings are found by `time`. A price
    that is told in words is read with the group's currency in mind.
    """
    understood = [
        read for payment in payments for read in _understood(payment, group_currency)
    ] or [Payment(PaymentMeans.UNSPECIFIED)]
    pay: set[str] = {str(payment.means) for payment in understood} if payments else set()
    currencies: set[str] = set()
    for payment in understood:
        currency = known.get(payment.currency or "")
        if payment.means is PaymentMeans.GROUP_DEFAULT or _names(payment, group_currency):
            currency = group_currency
        if currency is not None:
            pay.add(str(currency.kind))
            currencies |= {one_spelling(currency.uri), currency.code.upper()}
            _add_unit(currency.code, currency.kind, pay, currencies)
        elif payment.currency is not None:
            _add_unit(payment.currency, None, pay, currencies)
    settling = [payment for payment in understood if _settles(payment, group_currency)]
    amounts = [
        float(payment.amount)
        for payment in settling
        if payment.amount is not None and payment.means is not PaymentMeans.UNSPECIFIED
    ]
    return PaymentTerms(
        tuple(sorted(pay)),
        tuple(sorted(currencies)),
        settles=bool(settling),
        price=min(amounts) if amounts and len(amounts) == len(settling) else None,
    )


def _understood(payment: Payment, own: KnownCurrency | None) -> Sequence[Payment]:
    """Read what stands only in words: a price with no unit that a reader knew, or no amount."""
    if own is not None and payment.means is PaymentMeans.CRYPTO and _names(payment, own):
        return (replace(payment, means=PaymentMeans(own.kind), currency=own.uri),)
    if payment.text is None or payment.currency is not None:
        return (payment,)
    if payment.means is PaymentMeans.UNSPECIFIED:
        return read_price(payment.text, own, payment.amount) or (payment,)
    if payment.means is PaymentMeans.GROUP_DEFAULT and payment.amount is None:
        told = read_price(payment.text, own)
        if len(told) == 1 and own is not None and _settles(told[0], own):
            return (replace(payment, amount=told[0].amount),)
    return (payment,)


def _add_unit(name: str, kind: CurrencyKind | None, pay: set[str], currencies: set[str]) -> None:
    """Add what a currency's name says by itself, where `kind` does not say that it is another."""
    unit = unit_of(name)
    if unit is None or kind not in {None, unit.kind}:
        currencies.add(one_spelling(name))
    elif unit.kind is CurrencyKind.NATIONAL:
        pay.add(f"{PaymentMeans.NATIONAL}:{unit.code}")
        currencies.add(unit.code)
    elif unit.uri is not None:
        currencies |= {unit.code, unit.uri}


def _names(payment: Payment, own: KnownCurrency | None) -> bool:
    """Tell whether a payment's currency is a group's own, by its URI or by its code.

    A code of a group's own stands before a coin's: both may be `SOL`.
    """
    if own is None or payment.currency is None:
        return False
    if one_spelling(payment.currency) == one_spelling(own.uri):
        return True
    is_code = payment.currency.upper() == own.code.upper()
    return is_code and (payment.means is not PaymentMeans.NATIONAL or str(own.kind) == "national")


def _settles(payment: Payment, own: KnownCurrency | None) -> bool:
    """Tell whether a payment could be made by a transfer to a group with this currency."""
    if payment.means in {PaymentMeans.GIFT, PaymentMeans.UNSPECIFIED}:
        return payment.currency is None
    if own is None:
        return False
    if payment.means is PaymentMeans.GROUP_DEFAULT or _names(payment, own):
        return True
    return payment.currency is None and str(payment.means) == str(own.kind)
