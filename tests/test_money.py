"""Amounts, rates and the two sides of a payment are exact integers."""

from fractions import Fraction

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from commons.errors import InvalidError
from commons.money import (
    CLEARING_SCALE,
    MAX_MINOR,
    Side,
    convert,
    format_amount,
    format_rate,
    parse_amount,
    parse_rate,
)

SCALES = st.integers(0, 8)
MINORS = st.integers(1, MAX_MINOR)
TERMS = st.integers(1, 10**12 - 1)
RATES = st.builds(Fraction, TERMS, TERMS)
PLAIN_RATES = st.builds(Fraction, st.integers(1, 1_000), st.integers(1, 1_000))
SIDES = st.builds(Side, PLAIN_RATES, SCALES)


@given(MINORS, SCALES)
def test_what_is_written_is_read_as_the_same(minor: int, scale: int) -> None:
    assert parse_amount(format_amount(minor, scale), scale) == minor


@given(st.integers(-MAX_MINOR, MAX_MINOR), SCALES)
def test_an_amount_is_written_with_every_place_of_its_currency(minor: int, scale: int) -> None:
    text = format_amount(minor, scale)
    assert Fraction(text) == Fraction(minor, 10**scale)
    assert len(text.partition(".")[2]) == scale


@pytest.mark.parametrize(
    ("text", "scale", "minor"),
    [("12.50", 2, 1250), ("12.5", 2, 1250), ("12", 2, 1200), ("0.0001", 4, 1), ("7", 0, 7)],
)
def test_an_amount_may_leave_out_places(text: str, scale: int, minor: int) -> None:
    assert parse_amount(text, scale) == minor


@pytest.mark.parametrize(
    "odd",
    [
        12, 12.5, 0, True, None, b"12", ["12"], {"amount": "12"}, Fraction(1),
        "", " ", ".", "-", "+1", "-1", "-0.01", "1e2", "1E2", "1e-1", "0x10", "0b1", "1_000",
        "1,000", "1 000", "1'000", "NaN", "nan", "Infinity", "inf", "1.", ".5", "01", "00.5",
        "1.2.3", " 1", "1 ", "1\n", "\n1", "1\0", "\N{ARABIC-INDIC DIGIT ONE}",
        "\N{FULLWIDTH DIGIT ONE}", "\N{MINUS SIGN}1", "\N{VULGAR FRACTION ONE HALF}",
        "1\N{NO-BREAK SPACE}", "1/2", "1;DROP", "one", "0", "0.00", "0.000000000000000000",
        str(2**63), str(2**64), "9" * 400, "9007199254740992", "90071992547409.92", "1.005",
        "0.001", "1.000",
    ],
)  # fmt: skip
def test_an_odd_amount_is_refused_by_its_field(odd: object) -> None:
    with pytest.raises(InvalidError) as refused:
        parse_amount(odd, 2, "price")
    assert refused.value.field == "price"


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.none(), SCALES)
def test_whatever_is_read_was_a_plain_decimal(anything: object, scale: int) -> None:
    try:
        minor = parse_amount(anything, scale)
    except InvalidError:
        return
    assert isinstance(anything, str)
    assert set(anything) <= set("0123456789.")
    assert 0 < minor <= MAX_MINOR
    assert Fraction(minor, 10**scale) == Fraction(anything)


@given(MINORS, SCALES, st.integers(1, 5))
def test_more_places_than_the_currency_has_are_never_rounded(
    minor: int, scale: int, more: int
) -> None:
    text = format_amount(minor, scale) + ("" if scale else ".") + "0" * more
    with pytest.raises(InvalidError, match=f"at most {scale} decimal places"):
        parse_amount(text, scale)


def test_the_largest_amount_is_read_and_one_more_is_refused() -> None:
    assert parse_amount(format_amount(MAX_MINOR, 4), 4) == MAX_MINOR
    with pytest.raises(InvalidError, match=r"must be at most 900719925474\.0991"):
        parse_amount(format_amount(MAX_MINOR + 1, 4), 4)


