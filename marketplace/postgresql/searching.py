"""One search in the PostgreSQL index: filters, the order, one page, the facets."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import numpy as np
import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

from marketplace.drafts import ListingType
from marketplace.embedded.fields import seconds
from marketplace.embedded.marking import excerpt
from marketplace.embedded.ranking import (
    RANKING,
    freshness,
    image_bonus,
    nearness,
    page_of,
    price_bonus,
)
from marketplace.payment import read_pay
from marketplace.places import RESOLUTIONS, distance_km, rounded_km
from marketplace.postgresql.matching import Condition, Matcher, Number
from marketplace.postgresql.tables import FACETS, LISTING, seen
from marketplace.query import WINDOW, Hit, Page, Query, Score, Sort

_MOST_OF_A_FACET: Final = 50
_MOST_COUNTED: Final = 5 * WINDOW
_DAY_SECONDS: Final = 86_400
_OLDEST_HALVES: Final = 1_000  # PostgreSQL refuses powers that are too small to hold


class Search:
    """A question put to one snapshot of the index; `now` in seconds since 1970."""

    def __init__(self, connection: Connection, query: Query, now: float) -> None:
        self._connection = connection
        self._query = query
        self._now = now
        self._matched = Matcher(connection, query).matched()
        self._where = and_(
            seen(now),
            *self._matched.conditions,
            *self._filters(),
        )

    def page(self) -> Page:
        """Return the page that the question's cursor leads to."""
        query = self._query
        total, facets = self._counted()
        if total > WINDOW and query.sort is Sort.RELEVANCE:
            self._where = LISTING.c.id.in_(self._looked_at())
        rows = self._candidates(RANKING.ranked)
        positions, more = self._chosen(rows)
        if len(positions) < query.limit and len(rows) < min(total, WINDOW):
            rows = self._candidates(WINDOW)
            positions, more = self._chosen(rows)
        more = more or len(rows) < min(total, WINDOW)
        return Page(
            hits=self._hits([rows[position].id for position in positions]),
            total=total,
            total_is_exact=total <= WINDOW,
            facets=facets,
            cursor=query.cursor_to(query.page + 1) if more else None,
            took_ms=0.0,
        )

    def cells(self, resolution: int) -> dict[str, int]:
        """Return how many of all that is found lie in each H3 cell of a resolution."""
        cell = LISTING.c.cells[RESOLUTIONS.index(resolution) + 1]  # arrays begin at 1
        each = select(cell.label("cell")).where(self._where, LISTING.c.lat.is_not(None)).subquery()
        rows = self._connection.execute(
            select(each.c.cell, func.count().label("listings")).group_by(each.c.cell)
        )
        return {row.cell: row.listings for row in rows}

    def _filters(self) -> list[Condition]:
        query, columns = self._query, LISTING.c
        filters = [
            columns[name] == any_(_texts(values))
            for name in ("language", "group", "author")
            if (values := getattr(query, name))
        ]
        if query.category:
            filters.append(_overlap("category", query.category))
        if query.type is not None:
            filters.append(columns.type == str(query.type))
        if query.remote is not None:
            filters.append(columns.remote == query.remote)
        if query.pay:
            terms = [read_pay(value) for value in query.pay]
            named = [t.removeprefix("currency:") for t in terms if t.startswith("currency:")]
            means = [term for term in terms if not term.startswith("currency:")]
            filters.append(or_(_overlap("pay", means), _overlap("currency", named)))
        if query.since is not None:
            filters.append(columns.published >= seconds(query.since))
        if query.near is not None:
            # On the sphere, as the distances of all indexes are.
            within = func.ST_DWithin(columns.position, self._point(), query.reach_km * 1000, False)  # noqa: FBT003 (SQL has no names for it)
            filters.append(within)
        if query.bbox is not None:
            filters.append(_in_box(*query.bbox))
        return filters

    def _point(self) -> ColumnElement[Any]:
        lat, lon = self._query.near or (0.0, 0.0)
        return func.ST_GeogFromText(f"SRID=4326;POINT({lon} {lat})")

    def _candidates(self, limit: int) -> list[Row[Any]]:
        statement = select(LISTING.c.id, LISTING.c.author_key).where(self._where)
        ordered = statement.order_by(self._order(), LISTING.c.key).limit(limit)
        return list(self._connection.execute(ordered))

    def _looked_at(self) -> Select[tuple[str]]:
        """Return those to rank where there are too many: the nearest, else the freshest."""
        near = self._query.near is not None
        order = self._from_there() if near else LISTING.c.confirmed.desc()
        return select(LISTING.c.id).where(self._where).order_by(order).limit(WINDOW)

    def _from_there(self) -> ColumnElement[Any]:
        return LISTING.c.position.op("<->")(self._point())

    def _order(self) -> ColumnElement[Any]:
        query = self._query
        if query.sort is Sort.NEWEST:
            return LISTING.c.published.desc()
        if query.sort is Sort.DISTANCE:
            return self._from_there()
        return self._relevance().desc()

    def _relevance(self) -> Number:
        """Return score x freshness decay x bonus x distance decay, by RANKING's numbers."""
        age_days = func.greatest(self._now - LISTING.c.confirmed, 0) / _DAY_SECONDS
        halves = func.least(age_days / RANKING.freshness_half_days, _OLDEST_HALVES)
        relevance = self._matched.score * LISTING.c.bonus * func.power(2.0, -halves)
        if self._query.near is None:
            return relevance
        distance_m = func.ST_Distance(LISTING.c.position, self._point(), False)  # noqa: FBT003 (as above)
        return relevance / (1 + distance_m / (RANKING.distance_half_km * 1000))

    def _chosen(self, rows: list[Row[Any]]) -> tuple[list[int], bool]:
        """Return the positions on the page, and whether there are more behind it."""
        query = self._query
        capped = query.sort is Sort.RELEVANCE and not query.author
        most = RANKING.most_of_an_author if capped else query.limit
        authors = [row.author_key for row in rows]
        return page_of(np.arange(len(rows)), authors, query.page, query.limit, most)

    def _counted(self) -> tuple[int, dict[str, dict[str, int]]]:
        """Return how many there are, and how many of each value of a facet.

        Of more than _MOST_COUNTED only so many are counted.
        """
        columns = [LISTING.c[name] for name in FACETS]
        found = select(*columns).where(self._where).limit(_MOST_COUNTED).cte("found")
        parts = [select(literal("total"), literal(""), func.count()).select_from(found)]
        for name in FACETS:
            value: ColumnElement[Any] = found.c[name]
            if isinstance(LISTING.c[name].type, ARRAY):
                value = func.unnest(value)
            each = select(value.label("value")).subquery()
            count = func.count()
            most = (
                select(literal(name), each.c.value, count)
                .where(each.c.value.is_not(None))
                .group_by(each.c.value)
                .order_by(count.desc(), each.c.value)
                .limit(_MOST_OF_A_FACET)
            )
            parts.append(select(most.subquery()))
        facets: dict[str, dict[str, int]] = {name: {} for name in FACETS}
        total = 0
        for facet, held, number in self._connection.execute(union_all(*parts)):
            if facet == "total":
                total = number
            else:
                facets[facet][held] = number
        return total, facets

    def _hits(self, ids: list[str]) -> list[Hit]:
        columns: list[ColumnElement[Any]] = [LISTING.c.id, LISTING.c.hit]
        if self._query.explain:
            columns += [LISTING.c.confirmed, self._matched.score.label("score")]
        rows = self._connection.execute(select(*columns).where(LISTING.c.id == any_(_texts(ids))))
        by_id = {row.id: row for row in rows}
        return [self._hit(by_id[each]) for each in ids]

    def _hit(self, row: Row[Any]) -> Hit:
        members = orjson.loads(bytes(row.hit))
        text = members.pop("text")
        near, distance = self._query.near, None
        if near is not None:
            distance = distance_km(*near, members["lat"], members["lon"])
        return Hit(
            **members
            | {
                "type": ListingType(members["type"]),
                "published": datetime.fromisoformat(members["published"]),
                "confirmed": datetime.fromisoformat(members["confirmed"]),
            },
            excerpt=excerpt(text, members["language"], self._matched.asked),
            distance_km=None if distance is None else rounded_km(distance),
            why=self._why(row, members, distance) if self._query.explain else None,
        )

    def _why(self, row: Row[Any], members: dict[str, Any], distance: float | None) -> Score:
        """Return what each part gave, by the numbers that made the order."""
        fresh = float(freshness(np.array([row.confirmed]), self._now)[0])
        near = None if distance is None else float(nearness(np.array([distance]))[0])
        image, price = image_bonus(members["image"]), price_bonus(members["payments"])
        return Score(
            bm25=row.score,
            distance=near,
            freshness=fresh,
            image=image,
            price=price,
            total=row.score * fresh * image * price * (1.0 if near is None else near),
            weights=asdict(RANKING),
        )


def _texts(values: Iterable[str]) -> ColumnElement[Any]:
    return bindparam(None, list(values), ARRAY(Text))


def _overlap(name: str, values: Iterable[str]) -> Condition:
    return LISTING.c[name].op("&&", is_comparison=True)(_texts(values))


def _in_box(west: float, south: float, east: float, north: float) -> Condition:
    # By degrees: the edges of a box of geographies would be great circles.
    lat, lon = LISTING.c.lat, LISTING.c.lon
    if west <= east:
        return and_(lat.between(south, north), lon.between(west, east))
    return and_(lat.between(south, north), or_(lon >= west, lon <= east))
