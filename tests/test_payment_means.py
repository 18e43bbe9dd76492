import pytest

from commons.errors import InvalidError
from commons.money import CurrencyKind
from marketplace.payment import (
    KnownCurrency,
    Payment,
    PaymentMeans,
    read_pay,
    resolve,
    terms_of,
)

HOURS = KnownCurrency("https://bank.example/hours", "hrs", CurrencyKind.TIME)
ECOS = KnownCurrency("https://hub.example/currency", "ECO", CurrencyKind.LOCAL)
KNOWN = {currency.uri: currency for currency in (HOURS, ECOS)}


@pytest.mark.parametrize(
    ("unit", "means", "currency"),
    [
        ("EUR", PaymentMeans.NATIONAL, "EUR"),
        ("cad", PaymentMeans.NATIONAL, "CAD"),
        ("https://www.wikidata.org/wiki/Q25224", PaymentMeans.NATIONAL, "GBP"),
        ("http://www.wikidata.org/entity/Q4917", PaymentMeans.NATIONAL, "USD"),
        ("https://www.wikidata.org/wiki/Q4916", PaymentMeans.NATIONAL, "EUR"),
        ("caip:19:monero:4180/slip44:128", PaymentMeans.CRYPTO, "caip:19:monero:4180/slip44:128"),
        ("hour", PaymentMeans.TIME, None),
        ("om2:hour", PaymentMeans.TIME, None),
        ("https://hub.example/currency", PaymentMeans.LOCAL, "https://hub.example/currency"),
        ("a jar of jam", PaymentMeans.UNSPECIFIED, None),
        (
            "https://www.wikidata.org/wiki/Q11442",
            PaymentMeans.UNSPECIFIED,
            "https://www.wikidata.org/wiki/Q11442",
        ),
    ],
)
def test_a_unit_stands_for_a_means_and_a_currency(
    unit: str, means: PaymentMeans, currency: str | None
) -> None:
    assert resolve(unit) == (means, currency)


@pytest.mark.parametrize(
    ("value", "term"),
    [
        ("local", "local"),
        ("gift", "gift"),
        ("national", "national"),
        ("national:EUR", "national:EUR"),
        ("ECO", "currency:ECO"),
        ("eco", "currency:ECO"),
        ("https://hub.example/currency", "currency:https://hub.example/currency"),
        ("caip:19:x/slip44:0", "currency:caip:19:x/slip44:0"),
    ],
)
def test_a_pay_parameter_asks_for_a_term(value: str, term: str) -> None:
    assert read_pay(value) == term


@pytest.mark.parametrize(
    "value", ["", "national:", "national:XXX", "national:eur", "local:x", "a b", "é", "x" * 17]
)
def test_a_pay_parameter_that_is_nothing_is_refused(value: str) -> None:
    with pytest.raises(InvalidError) as refused:
        read_pay(value)
    assert refused.value.field == "pay"


def test_a_time_banks_default_is_found_by_time_and_by_its_currency() -> None:
    terms = terms_of([Payment(PaymentMeans.GROUP_DEFAULT)], KNOWN, HOURS)
    assert terms.pay == ("group-default", "time")
    assert terms.currencies == ("HRS", "https://bank.example/hours")


def test_a_listing_is_found_by_the_code_and_the_uri_of_its_currency() -> None:
    terms = terms_of([Payment(PaymentMeans.LOCAL, ECOS.uri, "12.50")], KNOWN, None)
    assert terms.pay == ("local",)
    assert terms.currencies == ("ECO", "https://hub.example/currency")


def test_an_unknown_currency_is_found_by_its_uri_alone() -> None:
    terms = terms_of([Payment(PaymentMeans.LOCAL, "https://else.example/c")], KNOWN, None)
    assert terms.currencies == ("https://else.example/c",)


def test_national_money_is_found_with_and_without_its_code() -> None:
    terms = terms_of([Payment(PaymentMeans.NATIONAL, "EUR", "3")], KNOWN, ECOS)
    assert terms.pay == ("national", "national:EUR")
    assert terms.currencies == ("EUR",)


def test_a_payment_survives_json() -> None:
    payment = Payment(PaymentMeans.NATIONAL, "EUR", "3.00", "or less")
    assert Payment.from_json(payment.as_json()) == payment
    assert Payment(PaymentMeans.GIFT).as_json() == {"means": "gift"}


@pytest.mark.parametrize("amount", ["-1", "1e3", "NaN", "", "1.", ".5", "1,5", "9" * 19, "\uff11"])
def test_an_amount_that_is_no_plain_decimal_is_refused(amount: str) -> None:
    with pytest.raises(InvalidError):
        Payment(PaymentMeans.LOCAL, amount=amount).check("payments[0]")