@given(RATES)
def test_a_rate_survives_writing_and_reading(rate: Fraction) -> None:
    assert parse_rate(format_rate(rate)) == rate


@pytest.mark.parametrize(
    "odd",
    ["", "1", "1/0", "0/1", "-1/2", "1/-2", "+1/2", "1.5/2", "1 / 2", "01/2", "1/02", "1/2\n",
     "1/2/3", "1e2/3", "1_0/3", "\N{ARABIC-INDIC DIGIT ONE}/2", "1/" + "9" * 13],
)  # fmt: skip
def test_an_odd_rate_is_refused(odd: str) -> None:
    with pytest.raises(InvalidError, match="rate"):
        parse_rate(odd)


def test_both_sides_of_the_documented_payment() -> None:
    # 1000 units at 2/13 hour each, into units of half an hour.
    payer, payee = Side(Fraction(2, 13), 0), Side(Fraction(1, 2), 0)
    sides = convert(1000 * payer.rate, payer, payee)
    assert (sides.payer_local, sides.payee_local) == (1000, 307)
    assert (sides.payer_clearing, sides.payee_clearing) == (1_538_462, 1_535_000)
    assert sides.residue == 3_462


@given(st.integers(1, 10**9), SIDES, SIDES, SIDES)
def test_the_residue_stays_in_its_bounds(minor: int, payer: Side, payee: Side, of: Side) -> None:
    value = Fraction(minor, 10**of.scale) * of.rate
    try:
        sides = convert(value, payer, payee)
    except InvalidError:
        reject()
    one_payee_unit = payee.rate * 10**CLEARING_SCALE / 10**payee.scale
    assert 0 <= sides.residue < one_payee_unit + 2
    # Nobody pays less and nobody gets more than the exact fraction.
    assert Fraction(sides.payer_local, 10**payer.scale) * payer.rate >= value
    assert Fraction(sides.payee_local, 10**payee.scale) * payee.rate <= value
    assert Fraction(sides.payer_clearing, 10**CLEARING_SCALE) >= value
    assert Fraction(sides.payee_clearing, 10**CLEARING_SCALE) <= value


@given(st.integers(1, MAX_MINOR), st.builds(Side, RATES, SCALES), st.builds(Side, RATES, SCALES))
def test_every_number_of_a_payment_fits_the_database(minor: int, payer: Side, payee: Side) -> None:
    value = Fraction(minor, 10**payee.scale) * payee.rate
    try:
        sides = convert(value, payer, payee)
    except InvalidError:
        reject()
    numbers = (
        sides.payer_local, sides.payee_local, sides.payer_clearing, sides.payee_clearing
    )  # fmt: skip
    assert all(0 < number <= MAX_MINOR for number in numbers)


@pytest.mark.parametrize(
    ("value", "payer", "payee"),
    [
        (Fraction(1, 2), Side(Fraction(1), 2), Side(Fraction(1), 0)),  # half an indivisible unit
        (Fraction(1, 10**5), Side(Fraction(1), 8), Side(Fraction(1), 8)),  # no clearing unit
    ],
)
def test_a_payee_never_gets_nothing(value: Fraction, payer: Side, payee: Side) -> None:
    with pytest.raises(InvalidError, match="payee would get nothing"):
        convert(value, payer, payee)


def test_a_payment_beyond_the_payers_numbers_is_refused() -> None:
    worthless = Side(Fraction(1, 10**12 - 1), 8)
    with pytest.raises(InvalidError, match="too large in the currency"):
        convert(Fraction(10**9), worthless, Side(Fraction(1), 2))
    with pytest.raises(InvalidError, match="too large in clearing units"):
        convert(Fraction(MAX_MINOR), Side(Fraction(1), 2), Side(Fraction(1), 2))
