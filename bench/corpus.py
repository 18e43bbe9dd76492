"""Made-up listings for tests and benches: any number, from a seed, in the shape of real ones."""

import html
import math
import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, cached_property
from itertools import accumulate, count
from typing import Final

from bench.vocabulary import ELSEWHERE, LANGUAGES, City, Thing, cities, countries, phrases, things
from commons.money import CurrencyKind
from marketplace.categories import term_of
from marketplace.drafts import Draft, ListingType, listing_id
from marketplace.index import Change, Entry
from marketplace.languages import language_of
from marketplace.payment import KnownCurrency, Payment, PaymentMeans
from marketplace.payment_terms import terms_of
from marketplace.places import blur

# Listings of a hub: log-normal, half of the hubs under 22, nine in ten under 130.
MEDIAN_HUB: Final = 22
LARGEST_HUB: Final = 800
HUB_SIGMA: Final = math.log(130 / MEDIAN_HUB) / 1.2816
LISTINGS_A_MEMBER: Final = 4

KM_A_DEGREE: Final = 111.2
SCATTER_KM: Final = 6.0
OTHER_LANGUAGE: Final = 0.12
UNDECLARED: Final = 0.08
WANTED: Final = 0.3
MISTYPED: Final = 0.04
EMOJI: Final = 0.06
PLACELESS: Final = 0.03
REMOTE: Final = 0.05
IMAGE: Final = 0.25
OWN_CATEGORY: Final = 0.1
EXPIRES: Final = 0.4
PRICED: Final = 0.5
SHORTEST_MISTYPED: Final = 5

AGE_DAYS: Final = 200
OLDEST_DAYS: Final = 1000
CONFIRMED_DAYS: Final = 40
EXPIRY_DAYS: Final = (-20, 180)

_EMOJI: Final = ("🚲", "🌱", "🍎", "🎸", "🧶", "👩🏽‍🌾", "❤️", "🔧")
_FREE_TEXTS: Final = ("1 €", "8¢/kg", "2 h", "gratis", "Request a quote")
_ETHER: Final = "caip:19:eip155:1/slip44:60"
_MEANS: Final = {
    PaymentMeans.LOCAL: 35,
    PaymentMeans.TIME: 20,
    PaymentMeans.NATIONAL: 25,
    PaymentMeans.CRYPTO: 3,
    PaymentMeans.BARTER: 8,
    PaymentMeans.GIFT: 6,
    PaymentMeans.GROUP_DEFAULT: 15,
    PaymentMeans.UNSPECIFIED: 5,
}


@dataclass(frozen=True)
class Hub:
    """A group's hub: where it is, what it speaks, what it pays with, how much it lists."""

    slug: str
    city: City
    language: str
    currency: KnownCurrency
    national: str
    size: int

    @property
    def uri(self) -> str:
        """URI of the group's actor."""
        return f"https://{self.slug}.example/group"


@dataclass(frozen=True)
class Corpus:
    """`size` listings of as many hubs as it takes; the same for the same seed, cities and `now`.

    A smaller corpus is the beginning of a larger one. Nothing is kept: each call makes the
    listings anew, one by one.
    """

    size: int
    seed: int
    now: datetime
    cities: Sequence[City] = field(default_factory=cities)

    def hubs(self) -> Iterator[Hub]:
        """Make the hubs; of the last one only so many listings are made as are still wanted."""
        made = 0
        for number in count():
            if made >= self.size:
                return
            hub = self._hub(number)
            made += hub.size
            yield hub

    def drafts(self) -> Iterator[Draft]:
        """Make the listings as their origins tell them."""
        for _, made in self._made():
            yield made.draft

    def changes(self) -> Iterator[Change]:
        """Make the listings as an index takes them, under the revisions from 1 up."""
        for revision, (hub, made) in enumerate(self._made(), start=1):
            entry = made.entry(hub)
            yield Change(entry.id, revision, entry)

    def _made(self) -> Iterator[tuple[Hub, "_Made"]]:
        left = self.size
        for hub in self.hubs():
            chance = random.Random(f"{self.seed}/{hub.slug}/listings")  # noqa: S311 (not secret)
            for number in range(min(hub.size, left)):
                yield hub, _Listing(chance, hub, number, self.now).make()
            left -= hub.size

    def _hub(self, number: int) -> Hub:
        slug = f"hub-{number}"
        chance = random.Random(f"{self.seed}/{slug}")  # noqa: S311 (nothing secret)
        city = draw_city(chance, self.cities, self._cumulated)
        country = countries().get(city.country, ELSEWHERE)
        kind = chance.choices((CurrencyKind.LOCAL, CurrencyKind.TIME), (7, 3))[0]
        code = f"{chance.choice('ABCDEFGHKLMNPRSTUVWZ')}{number % 1000:03}"
        wanted = round(chance.lognormvariate(math.log(MEDIAN_HUB), HUB_SIGMA))
        return Hub(
            slug=slug,
            city=city,
            language=chance.choice(country.languages),
            currency=KnownCurrency(f"https://{slug}.example/currency", code, kind),
            national=country.currency,
            size=min(max(wanted, 1), LARGEST_HUB),
        )

    @cached_property
    def _cumulated(self) -> list[int]:
        return cumulated(self.cities)


