# ruff: noqa: RUF001 - prices are written with dashes, quotes and commas of all kinds
"""Prices in words: read where they can mean one thing, kept as text where not."""

import pytest
from endless import must_end
from hypothesis import given
from hypothesis import strategies as st

from commons.money import CurrencyKind
from marketplace.payment import LONGEST_TEXT, KnownCurrency, Payment, PaymentMeans
from marketplace.prices import read_amount, read_price

RIVERS = KnownCurrency("https://river.example/currency", "RIV", CurrencyKind.LOCAL)
BANK = KnownCurrency("https://bank.example/currency", "CRED", CurrencyKind.TIME)
DOLLARS = KnownCurrency("https://us.example/currency", "USD", CurrencyKind.NATIONAL)
EUROS = KnownCurrency("https://eu.example/currency", "EUR", CurrencyKind.NATIONAL)
KRONER = KnownCurrency("https://no.example/currency", "NOK", CurrencyKind.NATIONAL)
POUNDS = KnownCurrency("https://uk.example/currency", "GBP", CurrencyKind.NATIONAL)
TONGA = KnownCurrency("https://to.example/currency", "TOP", CurrencyKind.NATIONAL)

# What says nothing but an amount of something: the text is not needed beside it.
WHOLE = [
    ("1 €", "EUR 1"), ("€1.50", "EUR 1.50"), ("1,50 EUR", "EUR 1.50"), ("12 eur", "EUR 12"),
    ("3 euros", "EUR 3"), ("2 Euro", "EUR 2"), ("1.234,50 €", "EUR 1234.50"),
    ("1,234.50 €", "EUR 1234.50"), ("1 234,50 €", "EUR 1234.50"), ("1\u202f500 €", "EUR 1500"),
    ("1.000.000 €", "EUR 1000000"), ("0,99 €", "EUR 0.99"), ("5,- €", "EUR 5"),
    ("5,-- EUR", "EUR 5"), ("1'234.50 CHF", "CHF 1234.50"), ("5.– CHF", "CHF 5"),
    ("CHF 20", "CHF 20"), ("£3", "GBP 3"), ("20 quid", "GBP 20"), ("80 pence", "GBP 0.8"),
    ("US$5", "USD 5"), ("5 USD", "USD 5"), ("R$ 10,50", "BRL 10.50"), ("15 reais", "BRL 15"),
    ("20 zł", "PLN 20"), ("100 Kč", "CZK 100"), ("50 ₽", "RUB 50"), ("٥٠ ₺", "TRY 50"),
    ("40 TL", "TRY 40"), ("30 ₪", "ILS 30"), ('30 ש"ח', "ILS 30"), ("30 שקלים", "ILS 30"),
    ("15 евро", "EUR 15"), ("١٥ يورو", "EUR 15"), ("١٫٥ يورو", "EUR 1.5"), ("500円", "JPY 500"),
    ("１２ €", "EUR 12"), ("60 грн", "UAH 60"), ("250 SEK", "SEK 250"), ("0 €", "EUR 0"),
    (".50 €", "EUR 0.50"), ("€ ,50", "EUR 0.50"),
    ("0.005 BTC", "BTC 0.005"), ("2 eth", "ETH 2"), ("EUR", "EUR"), ("€", "EUR"), ("euros", "EUR"),
    ("2 h", "h 2"), ("2h", "h 2"), ("2 hours", "h 2"), ("1 hour", "h 1"), ("1.5 hrs", "h 1.5"),
    ("1 Stunde", "h 1"), ("1,5 Std.", "h 1.5"), ("½ h", "h 0.5"), ("1½ Stunden", "h 1.5"),
    ("1/2 h", "h 0.5"), ("30 min", "h 0.5"), ("45 Minuten", "h 0.75"), ("1h30", "h 1.5"),
    ("1 h 30 min", "h 1.5"), ("1:15 h", "h 1.25"), ("2 heures", "h 2"), ("une heure", "h 1"),
    ("demi-heure", "h 0.5"), ("2 horas", "h 2"), ("media hora", "h 0.5"), ("3 hores", "h 3"),
    ("mitja hora", "h 0.5"), ("2 ore", "h 2"), ("mezz'ora", "h 0.5"), ("1 hora", "h 1"),
    ("2 uur", "h 2"), ("half uur", "h 0.5"), ("2 saat", "h 2"), ("yarım saat", "h 0.5"),
    ("2 часа", "h 2"), ("полчаса", "h 0.5"), ("٣ ساعات", "h 3"), ("ساعتان", "h 2"),
    ("2 שעות", "h 2"), ("חצי שעה", "h 0.5"), ("half an hour", "h 0.5"), ("hours", "h"),
]  # fmt: skip

