# ruff: noqa: RUF001 - prices are written with dashes, quotes and commas of all kinds
"""Prices told in words, read where they can be; pure.

Nothing is guessed: where a word or a number may mean two things, it stays text.
"""

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from commons.money import CurrencyKind
from marketplace.currencies import (
    AMBIGUOUS_SYMBOLS,
    CODES_LIKE_WORDS,
    NATIONAL_CODES,
    SYMBOLS,
    unit_of,
)
from marketplace.payment import LONGEST_TEXT, KnownCurrency, Payment, PaymentMeans
from marketplace.price_words import (
    AFTER,
    BEFORE,
    CURRENCY_WORDS,
    EACH_TO_SOME,
    FOR_EACH,
    HOURS,
    HOURS_IN_WORDS,
    HUNDREDTHS,
    MINUTES,
    OR,
    PHRASES,
    SURE_HUNDREDTHS,
    TO,
)

_RAISED: Final = re.compile("[\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089]")
_FRACTIONS: Final = {"¼": "25", "½": "5", "¾": "75"}
_MIXED: Final = re.compile(r"([0-9]{0,6}) ?([¼½¾])")
_DIVIDED: Final = re.compile(r"(?<![0-9.,/])([13])/([24])(?![0-9/.,])")
_NO_WHOLE: Final = re.compile(r"(?<![\w.,])(?=[.,][0-9])")
_NO_CENTS: Final = re.compile(r"(?<=[0-9])[.,] ?[-–—]{1,2}")
_TOKEN: Final = re.compile(
    r"(?P<number>(?<!\d)\d{1,3}(?: \d{3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,'’]\d+)*)"
    r"|(?P<word>[A-Za-z]{1,3}\$|[^\W\d_]+(?:['’-][^\W\d_]+)*)"
    r"|(?P<sign>[.,](?=\d))|(?P<ignored>[.,;!?()\[\]\"*…'’])|(?P<other>\S)"
)
_OR: Final = re.compile(rf"\s(?:{'|'.join(OR)})\.?\s|\|", re.IGNORECASE)
_MOST_WAYS: Final = 4
_MOST_DIGITS: Final = 12
_GROUP: Final = 3
_PLACES: Final = Decimal("0.0001")
_MINUTES_AN_HOUR: Final = 60
_HUNDREDTHS: Final = 100
_CLOCK_DIGITS: Final = 2


@dataclass(frozen=True)
class _Measure:
    """What a word counts: `parts` of them make one of the currency.

    `sure` words mean this and nothing else, whatever stands beside them.
    """

    means: PaymentMeans
    currency: str | None
    parts: int = 1
    sure: bool = True


def read_price(
    text: str, own: KnownCurrency | None = None, amount: str | None = None
) -> tuple[Payment, ...]:
    """Return the ways to pay that a text tells, none where it cannot be read.

    `own` is the currency of the listing's group, which tells what its code, and a symbol of
    several currencies, stand for; `amount` a decimal string that was told apart from the text.
    A range gives its least amount. A payment's own text is kept where it says more than the
    payment does, so a number that may be read in two ways is in the text alone.
    """
    if len(text) > LONGEST_TEXT:
        return ()
    text = " ".join(text.split())
    plain = _plain(text)[:LONGEST_TEXT]  # a single sign may stand for a whole phrase
    if amount is None:
        ways = _OR.split(plain)
        if 1 < len(ways) <= _MOST_WAYS:
            read = [way for told in ways if (way := _read(told, told.strip(), own, None))]
            if len(read) == len(ways):
                return tuple(dict.fromkeys(read))
    payment = _read(plain, text, own, amount)
    return () if payment is None else (payment,)


def read_amount(written: str) -> str | None:
    """Return a number as a decimal string; None where it is none, or may be one of two.

    `1.500` and `1,500` are fifteen hundred to some and one and a half to others.
    """
    if len(written) > LONGEST_TEXT:
        return None
    match = _TOKEN.fullmatch(_plain(written).strip())
    return _number(match["number"]) if match and match["number"] else None


def _read(plain: str, text: str, own: KnownCurrency | None, amount: str | None) -> Payment | None:
    tokens = [match.group() for match in _TOKEN.finditer(plain) if match["ignored"] is None]
    said = _said(tokens)
    if said in PHRASES:
        means = PHRASES[said]
        return Payment(means, text=text if means is PaymentMeans.UNSPECIFIED else None)
    if said in HOURS_IN_WORDS and amount is None:
        return Payment(PaymentMeans.TIME, None, f"{HOURS_IN_WORDS[said]:f}")
    return _Reading(tokens, own, amount).payment(
        text if amount is None else f"{amount} {text}"[:LONGEST_TEXT]
    )