def cumulated(places: Sequence[City]) -> list[int]:
    """Return the running sums of the populations, by which `draw_city` draws."""
    return list(accumulate(city.population for city in places))


def draw_city(chance: random.Random, places: Sequence[City], sums: Sequence[int]) -> City:
    """Draw a city, a larger one more often."""
    return places[bisect(sums, chance.randrange(sums[-1]))]


def around(chance: random.Random, city: City) -> tuple[float, float]:
    """Draw a point around a city: most within 10 km; degrees."""
    lat = city.lat + chance.gauss(0, SCATTER_KM / KM_A_DEGREE)
    lon = city.lon + chance.gauss(0, SCATTER_KM / KM_A_DEGREE / math.cos(math.radians(lat)))
    return round(lat, 5), round((lon + 180) % 360 - 180, 5)


def mistyped(chance: random.Random, word: str) -> str:
    """Return a word with one typing error behind its first letter."""
    at = chance.randrange(1, len(word) - 1)
    before, letter, following, after = word[:at], word[at], word[at + 1], word[at + 2 :]
    return before + chance.choice((following + letter, following, letter * 2 + following)) + after


def draw_thing(chance: random.Random) -> Thing:
    """Draw a skill or a good: the first ones of the table most often."""
    return things()[bisect(_popularity(), chance.random() * _popularity()[-1])]


@cache
def _popularity() -> list[float]:
    return list(accumulate((rank + 3) ** -0.7 for rank in range(len(things()))))


@dataclass(frozen=True)
class _Made:
    """A draft, and what is known of it beyond: its text without tags, when it was confirmed."""

    draft: Draft
    text: str
    confirmed: datetime

    def entry(self, hub: Hub) -> Entry:
        """Return what an index holds of the listing once it is stored."""
        draft = self.draft
        place = None
        if draft.lat is not None and draft.lon is not None:
            place = blur(draft.lat, draft.lon, draft.precision)
        return Entry(
            id=listing_id(draft.uri),
            type=draft.type,
            title=draft.title,
            text=self.text,
            language=language_of(draft.language, draft.title, self.text),
            categories=list(draft.categories),
            category_terms=list(dict.fromkeys(map(term_of, draft.categories))),
            image=draft.image,
            url=draft.uri,
            author=draft.author_uri,
            group=hub.slug,
            place_name=draft.place_name,
            lat=place[0] if place else None,
            lon=place[1] if place else None,
            remote=draft.remote,
            payments=[payment.as_json() for payment in draft.payments],
            terms=terms_of(draft.payments, {hub.currency.uri: hub.currency}, hub.currency),
            published=draft.published or self.confirmed,
            confirmed=self.confirmed,
            expires_at=draft.expires_at,
        )


