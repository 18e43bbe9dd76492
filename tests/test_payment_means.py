import pytest
from hypothesis import given
from hypothesis import strategies as st

from commons.errors import InvalidError
from commons.money import CurrencyKind
from marketplace.payment import (
    KnownCurrency,
    Payment,
    PaymentMeans,
    read_pay,
    resolve,
)
from marketplace.payment_terms import terms_of

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
        ("CUP", PaymentMeans.NATIONAL, "CUP"),
        ("cup", PaymentMeans.UNSPECIFIED, None),
        ("sol", PaymentMeans.UNSPECIFIED, None),
        ("btc", PaymentMeans.CRYPTO, "BTC"),
        ("https://www.wikidata.org/wiki/Q131723", PaymentMeans.CRYPTO, "BTC"),
        ("eip155:1/slip44:60", PaymentMeans.CRYPTO, "caip:19:eip155:1/slip44:60"),
        ("http://www.wikidata.org/entity/Q25235", PaymentMeans.TIME, None),
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
        ("EUR", "national:EUR"),
        ("national:eur", "national:EUR"),
        ("€", "national:EUR"),
        ("Gift", "gift"),
        (" time ", "time"),
        ("hour", "time"),
        ("btc", "currency:BTC"),
        ("https://hub.example/currency", "currency:https://hub.example/currency"),
        ("caip:19:x/slip44:0", "currency:caip:19:x/slip44:0"),
    ],
)
def test_a_pay_parameter_asks_for_a_term(value: str, term: str) -> None:
    assert read_pay(value) == term