def _plain(text: str) -> str:
    """Write digits, fractions and widths in one way."""
    text = _RAISED.sub("*", text)  # a footnote or a power is no digit of the number before it
    text = _MIXED.sub(lambda found: f"{found[1] or 0}.{_FRACTIONS[found[2]]} ", text)
    text = unicodedata.normalize("NFKC", text).replace('ש"ח', "₪").replace("ש״ח", "₪")
    text = "".join(
        str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in text
    ).translate({ord("٫"): ".", ord("٬"): ","})
    text = _DIVIDED.sub(lambda found: f"{Decimal(found[1]) / Decimal(found[2]):f}", text)
    return _NO_CENTS.sub(" ", _NO_WHOLE.sub("0", text))


def _said(tokens: list[str]) -> str:
    """Return the words alone, empty where there are numbers or money beside them."""
    if any(token[0].isdigit() or unicodedata.category(token[0]) == "Sc" for token in tokens):
        return ""
    return " ".join(token.casefold() for token in tokens if token[0].isalpha())


def _number(written: str) -> str | None:
    """Return a decimal string where the separators can mean one thing only."""
    separators = re.sub(r"\d", "", written)
    groups = re.split(r"\D", written)
    if sum(map(len, groups)) > _MOST_DIGITS:
        return None
    whole, part = groups, ""
    last = separators[-1:]
    if last in {".", ","} and separators.count(last) == 1:
        is_short = len(groups[-1]) != _GROUP or groups[0] == "0"
        if not is_short and len(separators) == 1:
            return None
        if is_short:
            whole, part = groups[:-1], groups[-1]
            separators = separators[:-1]
    grouped = len(whole[0]) <= _GROUP and all(len(group) == _GROUP for group in whole[1:])
    if len(whole) > 1 and (not grouped or len(set(separators)) > 1):
        return None
    number = str(int("".join(whole)))
    return f"{number}.{part}" if part else number


_HOUR: Final = _Measure(PaymentMeans.TIME, None, sure=False)
_FIXED: Final = (
    dict.fromkeys(HOURS, _HOUR)
    | dict.fromkeys(MINUTES, _Measure(PaymentMeans.TIME, None, _MINUTES_AN_HOUR, sure=False))
    | {
        word: _Measure(PaymentMeans(unit.kind), unit.code)
        for word, name in (SYMBOLS | CURRENCY_WORDS).items()
        if (unit := unit_of(name)) is not None
    }
    | {
        word: _Measure(PaymentMeans.NATIONAL, code, _HUNDREDTHS)
        for word, code in SURE_HUNDREDTHS.items()
    }
)


def _measure(token: str, own: KnownCurrency | None) -> _Measure | None:
    """Return what a word counts, None where it counts nothing or may count several things."""
    measure = own and _own_measure(token, own)
    if measure is None and token in NATIONAL_CODES and token not in CODES_LIKE_WORDS:
        return _Measure(PaymentMeans.NATIONAL, token, sure=False)
    return measure or _FIXED.get(token.casefold())


def _own_measure(token: str, own: KnownCurrency) -> _Measure | None:
    """Return what a word counts to those who pay in this currency."""
    word, code = token.casefold(), own.code.upper()
    is_code = token.upper() == code
    if is_code and code not in NATIONAL_CODES:
        return _Measure(PaymentMeans(own.kind), own.uri, sure=token == code and len(code) > 1)
    if own.kind is not CurrencyKind.NATIONAL:
        return None
    if code in HUNDREDTHS.get(word, ()):
        return _Measure(PaymentMeans.NATIONAL, code, _HUNDREDTHS, sure=word == "¢")
    if is_code or code in AMBIGUOUS_SYMBOLS.get(word, ()):
        return _Measure(PaymentMeans.NATIONAL, code, sure=False)
    return None


