"""Made-up trade between groups: who deals with whom, in which season, and for how much.

Made up after what is known of such networks; all of one seed is the same at each run.

What is realistic: few groups have very many partners and most have few, since new groups look for
those whom many know (preferential attachment, Barabási and Albert 1999); partners are mostly near,
on a map with a few dense regions; a group's partners deal with each other too (they introduce each
other, Holme and Kim 2002). Each kind of group has its season, a week has market days and a Sunday.
Amounts are log-normal and round. Most dealings go both ways, unevenly; whoever is owed much spends
more, so most groups come near what they take in with what they give, but not all.

What is not: no group is born, grows or ends during the trade, there are no bulk payments and no
prices that change, members are drawn without habits of their own, and what is paid does not depend
on what could be paid (no limit holds anybody back; a replay tells what one would have).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

DAY_SECONDS: Final = 86_400
ROUND_AMOUNT: Final = 500
"""Amounts are whole multiples of 0.05 clearing units: three minutes of an hour."""

_MAP_KM: Final = 1_000.0
_REACH_KM: Final = 60.0
_IN_REGIONS: Final = 0.7
_INTRODUCED: Final = 0.3
_CANDIDATES: Final = 16
_GROWTH: Final = 1.1
_MEDIAN_AMOUNT: Final = 25_000
_AMOUNT_SPREAD: Final = 1.1
_TIE_SPREAD: Final = 1.3
_UNEVEN: Final = 0.5
_EVENED_OUT: Final = 3
_PARTNERS: Final = 8
_YEAR_DAYS: Final = 365
_WEEK: Final = np.array([0.9, 0.9, 1.0, 1.0, 1.2, 1.7, 0.5])
"""How busy the days are, Monday first; the first day of a trade is a Monday."""

_SEASONS: Final = np.array([[250, 0.8], [340, 0.7], [105, 0.5], [290, 0.4], [15, 0.1]])
"""By kind of group the busiest day of the year and how much busier it is: a harvest, gifts, spring
repairs, courses, and care, which is needed all year."""

_SHARES_OF_KINDS: Final = np.array([0.3, 0.2, 0.2, 0.15, 0.15])


@dataclass(frozen=True)
class Network:
    """Groups 0 … on a map of 1,000 km by 1,000 km, and who of them deals with whom.

    `east_km`, `north_km` and `kind` have one place a group; `one`, `other`, `weight` (how much
    they deal, relative to others) and `share` (of it paid by `one` to `other`) one place a tie.
    No tie is there twice, in either direction.
    """

    east_km: Floats
    north_km: Floats
    kind: Numbers
    one: Numbers
    other: Numbers
    weight: Floats
    share: Floats

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self.kind)


@dataclass(frozen=True)
class Payments:
    """Payments in their order, one place a payment.

    `second` counts from the beginning of the first day, a Monday; `payer` and `payee` are groups,
    `amount` is in smallest clearing units.
    """

    second: Numbers
    payer: Numbers
    payee: Numbers
    amount: Numbers

    def __len__(self) -> int:
        return len(self.second)

    @property
    def day(self) -> Numbers:
        """The day of each payment, from 0."""
        return self.second // DAY_SECONDS


def network(seed: int, groups: int = 5_000, ties: int | None = None) -> Network:
    """Return made-up groups and so many ties between them, by default eight a group.

    Raises ValueError where there cannot be so many ties, or fewer than three groups.
    """
    wanted = min(_PARTNERS * groups, groups * (groups - 1) // 4) if ties is None else ties
    if groups < 3 or not groups <= wanted <= groups * (groups - 1) // 2:  # noqa: PLR2004 (a circle)
        raise ValueError(f"no {wanted} ties between {groups} groups")
    chance = np.random.default_rng([seed, groups, wanted])
    east, north = _places(chance, groups)
    grown = _grow(chance, east, north, int(wanted * (1 - _INTRODUCED)))
    one, other = _introduce(chance, groups, grown, wanted)
    turned = chance.random(wanted) < 0.5  # noqa: PLR2004 (half of them)
    one, other = np.where(turned, other, one), np.where(turned, one, other)
    weight = chance.lognormal(0.0, _TIE_SPREAD, wanted)
    return Network(
        east_km=east,
        north_km=north,
        kind=chance.choice(len(_SHARES_OF_KINDS), groups, p=_SHARES_OF_KINDS),
        one=one,
        other=other,
        weight=weight,
        share=_shares(chance, groups, one, other, weight),
    )


def _places(chance: np.random.Generator, groups: int) -> tuple[Floats, Floats]:
    """Put groups on the map: most in dense regions, of which few are large."""
    regions = max(3, round(groups**0.5 / 4))
    rank = 1 / np.arange(1, regions + 1)
    region = chance.choice(regions, groups, p=rank / rank.sum())
    centres = chance.uniform(0, _MAP_KM, (2, regions))
    wide = chance.uniform(10, 40, regions)
    dense = centres[:, region] + wide[region] * chance.standard_normal((2, groups))
    scattered = chance.uniform(0, _MAP_KM, (2, groups))
    east, north = np.where(chance.random(groups) < _IN_REGIONS, dense, scattered)
    return east, north


def _grow(chance: np.random.Generator, east: Floats, north: Floats, wanted: int) -> Numbers:
    """Return ties as places in the matrix of groups, of which each that comes makes as many.

    Each looks at some that have partners already, those with many more often, and takes one that
    is near. Groups come a few at a time, a tenth of those that are there.
    """
    groups = len(east)
    each = max(1, wanted // groups)
    there = min(groups, each + 2)
    ring = np.arange(there)
    ends = np.concatenate([ring, np.roll(ring, 1)])
    ties = [_place(ring, np.roll(ring, 1), groups)]
    while there < groups:
        until = min(groups, int(there * _GROWTH) + 1)
        new = np.repeat(np.arange(there, until), each)
        seen = ends[chance.integers(0, len(ends), (len(new), _CANDIDATES))]
        away = np.hypot(east[new, None] - east[seen], north[new, None] - north[seen])
        wish = chance.gumbel(size=seen.shape) - away / _REACH_KM
        taken = seen[np.arange(len(new)), wish.argmax(axis=1)]
        ends = np.concatenate([ends, new, taken])
        ties.append(_place(new, taken, groups))
        there = until
    return _first(np.concatenate(ties))


def _introduce(
    chance: np.random.Generator, groups: int, ties: Numbers, wanted: int
) -> tuple[Numbers, Numbers]:
    """Add ties between two partners of the same group, until there are as many as wanted."""
    while len(ties) < wanted:
        ends = np.divmod(ties, groups)
        group, partner = (np.concatenate([ends[a], ends[1 - a]]) for a in (0, 1))
        order = np.argsort(group, kind="stable")
        group, partner = group[order], partner[order]
        first = np.searchsorted(group, np.arange(groups + 1))
        at = chance.integers(0, len(group), 2 * (wanted - len(ties)) + 10)
        between = group[at]
        many = first[between + 1] - first[between]
        other = partner[first[between] + (chance.random(len(at)) * many).astype(np.int64)]
        some = chance.integers(0, groups, (2, 1 + (wanted - len(ties)) // 20))
        new = _place(
            np.concatenate([partner[at], some[0]]), np.concatenate([other, some[1]]), groups
        )
        ties = _first(np.concatenate([ties, new]))[:wanted]
    one, other = np.divmod(ties[:wanted], groups)
    return one, other


def _place(one: Numbers, other: Numbers, groups: int) -> Numbers:
    """Return each pair of different groups as one number, the same in both directions."""
    apart = one != other
    low, high = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
    places: Numbers = low * groups + high
    return places


def _first(places: Numbers) -> Numbers:
    """Return each number once, in the order in which they came first."""
    _, at = np.unique(places, return_index=True)
    first: Numbers = places[np.sort(at)]
    return first


def _shares(
    chance: np.random.Generator, groups: int, one: Numbers, other: Numbers, weight: Floats
) -> Floats:
    """Return which part of each tie is paid one way: uneven, but who takes in much spends more."""
    bias = np.log(chance.beta(_UNEVEN, _UNEVEN, len(one)).clip(1e-6, 1 - 1e-6))
    bias -= np.log1p(-np.exp(bias))
    spends = np.zeros(groups)
    for _ in range(_EVENED_OUT):
        share = 1 / (1 + np.exp(-(bias + spends[one] - spends[other])))
        there, back = weight * share, weight * (1 - share)
        out = np.bincount(one, there, groups) + np.bincount(other, back, groups)
        into = np.bincount(other, there, groups) + np.bincount(one, back, groups)
        spends += np.log((into + 1e-3) / (out + 1e-3))
    settled: Floats = 1 / (1 + np.exp(-(bias + spends[one] - spends[other])))
    return settled


def trade(seed: int, among: Network, count: int, days: int = _YEAR_DAYS) -> Payments:
    """Return made-up payments of so many days between groups of a network.

    How busy a day is depends on the kind of the group that is paid, and on the day of the week.
    """
    chance = np.random.default_rng([seed, among.groups, count, days])
    tie = _drawn(chance, among.weight, count)
    there = chance.random(count) < among.share[tie]
    payer = np.where(there, among.one[tie], among.other[tie])
    payee = np.where(there, among.other[tie], among.one[tie])
    day = np.empty(count, dtype=np.int64)
    every = np.arange(days)
    for kind, (peak, more) in enumerate(_SEASONS):
        of_kind = np.flatnonzero(among.kind[payee] == kind)
        wave = 1 + more * np.cos(2 * np.pi * (every - peak) / _YEAR_DAYS)
        day[of_kind] = _drawn(chance, wave * _WEEK[every % 7], len(of_kind))
    of_day = chance.normal(15 * 3_600, 3 * 3_600, count).clip(0, DAY_SECONDS - 1)
    second = day * DAY_SECONDS + of_day.astype(np.int64)
    order = np.argsort(second, kind="stable")
    return Payments(second[order], payer[order], payee[order], amounts(chance, count))


def amounts(chance: np.random.Generator, count: int) -> Numbers:
    """Return log-normal amounts in smallest clearing units, in steps of 0.05 units; median 2.5."""
    drawn = chance.lognormal(np.log(_MEDIAN_AMOUNT), _AMOUNT_SPREAD, count)
    return np.maximum(1, np.rint(drawn / ROUND_AMOUNT)).astype(np.int64) * ROUND_AMOUNT


def _drawn(chance: np.random.Generator, weight: Floats, count: int) -> Numbers:
    """Return so many places, each as often as its weight says."""
    heaped = np.cumsum(weight)
    found = np.searchsorted(heaped, chance.random(count) * heaped[-1], side="right")
    drawn: Numbers = np.minimum(found, len(weight) - 1)
    return drawn