@pytest.mark.parametrize(
    "value", ["", "national:", "national:XXX", "local:x", "crypto:BTC", "a b", "é", "$", "x" * 17]
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


@pytest.mark.parametrize(
    "hostile", [{"text": "a\x00b"}, {"text": "\ud800"}, {"currency": "https://a.example/\x00"}]
)
def test_what_no_database_can_keep_is_refused(hostile: dict[str, str]) -> None:
    with pytest.raises(InvalidError):
        Payment(PaymentMeans.UNSPECIFIED, **hostile).check("payments[0]")


EURO_GROUP = KnownCurrency("https://eu.example/currency", "EUR", CurrencyKind.NATIONAL)
SOLS = KnownCurrency("https://sol.example/currency", "SOL", CurrencyKind.LOCAL)
M = PaymentMeans


@pytest.mark.parametrize(
    ("payments", "own", "settles", "price"),
    [
        # In the group's own currency, whatever name the listing gives it.
        ([Payment(M.GROUP_DEFAULT, None, "5")], ECOS, True, 5),
        ([Payment(M.GROUP_DEFAULT)], ECOS, True, None),
        ([Payment(M.LOCAL, ECOS.uri, "12.50")], ECOS, True, 12.5),
        ([Payment(M.LOCAL, "eco", "12")], ECOS, True, 12),
        ([Payment(M.LOCAL, None, "3")], ECOS, True, 3),
        ([Payment(M.LOCAL, HOURS.uri, "3")], HOURS, True, 3),
        ([Payment(M.TIME, None, "2")], HOURS, True, 2),
        ([Payment(M.TIME, "HRS", "2")], HOURS, True, 2),
        ([Payment(M.NATIONAL, "EUR", "9")], EURO_GROUP, True, 9),
        ([Payment(M.CRYPTO, "SOL", "4")], SOLS, True, 4),
        # For nothing, or without a word of it.
        ([Payment(M.GIFT)], None, True, None),
        ([Payment(M.UNSPECIFIED)], ECOS, True, None),
        ([Payment(M.UNSPECIFIED, text="Request a quote")], ECOS, True, None),
        ([Payment(M.UNSPECIFIED, None, "6", "eggs")], ECOS, True, None),
        ([], ECOS, True, None),
        # In something else.
        ([Payment(M.BARTER)], ECOS, False, None),
        ([Payment(M.BARTER, text="a jar of honey")], ECOS, False, None),
        ([Payment(M.NATIONAL, "EUR", "3")], ECOS, False, None),
        ([Payment(M.NATIONAL, "USD", "3")], EURO_GROUP, False, None),
        ([Payment(M.TIME, None, "1")], ECOS, False, None),
        ([Payment(M.LOCAL, "https://else.example/c", "1")], ECOS, False, None),
        ([Payment(M.CRYPTO, "BTC", "1")], SOLS, False, None),
        ([Payment(M.UNSPECIFIED, "https://www.wikidata.org/wiki/Q11442")], ECOS, False, None),
        ([Payment(M.GROUP_DEFAULT, None, "5")], None, False, None),
        ([Payment(M.UNSPECIFIED, text="3 €")], ECOS, False, None),
        # In one of several ways: the least that any asks, unknown where one does not say.
        ([Payment(M.GROUP_DEFAULT, None, "5"), Payment(M.LOCAL, "ECO", "4.5")], ECOS, True, 4.5),
        ([Payment(M.GROUP_DEFAULT, None, "5"), Payment(M.NATIONAL, "EUR", "1")], ECOS, True, 5),
        ([Payment(M.BARTER), Payment(M.GROUP_DEFAULT, None, "5")], ECOS, True, 5),
        ([Payment(M.GROUP_DEFAULT, None, "5"), Payment(M.GIFT)], ECOS, True, None),
        ([Payment(M.GROUP_DEFAULT, None, "5"), Payment(M.GROUP_DEFAULT)], ECOS, True, None),
        # In words, of which the group's currency is the key.
        ([Payment(M.UNSPECIFIED, text="12 eco")], ECOS, True, 12),
        ([Payment(M.UNSPECIFIED, None, "12", "ECO")], ECOS, True, 12),
        ([Payment(M.UNSPECIFIED, text="2 h")], HOURS, True, 2),
        ([Payment(M.UNSPECIFIED, text="2 h")], ECOS, False, None),
        ([Payment(M.UNSPECIFIED, text="5 ECO oder 2 €")], ECOS, True, 5),
        ([Payment(M.UNSPECIFIED, text="gratis")], ECOS, True, None),
        ([Payment(M.UNSPECIFIED, text="Tausch")], ECOS, False, None),
        ([Payment(M.GROUP_DEFAULT, text="0.5 h each")], HOURS, True, 0.5),
        ([Payment(M.GROUP_DEFAULT, text="0.5 h each")], ECOS, True, None),
    ],
)
def test_a_listing_settles_in_its_groups_currency_for_the_least_price(
    payments: list[Payment], own: KnownCurrency | None, *, settles: bool, price: float | None
) -> None:
    terms = terms_of(payments, KNOWN, own)
    assert (terms.settles, terms.price) == (settles, price)


@pytest.mark.parametrize(
    ("text", "own", "pay"),
    [
        ("1 €", None, ("national", "national:EUR")),
        ("$5", ECOS, ("unspecified",)),
        ("8¢/kg", EURO_GROUP, ("national", "national:EUR")),
        ("2 h", ECOS, ("time",)),
        ("gratis", ECOS, ("gift",)),
        ("12 ECO", ECOS, ("local",)),
        ("2 h oder 20 €", ECOS, ("national", "national:EUR", "time")),
        ("Request a quote", ECOS, ("unspecified",)),
    ],
)
def test_a_price_in_words_is_found_by_what_it_says(
    text: str, own: KnownCurrency | None, pay: tuple[str, ...]
) -> None:
    assert terms_of([Payment(M.UNSPECIFIED, text=text)], KNOWN, own).pay == pay


def test_a_coins_code_that_is_the_groups_own_is_the_groups_own() -> None:
    terms = terms_of([Payment(M.CRYPTO, "sol", "4")], {SOLS.uri: SOLS}, SOLS)
    assert (terms.pay, terms.currencies) == (("local",), ("SOL", SOLS.uri))


PAYMENTS = st.builds(
    Payment,
    st.sampled_from(PaymentMeans),
    st.sampled_from([None, "EUR", "eco", "BTC", ECOS.uri, "https://else.example/c", "\u20ac"]),
    st.sampled_from([None, "0", "5", "12.50"]),
    st.one_of(st.none(), st.sampled_from(["3 \u20ac", "2 h", "gratis", "12 eco"]), st.text()),
)


@given(st.lists(PAYMENTS, max_size=4), st.sampled_from([None, ECOS, HOURS, EURO_GROUP, SOLS]))
def test_any_payments_have_terms_and_a_price_only_where_they_settle(
    payments: list[Payment], own: KnownCurrency | None
) -> None:
    terms = terms_of(payments, KNOWN, own)
    assert terms.price is None or terms.settles
    assert list(terms.pay) == sorted(set(terms.pay))
    assert all(read_pay(means) == means for means in terms.pay)
