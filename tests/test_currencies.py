"""One currency under all its names."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commons.errors import InvalidError
from commons.money import CurrencyKind
from marketplace.currencies import (
    HOUR,
    NATIONAL_CODES,
    SYMBOLS,
    asset_of,
    one_spelling,
    unit_of,
)
from marketplace.payment import KnownCurrency, Payment, PaymentMeans, read_pay, resolve
from marketplace.payment_terms import terms_of

BITCOIN = "caip:19:bip122:000000000019d6689c085ae165831e93/slip44:0"
ETHER = "caip:19:eip155:1/slip44:60"
DAI = "0x6B175474E89094C44Da98b954EedeAC495271d0F"
WIKIDATA = "https://www.wikidata.org/wiki/"

# Every row is one currency under names that hubs and members give it.
NAMES = [
    (
        "EUR", "eur", " EUR ", "€", f"{WIKIDATA}Q4916", "http://www.wikidata.org/entity/Q4916",
        "https://www.wikidata.org/entity/Q4916", "https://m.wikidata.org/wiki/Q4916",
        "https://wikidata.org/wiki/q4916", "wd:Q4916",
    ),
    ("GBP", "gbp", "£", f"{WIKIDATA}Q25224"),
    ("BYN", f"{WIKIDATA}Q160680", f"{WIKIDATA}Q21531507"),
    ("PLN", "zł", "Zł", f"{WIKIDATA}Q123213"),
    ("USD", "US$", f"{WIKIDATA}Q4917"),
    (BITCOIN, BITCOIN.removeprefix("caip:19:"), "₿", "XBT", f"{WIKIDATA}Q131723"),
    (ETHER, "eip155:1/slip44:60", "Ξ", f"{WIKIDATA}Q16783523"),
    (
        "bip122:00000000001a91e3dace36e2be3bf030/slip44:3",
        "bip122:1a91e3dace36e2be3bf030a65679fe82/slip44:3",
        f"{WIKIDATA}Q15377916",
    ),
    (f"eip155:1/erc20:{DAI}", f"caip:19:eip155:1/erc20:{DAI.lower()}"),
    (
        "h", "hour", "Hours", "om2:hour", "HUR", f"{WIKIDATA}Q25235",
        "http://www.ontology-of-units-of-measure.org/resource/om-2/hour",
        "http://qudt.org/vocab/unit/HR", "time",
    ),
]  # fmt: skip


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
def test_all_names_of_a_currency_ask_for_one_term(names: tuple[str, ...]) -> None:
    assert len({read_pay(name) for name in names}) == 1


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
def test_a_listing_in_any_name_of_a_currency_is_found_by_every_other(
    names: tuple[str, ...],
) -> None:
    for listed in names:
        means, currency = resolve(listed)
        means = PaymentMeans.TIME if listed == "time" else means
        terms = terms_of([Payment(means, currency)], {}, None)
        found_by = {*terms.pay, *(f"currency:{term}" for term in terms.currencies)}
        for asked in names:
            assert read_pay(asked) in found_by, (listed, asked)


@pytest.mark.parametrize("code", ["BTC", "btc", "ETH", "LTC", "DOGE", "XMR", "ZEC", "USDC", "XTZ"])
def test_a_coin_is_found_by_its_code_and_by_its_asset(code: str) -> None:
    coin = unit_of(code)
    assert coin is not None
    assert coin.uri is not None
    for listed in (code, coin.uri, coin.uri.removeprefix("caip:19:")):
        means, currency = resolve(listed)
        assert means is PaymentMeans.CRYPTO
        terms = terms_of([Payment(means, currency)], {}, None)
        assert terms.currencies == tuple(sorted((coin.code, coin.uri)))
    assert read_pay(code) == f"currency:{coin.code}"
    assert read_pay(coin.uri) == f"currency:{coin.uri}"


def test_a_code_of_two_currencies_finds_both_and_an_asset_only_its_own() -> None:
    sols = KnownCurrency("https://sol.example/currency", "SOL", CurrencyKind.LOCAL)
    local = terms_of([Payment(PaymentMeans.GROUP_DEFAULT)], {}, sols)
    coin = terms_of([Payment(PaymentMeans.CRYPTO, "SOL")], {}, None)
    assert read_pay("sol").removeprefix("currency:") in {*local.currencies} & {*coin.currencies}
    asset = read_pay("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp/slip44:501")
    assert asset.removeprefix("currency:") in coin.currencies
    assert asset.removeprefix("currency:") not in local.currencies


def test_a_local_currency_is_not_national_money_because_of_its_code() -> None:
    tops = KnownCurrency("https://top.example/currency", "TOP", CurrencyKind.LOCAL)
    terms = terms_of([Payment(PaymentMeans.GROUP_DEFAULT)], {}, tops)
    assert read_pay("TOP") == "national:TOP"
    assert terms.pay == ("group-default", "local")


def test_a_group_that_pays_in_national_money_is_found_by_that_money() -> None:
    euros = KnownCurrency(f"{WIKIDATA}Q4916", "eur", CurrencyKind.NATIONAL)
    terms = terms_of([Payment(PaymentMeans.GROUP_DEFAULT)], {}, euros)
    assert terms.pay == ("group-default", "national", "national:EUR")


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("wd:Q25344", CurrencyKind.NATIONAL, "CHF"),
        ("ils", CurrencyKind.NATIONAL, "ILS"),
        ("₪", CurrencyKind.NATIONAL, "ILS"),
        ("xmr", CurrencyKind.CRYPTO, "XMR"),
        ("hrs", None, None),
        ("$", None, None),
        ("¥", None, None),
        ("kr", None, None),
        ("XXX", None, None),
        ("", None, None),
        ("Q4916", None, None),
        (f"{WIKIDATA}Q11442", None, None),
        ("caip:19:", None, None),
        ("https://hub.example/currency", None, None),
    ],
)
def test_only_what_stands_for_one_thing_is_known(
    name: str, kind: CurrencyKind | None, code: str | None
) -> None:
    unit = unit_of(name)
    assert (unit and unit.kind, unit and unit.code) == (kind, code)


def test_every_symbol_and_every_code_stands_for_a_currency() -> None:
    assert all(unit_of(symbol) for symbol in SYMBOLS)
    assert {unit.code for code in NATIONAL_CODES if (unit := unit_of(code))} == NATIONAL_CODES


def test_no_item_of_wikidata_stands_for_two_currencies() -> None:
    numbers = [25235, 4916, 4917, 25224, 131723, 8146, 132643, 172872, 41044]
    units = [unit_of(f"wd:Q{number}") for number in numbers]
    assert None not in units
    assert len(set(units)) == len(units)
    assert units[0] == HOUR


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("eco", "ECO"),
        (f"{WIKIDATA}Q11442", "http://www.wikidata.org/entity/Q11442"),
        ("eip155:137/erc20:0xABC", "caip:19:eip155:137/erc20:0xabc"),
        ("caip:19:x/slip44:128", "caip:19:x/slip44:128"),
        ("https://Hub.example/Currency", "https://Hub.example/Currency"),
    ],
)
def test_what_is_unknown_has_one_spelling_too(name: str, spelling: str) -> None:
    assert one_spelling(name) == spelling
    assert read_pay(name) == f"currency:{spelling}"


def test_an_asset_needs_a_chain_and_a_number() -> None:
    assert asset_of("eip155:1/slip44:60") == ETHER
    assert asset_of("eip155:1") is None
    assert asset_of("https://x/y:z") is None


@given(st.text(max_size=60))
def test_a_name_is_a_currency_or_none_but_never_an_error(name: str) -> None:
    unit_of(name)
    resolve(name)
    with suppress(InvalidError):
        assert re.fullmatch(r"[a-z-]+|national:[A-Z]{3}|currency:.+", read_pay(name), re.DOTALL)