class _Reading:
    """One way to pay, read token by token; `amount` is what was told apart from them."""

    def __init__(self, tokens: list[str], own: KnownCurrency | None, amount: str | None) -> None:
        self._left = tokens[::-1]
        self._own = own
        self._measure: _Measure | None = None
        self._numbers: list[str | None] = [] if amount is None else [amount]
        self._is_amount_given = amount is not None
        self._has_begun = False  # with a word such as "from"

    def payment(self, text: str) -> Payment | None:
        """Return what was read, None where it is no price."""
        if not self._is_amount_given:
            while self._next.casefold() in BEFORE and _measure(self._next, self._own) is None:
                self._left.pop()
                self._has_begun = True
        self._take_unit()
        if not self._is_amount_given:
            self._take_numbers()
        if self._measure is None:
            return None
        is_plain = not (self._has_begun or self._left) and len(self._numbers) <= 1
        measure, amount = self._measure, None
        if self._ends_well():
            amount = self._amount()
        elif not measure.sure or not self._numbers:
            return None
        if is_plain and (amount is not None or not self._numbers):
            return Payment(measure.means, measure.currency, amount)
        return Payment(measure.means, measure.currency, amount, text)

    @property
    def _next(self) -> str:
        return self._left[-1] if self._left else ""

    def _take_unit(self) -> bool:
        """Take a unit if it is the first one, or the same again."""
        measure = _measure(self._next, self._own)
        if measure is None or self._measure not in {None, measure}:
            return False
        self._left.pop()
        self._measure = measure
        return True

    def _take_numbers(self) -> None:
        """Take an amount, or a range of two, with the unit before or after either."""
        if not self._take_number():
            return
        if self._next == ":" and _is_number(self._left[-2:-1]):
            self._take_clock()
            return
        is_behind = self._take_unit()
        if is_behind and self._measure == _HOUR and _is_number(self._left[-1:]):
            self._take_minutes()
        elif self._next.casefold() in TO and any(map(str.isdigit, "".join(self._left[-3:-1]))):
            self._take_range()

    def _take_range(self) -> None:
        """Take the other end of a range; `3 à 5 €` are three at five to some, so neither."""
        if self._left.pop().casefold() in EACH_TO_SOME and not self._has_begun:
            self._numbers.append(None)
        self._take_unit()
        self._take_number()
        self._take_unit()

    def _take_number(self) -> bool:
        if not _is_number(self._left[-1:]):
            return False
        self._numbers.append(_number(self._left.pop()))
        return True

    def _take_clock(self) -> None:
        """Take `1:30` where it is hours that follow."""
        self._left.pop()
        minutes = self._left.pop()
        self._take_unit()
        if self._measure == _HOUR:
            self._add_minutes(minutes)
        else:
            self._measure = None

    def _take_minutes(self) -> None:
        """Take the minutes of `1 h 30 min`, of `1h30` too."""
        minutes = self._left.pop()
        if self._next.casefold() in MINUTES:
            self._left.pop()
            minutes = minutes.zfill(_CLOCK_DIGITS)
        self._add_minutes(minutes)

    def _add_minutes(self, minutes: str) -> None:
        hours = self._numbers.pop()
        is_clock = minutes.isdigit() and len(minutes) == _CLOCK_DIGITS and minutes < "60"
        parts = _in_whole(minutes, _MINUTES_AN_HOUR) if is_clock else None
        if parts is None or hours is None or not hours.isdigit():
            self._numbers.append(None)
        else:
            self._numbers.append(_written(Decimal(hours) + Decimal(parts)))

    def _ends_well(self) -> bool:
        """Tell whether what is left changes nothing about the amount: `/kg`, `each`, `VB`."""
        words = [token.casefold() for token in reversed(self._left)]
        if any(map(_is_number, ([word] for word in words))):
            return False
        for_each = bool(words) and (words[0] in FOR_EACH or words[0].startswith(("l'", "l’")))
        return for_each or AFTER.issuperset(words)

    def _amount(self) -> str | None:
        """Return the least amount, None where there is none or one that cannot be told."""
        numbers = [number for number in self._numbers if number is not None]
        if self._measure is None or not numbers or len(numbers) < len(self._numbers):
            return None
        return _in_whole(min(numbers, key=Decimal), self._measure.parts)


def _is_number(tokens: list[str]) -> bool:
    return bool(tokens) and tokens[0][0].isdigit()


def _in_whole(number: str, parts: int) -> str | None:
    """Return how many wholes `number` parts are, None where that has no end within four places."""
    if parts == 1:
        return number
    whole = Decimal(number) / parts
    return _written(whole) if whole == whole.quantize(_PLACES) else None


def _written(number: Decimal) -> str:
    return f"{number.normalize():f}"