# What says more: it is read, and its text stays beside it.
MORE = [
    ("3 €/kg", "EUR 3"), ("3 € each", "EUR 3"), ("ab 5 €", "EUR 5"), ("from £5", "GBP 5"),
    ("20 € VB", "EUR 20"), ("20 €, VHB", "EUR 20"), ("5 € le kilo", "EUR 5"),
    ("10 € l'heure", "EUR 10"), ("15 € die Stunde", "EUR 15"), ("€ 12,50 per stuk", "EUR 12.50"),
    ("à partir de 8 €", "EUR 8"), ("desde 4 €", "EUR 4"), ("ca. 5 €", "EUR 5"),
    ("5-10 €", "EUR 5"), ("5–10 €", "EUR 5"), ("5 bis 10 €", "EUR 5"), ("€5 - €10", "EUR 5"),
    ("5€-10€", "EUR 5"), ("de 5 à 10 €", "EUR 5"), ("от 5 до 10 €", "EUR 5"), ("1-2 h", "h 1"),
    ("1 h/week", "h 1"), ("0.5 h each", "h 0.5"), ("Preis: 5 €", "EUR 5"),
    # The currency is plain, the number is not, or what it is the price of.
    ("1.500 €", "EUR"), ("1,500 EUR", "EUR"), ("5€50", "EUR"), ("12.10.2026 €", "EUR"),
    ("5 € deposit", "EUR"), ("5 € + 1 h", "EUR"), ("5 € / 2 kg", "EUR"), ("20 min", "h"),
    ("2 h 5", "h"), ("3 à 5 €", "EUR"), ("5 a 10 €", "EUR"), ("1:75 h", "h"),
    ("9999999999999999 €", "EUR"), ("in Stunden", "h"), ("en euros", "EUR"),
]  # fmt: skip

TEXT = [
    "", " ", "5", "1,50", "$5", "5 $", "8¢/kg", "50 ct", "¥500", "10 kr", "12 RIV", "5 dollars",
    "5 pounds", "50 руб", "1 cup of sugar", "1 CUP", "6 pen", "6 ft", "5 eggs", "a jar of honey",
    "5 km", "10%", "-5 €", "2 h drive", "2 units", "12:30 €", "no €5 notes", "Zimmer 5, 20 €",
    "free 5 € voucher", "feel free", "free beer", "gratis/Tausch", "5 or 10 €", "1 time", "€€€",
    "EUR USD 5", "5 EUR USD", "1 mur", "20 Sek.", "ab 5", "bis 5 €", "½", "h 2 3",
    "5 nok", "1:90 km", "EUR.50", "..50 €", "2 x 5 €", "3 for 5 €",
]  # fmt: skip


def told(text: str, own: KnownCurrency | None = None) -> str:
    """Write the one payment that a text was read as: currency or "h", then the amount."""
    (payment,) = read_price(text, own)
    unit = "h" if payment.means is PaymentMeans.TIME else payment.currency
    return " ".join(part for part in (unit, payment.amount) if part)


@pytest.mark.parametrize(("text", "expected"), WHOLE)
def test_a_price_is_read(text: str, expected: str) -> None:
    assert told(text) == expected
    assert read_price(text)[0].text is None


@pytest.mark.parametrize(("text", "expected"), MORE)
def test_a_price_that_says_more_keeps_its_text(text: str, expected: str) -> None:
    assert told(text) == expected
    assert read_price(text)[0].text == text


@pytest.mark.parametrize("text", TEXT)
def test_what_may_mean_something_else_is_not_read(text: str) -> None:
    assert read_price(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "gratis", "Free", "free!", "for free", "free of charge", "kostenlos", "zu verschenken",
        "gratuit", "à donner", "gratuito", "regalo", "gratuït", "de franc", "in regalo", "de graça",
        "weggeven", "ücretsiz", "бесплатно", "даром", "مجانا", "חינם", "🎁 gratis", "za darmo",
    ],
)  # fmt: skip
def test_what_costs_nothing_is_a_gift(text: str) -> None:
    assert read_price(text) == (Payment(PaymentMeans.GIFT),)


@pytest.mark.parametrize(
    "text",
    [
        "Tausch", "barter", "échange", "Swap", "troc", "trueque", "intercanvi", "baratto", "troca",
        "ruilen", "takas", "обмен", "مقايضة", "להחלפה", "nur Tausch!", "EN ÉCHANGE",
    ],
)  # fmt: skip
def test_a_thing_for_a_thing_is_barter(text: str) -> None:
    assert read_price(text) == (Payment(PaymentMeans.BARTER),)


@pytest.mark.parametrize(
    "text",
    [
        "Request a quote", "on request", "auf Anfrage", "Preis auf Anfrage", "VB", "sur devis",
        "prix libre", "a convenir", "preu a convenir", "trattabile", "a combinar", "in overleg",
        "договорная", "حسب الاتفاق", "לפי הסכם", "best offer",
    ],
)  # fmt: skip
def test_a_price_that_is_told_on_request_stays_text(text: str) -> None:
    assert read_price(text) == (Payment(PaymentMeans.UNSPECIFIED, text=text),)