class _Listing:
    """One listing in the making; `chance` is asked in one order, so it comes out the same."""

    def __init__(self, chance: random.Random, hub: Hub, number: int, now: datetime) -> None:
        self._chance = chance
        self._hub = hub
        self._number = number
        self._now = now

    def make(self) -> _Made:
        """Draw everything there is to draw."""
        chance, hub = self._chance, self._hub
        language = chance.choice(LANGUAGES) if self._happens(OTHER_LANGUAGE) else hub.language
        thing = draw_thing(chance)
        name = thing.names[language]
        wanted = self._happens(WANTED)
        lines = self._lines(language, name)
        age_days = min(chance.expovariate(1 / AGE_DAYS), OLDEST_DAYS)
        confirmed_days = min(chance.expovariate(1 / CONFIRMED_DAYS), age_days)
        lat, lon = (None, None) if self._happens(PLACELESS) else around(chance, hub.city)
        at = f"https://{hub.slug}.example"
        draft = Draft(
            uri=f"{at}/listings/{self._number}",
            type=ListingType.WANT if wanted else ListingType.OFFER,
            title=self._title(language, name, wanted=wanted),
            author_uri=f"{at}/members/{chance.randrange(hub.size // LISTINGS_A_MEMBER + 1)}",
            body=self._body(lines),
            language=None if self._happens(UNDECLARED) else language,
            categories=(name if self._happens(OWN_CATEGORY) else thing.category,),
            image=f"{at}/images/{self._number}.jpg" if self._happens(IMAGE) else None,
            group_uri=hub.uri,
            place_name=None if lat is None else hub.city.name,
            lat=lat,
            lon=lon,
            remote=lat is None or self._happens(REMOTE),
            payments=self._payments(),
            published=self._now - timedelta(days=age_days),
            expires_at=self._expiry(age_days),
        )
        return _Made(draft, " ".join(lines), self._now - timedelta(days=confirmed_days))

    def _happens(self, probability: float) -> bool:
        return self._chance.random() < probability

    def _title(self, language: str, name: str, *, wanted: bool) -> str:
        said = phrases()[language]
        form = self._chance.choice(said.wanted if wanted else said.title)
        title = form.format(thing=name, place=self._hub.city.name)
        words = title.split()
        at = self._chance.randrange(len(words))
        if self._happens(MISTYPED) and len(words[at]) >= SHORTEST_MISTYPED:
            words[at] = mistyped(self._chance, words[at])
        if self._happens(EMOJI):
            words.append(self._chance.choice(_EMOJI))
        return " ".join(words)

    def _lines(self, language: str, name: str) -> list[str]:
        said = phrases()[language]
        return [
            line.format(
                thing=name, place=self._hub.city.name, quality=self._chance.choice(said.qualities)
            )
            for line in self._chance.sample(said.lines, self._chance.randint(1, 6))
        ]

    def _body(self, lines: list[str]) -> str:
        escaped = [html.escape(line, quote=False) for line in lines]
        form = self._chance.randrange(4)
        if form == 0:
            return "".join(f"<p>{line}</p>" for line in escaped)
        if form == 1:
            return f"<p><b>{escaped[0]}</b></p><ul><li>" + "</li><li>".join(escaped[1:]) + "</ul>"
        return ("<br>" if form == 2 else "\n").join(escaped)  # noqa: PLR2004 (one of the forms)

    def _payments(self) -> tuple[Payment, ...]:
        drawn = self._chance.choices(list(_MEANS), list(_MEANS.values()), k=2)
        return tuple(self._payment(means) for means in dict.fromkeys(drawn))

    def _payment(self, means: PaymentMeans) -> Payment:
        if means is PaymentMeans.UNSPECIFIED:
            return Payment(means, text=self._chance.choice(_FREE_TEXTS))
        currency = {
            PaymentMeans.LOCAL: self._hub.currency.uri,
            PaymentMeans.NATIONAL: self._hub.national,
            PaymentMeans.CRYPTO: _ETHER,
        }.get(means)
        if self._hub.currency.kind is not CurrencyKind.LOCAL and means is PaymentMeans.LOCAL:
            currency = None
        free = means in {PaymentMeans.GIFT, PaymentMeans.BARTER}
        priced = not free and self._happens(PRICED)
        halves = self._chance.randint(1, 120)
        amount = f"{halves // 2}.{halves % 2 * 5}0"
        return Payment(means, currency=currency, amount=amount if priced else None)

    def _expiry(self, age_days: float) -> datetime | None:
        """Return when the listing expires; some have already, none before it was published."""
        if not self._happens(EXPIRES):
            return None
        days = self._chance.uniform(*EXPIRY_DAYS)
        return self._now + timedelta(days=max(days, -age_days))
