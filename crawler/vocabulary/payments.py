"""How the other side is paid, from the reciprocals of a proposal and from prices in words; pure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from crawler.terms import Document, decimal_text, first_id, id_of, objects, text, values
from marketplace.drafts import MOST_VALUES
from marketplace.payment import LONGEST_TEXT, Payment, PaymentMeans, is_amount, resolve
from marketplace.prices import read_amount, read_price

# The unit of things that are counted, no currency.
_ONE: Final = {"one", "om2:one", "http://www.ontology-of-units-of-measure.org/resource/om-2/one"}
_QUANTITIES: Final = ("resourceQuantity", "effortQuantity")


def unsaid(group: str | None) -> tuple[Payment, ...]:
    """Return how to pay where no word is said of it: a group's currency, else it is a gift."""
    return (Payment(PaymentMeans.GROUP_DEFAULT if group else PaymentMeans.GIFT),)


def by_reciprocals(reciprocals: Sequence[Document]) -> tuple[Payment, ...]:
    """Return the ways to pay that reciprocals tell, each of which is one.

    None of them is embedded where a proposal only names them: how to pay is then not known.
    """
    ways = [payment for one in reciprocals[: MOST_VALUES + 1] for payment in _by_reciprocal(one)]
    return tuple(dict.fromkeys(ways)) or (Payment(PaymentMeans.UNSPECIFIED),)


def by_words(price: str) -> tuple[Payment, ...]:
    """Return the ways to pay that a price in words tells; the words where they tell none."""
    price = " ".join(price.split())
    if ways := read_price(price):
        return ways
    amount = read_amount(price)
    kept = None if amount else price[:LONGEST_TEXT] or None
    return (Payment(PaymentMeans.UNSPECIFIED, None, amount, kept),)


def _by_reciprocal(reciprocal: Document) -> tuple[Payment, ...]:
    quantities = (one for term in _QUANTITIES for one in objects(reciprocal, term))
    quantity = next(quantities, None)
    if quantity is not None:
        return _by_quantity(reciprocal, quantity)
    least = next(objects(reciprocal, "minimumQuantity"), None)
    if least is None:
        return _by_quantity(reciprocal, {})
    return tuple(map(_at_least, _by_quantity(reciprocal, least)))


def _at_least(payment: Payment) -> Payment:
    """Return a payment whose amount is the least that is taken, which its text says."""
    if payment.amount is None:
        return payment
    return replace(payment, text=payment.text or f"≥ {payment.amount}")


def _by_quantity(reciprocal: Document, quantity: Document) -> tuple[Payment, ...]:
    written = decimal_text(quantity, "hasNumericalValue")
    amount = written if written and is_amount(written) else read_amount(written or "")
    units = _units(quantity)
    currency = None
    for named in (first_id(reciprocal, "resourceConformsTo"), *units):
        means, found = resolve(named)
        if means is not PaymentMeans.UNSPECIFIED:
            return (Payment(means, found, amount, written if amount is None else None),)
        currency = currency or found
    unit = next(iter(units), "")
    if currency is not None:
        return (Payment(PaymentMeans.UNSPECIFIED, currency, amount),)
    thing = text(reciprocal, "resourceConformsTo")
    if told := _told(unit or thing, written, amount):
        return told
    if thing and not unit:
        return (Payment(PaymentMeans.BARTER, text=thing),)
    words = " ".join(filter(None, (written if amount is None else None, unit)))
    return (Payment(PaymentMeans.UNSPECIFIED, None, amount, words or None),)


def _told(words: str, written: str | None, amount: str | None) -> tuple[Payment, ...]:
    """Read a price in words, whose amount may stand within them or apart from them."""
    if amount is None:
        return read_price(f"{written or ''} {words}")
    return read_price(words, amount=amount) or read_price(words)


def _units(quantity: Document) -> list[str]:
    """Return the names of a unit that is given as a text, a URI or an object, the first one best.

    The address of an object is its name only where it has no other: it is no currency's.
    """
    unit = next(iter(values(quantity, "hasUnit")), "")
    names = [unit] if isinstance(unit, str) else []
    if isinstance(unit, dict):
        named = [text(unit, term) for term in ("@value", "label", "name", "symbol")]
        names = [name for name in named if name] or [id_of(unit)]
    return [name.strip() for name in names if name.strip() and name.strip() not in _ONE]