@pytest.mark.parametrize(
    ("own", "text", "expected"),
    [
        (RIVERS, "12 RIV", f"{RIVERS.uri} 12"),
        (RIVERS, "RIV 12,50", f"{RIVERS.uri} 12.50"),
        (RIVERS, "12 riv/kg", f"{RIVERS.uri} 12"),
        (RIVERS, "12 RIV and a cake", RIVERS.uri),
        (RIVERS, "RIV", RIVERS.uri),
        (RIVERS, "12 €", "EUR 12"),
        (BANK, "2 cred", "h 2"),
        (BANK, "2 h", "h 2"),
        (DOLLARS, "$5", "USD 5"),
        (DOLLARS, "1,234.50 $", "USD 1234.50"),
        (DOLLARS, "5 dollars", "USD 5"),
        (DOLLARS, "8¢/kg", "USD 0.08"),
        (DOLLARS, "CA$5", "CAD 5"),
        (EUROS, "50 ct", "EUR 0.5"),
        (EUROS, "8¢/kg", "EUR 0.08"),
        (POUNDS, "50p", "GBP 0.5"),
        (POUNDS, "5 pounds", "GBP 5"),
        (KRONER, "100 kr", "NOK 100"),
        (TONGA, "5 TOP", "TOP 5"),
    ],
)
def test_a_groups_own_currency_tells_what_a_word_stands_for(
    own: KnownCurrency, text: str, expected: str
) -> None:
    assert told(text, own) == expected


@pytest.mark.parametrize(
    ("own", "text"),
    [(RIVERS, "$5"), (RIVERS, "8¢"), (EUROS, "$5"), (RIVERS, "5 riv bags"), (KRONER, "8¢")],
)
def test_a_groups_own_currency_makes_no_word_its_own(own: KnownCurrency, text: str) -> None:
    assert read_price(text, own) == ()


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2 h oder 20 €", [PaymentMeans.TIME, PaymentMeans.NATIONAL]),
        ("gratis o intercambio", [PaymentMeans.GIFT, PaymentMeans.BARTER]),
        ("5 € | 1 heure | troc", [PaymentMeans.NATIONAL, PaymentMeans.TIME, PaymentMeans.BARTER]),
        ("1 час или 10 €", [PaymentMeans.TIME, PaymentMeans.NATIONAL]),
    ],
)
def test_what_can_be_paid_in_several_ways_is_read_as_each(
    text: str, means: list[PaymentMeans]
) -> None:
    assert [payment.means for payment in read_price(text)] == means


@pytest.mark.parametrize(
    ("text", "amount", "expected"),
    [
        ("€", "1.500", "EUR 1.500"),
        ("hours", "2", "h 2"),
        ("minutes", "90", "h 1.5"),
        ("€/kg", "3", "EUR 3"),
        ("Euro", "12", "EUR 12"),
    ],
)
def test_an_amount_told_apart_is_taken_as_it_is(text: str, amount: str, expected: str) -> None:
    (payment,) = read_price(text, None, amount)
    unit = "h" if payment.means is PaymentMeans.TIME else payment.currency
    assert f"{unit} {payment.amount}" == expected


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("5", "5"), ("05", "5"), ("1,5", "1.5"), ("1.50", "1.50"), ("1.2345", "1.2345"),
        ("0.500", "0.500"), ("1.234,5", "1234.5"), ("1,234,567", "1234567"), ("½", "0.5"),
        ("1.500", None), ("1,500", None), ("1.2.3", None), ("12.34.567", None), ("1.234,567", None),
        ("-1", None), ("1e3", None), ("NaN", None), ("", None), ("1 2", None), ("9" * 13, None),
    ],
)  # fmt: skip
def test_a_number_is_read_where_its_signs_can_mean_one_thing(
    written: str, amount: str | None
) -> None:
    assert read_amount(written) == amount


PIECES = st.sampled_from(
    ["1", "12", " ", ".", ",", "-", "€", "$", "h", "min", ":", "½", "/", "RIV", "oder", "'", "ab",
     "𝟙", "²", "٣", "﷽", "\x00", "\ud800", "é", "\u0301", "¢", "㎏", "x" * 30, "111 " * 9]
)  # fmt: skip


@given(
    st.one_of(st.text(max_size=600), st.lists(PIECES, max_size=60).map("".join)),
    st.sampled_from([None, RIVERS, BANK, DOLLARS]),
    st.sampled_from([None, "1", "2.50"]),
)
def test_no_text_fails_and_what_is_read_out_of_one_can_be_kept(
    text: str, own: KnownCurrency | None, amount: str | None
) -> None:
    for payment in read_price(text, own, amount):
        if "\x00" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text):
            payment.check("payments[0]")


@pytest.mark.parametrize(
    "piece",
    ["1", "1 ", "111 ", "1.", "1,", "1-", "a'", "a-", "$", "½", "1/2 ", " or ", "|", "1:", "1 h ",
     "﷽", "€", "\u0301", "1½", "ab ", "111 111."],
)  # fmt: skip
def test_no_text_takes_for_ever(piece: str) -> None:
    text = (piece * LONGEST_TEXT)[:LONGEST_TEXT]
    with must_end(0.5):
        for _ in range(5):
            read_price(text, DOLLARS)
            read_price(f"{text[:-2]} x", DOLLARS)
