"""In which order hits come: the numbers of the ranking, and their use on many at once."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from marketplace.index import Entry
from marketplace.query import Hit, Score

Floats = npt.NDArray[np.float64]
Order = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Ranking:
    """The numbers by which relevance is told.

    `*_weight` multiply BM25; `inexact_score` is what a prefix or a word with a typing error
    gives in place of BM25, before the weight. Typing errors are looked for where fewer than
    `typos_below` listings have a word as it was typed: a common word is hardly one.
    """

    title_weight: float = 3.0
    category_weight: float = 2.0
    body_weight: float = 1.0
    place_weight: float = 1.0
    inexact_score: float = 0.5
    typos_below: int = 10
    most_prefixed: int = 50
    distance_half_km: float = 10.0
    freshness_half_days: float = 91.0
    image_bonus: float = 1.05
    price_bonus: float = 1.05
    most_of_an_author: int = 3
    ranked: int = 1_000


RANKING: Final = Ranking()
ERA: Final = datetime(2026, 1, 1, tzinfo=UTC)  # when it changes, so does SCHEMA_VERSION
_DAY_SECONDS: Final = 86_400


def bonus_of(entry: Entry) -> float:
    """Return the factor that a listing earns by showing an image and telling a price."""
    return image_bonus(entry.image) * price_bonus(entry.payments)


def weight_of(entry: Entry) -> float:
    """Return what a listing gives its score by itself: freshness x bonus, but for a factor.

    Freshness halves by the same factor from whatever moment it is reckoned, so that the order
    does not change with the hour: it is reckoned from ERA.
    """
    days = (entry.confirmed - ERA).total_seconds() / _DAY_SECONDS
    return bonus_of(entry) * math.exp2(days / RANKING.freshness_half_days)


def image_bonus(image: str | None) -> float:
    """Return the factor that an image earns."""
    return RANKING.image_bonus if image else 1.0


def price_bonus(payments: Iterable[Mapping[str, Any]]) -> float:
    """Return the factor that a price earns, in any of the means of payment."""
    return RANKING.price_bonus if any("amount" in payment for payment in payments) else 1.0


def freshness(confirmed: Floats, now: float) -> Floats:
    """Return by how much listings fade that were last confirmed a while ago."""
    ages_days = np.maximum(now - confirmed, 0) / _DAY_SECONDS
    return np.exp2(-ages_days / RANKING.freshness_half_days)


def nearness(distances_km: Floats) -> Floats:
    """Return by how much listings fade that are farther away."""
    return 1 / (1 + distances_km / RANKING.distance_half_km)


def order_by(values: Floats, keys: npt.NDArray[np.int64]) -> Order:
    """Return the positions of `values` from the lowest up; equal ones in the order of `keys`."""
    return np.lexsort((keys, values))


def page_of(
    order: Order, authors: list[int], page: int, limit: int, most: int
) -> tuple[list[int], bool]:
    """Return (the positions on page number `page`, whether more follow).

    At most `most` of an author are on each page; what is too much on one comes first on the
    next, so nothing is lost. Each goes to the first page that has room for it, in one pass.
    """
    last: dict[int, tuple[int, int]] = {}  # by author: the page where the last one went, how many
    taken: dict[int, int] = {}
    later: dict[int, int] = {}  # from a full page to one that may have room
    chosen: list[int] = []
    more = False
    for position in order.tolist():
        if more and len(chosen) == limit:
            break
        author = authors[position]
        at, of_author = last.get(author, (0, 0))
        if of_author == most:
            at, of_author = at + 1, 0
        if (room := _with_room(at, later)) != at:
            at, of_author = room, 0
        last[author] = at, of_author + 1
        taken[at] = taken.get(at, 0) + 1
        if taken[at] == limit:
            later[at] = at + 1
        if at == page:
            chosen.append(position)
        more = more or at > page
    return chosen, more


def _with_room(page: int, later: dict[int, int]) -> int:
    """Return the first page from one on that is not full; shortens the way there."""
    at = page
    while at in later:
        at = later[at]
    while page in later:
        later[page], page = at, later[page]
    return at


def score_of(hit: Hit, bm25: float, distance_km: float | None, now: float) -> Score:
    """Return what each part gave a hit, reckoned as for the order of the hits."""
    fresh = float(freshness(np.array([hit.confirmed.timestamp()]), now)[0])
    near = None if distance_km is None else float(nearness(np.array([distance_km]))[0])
    image, price = image_bonus(hit.image), price_bonus(hit.payments)
    return Score(
        bm25=bm25,
        distance=near,
        freshness=fresh,
        image=image,
        price=price,
        total=bm25 * (1.0 if near is None else near) * fresh * image * price,
        weights=asdict(RANKING),
    )
