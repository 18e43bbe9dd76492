"""One search in the PostgreSQL index: filters, the order, one page, the facets."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Executable,
    FromClause,
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

from commons.errors import UnavailableError
from marketplace.categories import term_of
from marketplace.drafts import ListingType
from marketplace.embedded.fields import seconds
from marketplace.embedded.marking import excerpt
from marketplace.embedded.ranking import RANKING, page_of, score_of
from marketplace.embedded.wording import Asked
from marketplace.payable import Payee
from marketplace.places import RESOLUTIONS, distance_km, rounded_km
from marketplace.postgresql.matching import Columns, Condition, Matched, Matcher, Number
from marketplace.postgresql.tables import FACETS, HIT, LISTING, META, seen
from marketplace.query import WINDOW, Hit, Page, Query, Sort
from marketplace.words import read_words

ANSWER_SECONDS: Final = 2
_RANKED_BY: Final = ("words", "weight", "position")
_MOST_OF_A_FACET: Final = 50
_MOST_CELLS: Final = 10_000
_MOST_LOOKED_AT: Final = 5 * WINDOW
NO_PAGE: Final = Page(
    hits=[],
    total=0,
    total_is_exact=True,
    facets={name: {} for name in FACETS},
    cursor=None,
    took_ms=0.0,
)


def answer(connection: Connection, query: Query, now: float) -> Page:
    """Return a page, of what has most of the words where nothing has all; `now` in seconds."""
    until = time.monotonic() + ANSWER_SECONDS
    page = Search(connection, query, now, until).page()
    if page.total or not read_words(query.q):
        return page
    loosened = Search(connection, query, now, until, loose=True).page()
    return replace(loosened, loosened=True) if loosened.total else page


def cells(connection: Connection, query: Query, now: float, resolution: int) -> dict[str, int]:
    """Count what `answer` finds in each H3 cell, the 10,000 fullest at most."""
    until = time.monotonic() + ANSWER_SECONDS
    search = Search(connection, query, now, until)
    if read_words(query.q) and not search.finds():
        search = Search(connection, query, now, until, loose=True)
    return search.cells(resolution)


class Search:
    """A question put to one snapshot of the index; `now` in seconds since 1970.

    What it asks ends at `until`, by the monotonic clock.

    Up to 50,000 listings that are found are all counted and all ranked. Of more, so many are
    counted, and where words or a place tell the order they are ranked in two stages: the 50,000
    that are nearest, or without a place those of the highest weight (the fresh ones with image and
    price), are ranked by everything. One behind them may deserve to be among the first for what
    its words give; it is not found there. Where neither words nor a place are asked for, and by
    `newest` and `distance`, the order is always that of all.
    """

    def __init__(
        self, connection: Connection, query: Query, now: float, until: float, *, loose: bool = False
    ) -> None:
        self._connection = connection
        self._query = query
        self._now = now
        self._until = until
        self._matched = Matcher(connection, query, loose=loose).matched()
        self._from, payable = _payable(query.payees)
        said = [] if self._matched is None else self._matched.conditions
        self._where = and_(seen(now), *said, *self._filters(), *payable)

    def page(self) -> Page:
        """Return the page that the question's cursor leads to."""
        query = self._query
        matched = self._matched
        if matched is None:
            return NO_PAGE
        plain = not matched and query.near is None
        listings = self._connection.scalar(select(META.c.listings)) or 0
        # Which ones are counted of too many is always the same; that asks for an order.
        in_order = plain and listings > _MOST_LOOKED_AT
        total, facets = self._counted(self._foremost if in_order else self._found)
        if not total:
            return NO_PAGE
        if total >= _MOST_LOOKED_AT and not in_order:
            total, facets = self._counted(self._foremost)
        whole = total < _MOST_LOOKED_AT or not self._by_relevance or plain
        rows = self._candidates(matched, RANKING.ranked, whole=whole)
        positions, more = self._chosen(rows)
        if len(positions) < query.limit and len(rows) < min(total, WINDOW):
            rows = self._candidates(matched, WINDOW, whole=whole)
            positions, more = self._chosen(rows)
        more = more or len(rows) < min(total, WINDOW)
        return Page(
            hits=self._hits(matched, [rows[position].id for position in positions]),
            total=total,
            total_is_exact=total <= WINDOW,
            facets=facets,
            cursor=query.cursor_to(query.page + 1) if more else None,
            took_ms=0.0,
            facets_are_exact=total < _MOST_LOOKED_AT,
        )

    def finds(self) -> bool:
        """Tell whether there is anything."""
        if self._matched is None:
            return False
        return bool(self._rows(self._found(LISTING.c.id).limit(1)))

    def cells(self, resolution: int) -> dict[str, int]:
        """Return how many of all that is found lie in each H3 cell, the 10,000 fullest at most."""
        if self._matched is None:
            return {}
        cell = LISTING.c.cells[RESOLUTIONS.index(resolution) + 1]  # arrays begin at 1
        each = self._found(cell.label("cell")).where(LISTING.c.lat.is_not(None)).subquery()
        count = func.count().label("listings")
        fullest = select(each.c.cell, count).group_by(each.c.cell)
        fullest = fullest.order_by(count.desc(), each.c.cell).limit(_MOST_CELLS)
        return {row.cell: row.listings for row in self._rows(fullest)}

    def _rows(self, statement: Executable) -> list[Any]:
        """Return what a statement gives; UnavailableError where all together take too long."""
        left = self._until - time.monotonic()
        if left <= 0:
            msg = "the index does not answer now"
            raise UnavailableError(msg)
        limit_ms = max(int(left * 1000), 1)
        self._connection.exec_driver_sql(f"SET LOCAL statement_timeout = {limit_ms}")
        return list(self._connection.execute(statement))

    def _found(self, *columns: ColumnElement[Any]) -> Select[Any]:
        return select(*columns).select_from(self._from).where(self._where)

    @property
    def _by_relevance(self) -> bool:
        return self._query.sort is Sort.RELEVANCE

    def _filters(self) -> list[Condition]:
        query, columns = self._query, LISTING.c
        filters = [
            columns[name] == any_(_texts(values))
            for name in ("language", "group", "author")
            if (values := getattr(query, name))
        ]
        if query.category:
            filters.append(_overlap("category", map(term_of, query.category)))
        if query.type is not None:
            filters.append(columns.type == str(query.type))
        if query.remote is not None:
            filters.append(columns.remote == query.remote)
        if terms := query.pay_terms:
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

    def _candidates(self, matched: Matched, limit: int, *, whole: bool) -> list[Row[Any]]:
        """Return the first in the order asked for, ranked among all or among the foremost."""
        columns: Columns = LISTING.c
        statement = self._found(LISTING.c.id, LISTING.c.author_key)
        if not whole:
            needed = [LISTING.c[name] for name in ("id", "author_key", "key", *_RANKED_BY)]
            columns = self._foremost(*needed).subquery().c
            statement = select(columns["id"], columns["author_key"])
        ordered = statement.order_by(self._order(matched, columns), columns["key"])
        return self._rows(ordered.limit(limit))

    def _foremost(self, *columns: ColumnElement[Any]) -> Select[Any]:
        """Return the nearest of what is found, or those of the highest weight."""
        near = self._query.near is not None
        order = self._from_there(LISTING.c) if near else LISTING.c.weight.desc()
        key = LISTING.c.key if near else LISTING.c.key.desc()  # so that one index has both
        return self._found(*columns).order_by(order, key).limit(_MOST_LOOKED_AT)

    def _from_there(self, columns: Columns) -> ColumnElement[Any]:
        return columns["position"].op("<->")(self._point())

    def _order(self, matched: Matched, columns: Columns) -> ColumnElement[Any]:
        query = self._query
        if query.sort is Sort.NEWEST:
            return columns["published"].desc()
        if query.sort is Sort.DISTANCE:
            return self._from_there(columns)
        if not matched and query.near is None:
            return columns["weight"].desc()
        return self._relevance(matched, columns).desc()

    def _relevance(self, matched: Matched, columns: Columns) -> Number:
        """Return score x weight x distance decay, by RANKING's numbers."""
        relevance = matched.score(columns) * columns["weight"]
        if self._query.near is None:
            return relevance
        distance_m = func.ST_Distance(columns["position"], self._point(), False)  # noqa: FBT003 (as above)
        return relevance / (1 + distance_m / (RANKING.distance_half_km * 1000))

    def _chosen(self, rows: list[Row[Any]]) -> tuple[list[int], bool]:
        """Return the positions on the page, and whether there are more behind it."""
        query = self._query
        capped = query.sort is Sort.RELEVANCE and not query.author
        most = RANKING.most_of_an_author if capped else query.limit
        authors = [row.author_key for row in rows]
        return page_of(np.arange(len(rows)), authors, query.page, query.limit, most)

    def _counted(
        self, found_of: Callable[..., Select[Any]]
    ) -> tuple[int, dict[str, dict[str, int]]]:
        """Return how many there are, and how many of each value of a facet.

        Of more than _MOST_LOOKED_AT only so many are counted: the first that `found_of` gives.
        """
        columns = [LISTING.c[name] for name in FACETS]
        found = found_of(*columns).limit(_MOST_LOOKED_AT).cte("found")
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
        for facet, held, number in self._rows(union_all(*parts)):
            if facet == "total":
                total = number
            else:
                facets[facet][held] = number
        return total, facets

    def _hits(self, matched: Matched, ids: list[str]) -> list[Hit]:
        columns: list[ColumnElement[Any]] = [HIT.c.id, HIT.c.hit]
        if self._query.explain:
            columns.append(matched.score(LISTING.c).label("score"))
        both = HIT.join(LISTING, LISTING.c.id == HIT.c.id)
        shown = select(*columns).select_from(both).where(HIT.c.id == any_(_texts(ids)))
        by_id = {row.id: row for row in self._rows(shown)}
        return [self._hit(by_id[each], matched.asked) for each in ids]

    def _hit(self, row: Row[Any], asked: Asked) -> Hit:
        members = orjson.loads(bytes(row.hit))
        text = members.pop("text")
        near, distance = self._query.near, None
        if near is not None:
            distance = distance_km(*near, members["lat"], members["lon"])
        hit = Hit(
            **members
            | {
                "type": ListingType(members["type"]),
                "published": datetime.fromisoformat(members["published"]),
                "confirmed": datetime.fromisoformat(members["confirmed"]),
            },
            excerpt=excerpt(text, members["language"], asked),
            distance_km=None if distance is None else rounded_km(distance),
        )
        if not self._query.explain:
            return hit
        return replace(hit, why=score_of(hit, row.score, distance, self._now))


def _payable(payees: tuple[Payee, ...] | None) -> tuple[FromClause, list[Condition]]:
    """Return what is read from, and its conditions, where only what somebody can pay is asked.

    The groups are joined as a table of their own, each with what is left for it.
    """
    if payees is None:
        return LISTING, []
    groups = _texts(payee.group for payee in payees)
    left = [None if payee.available is None else float(payee.available) for payee in payees]
    purse = func.unnest(groups, bindparam(None, left, ARRAY(Double))).table_valued("id", "left")
    purse = purse.render_derived(name="purse")
    enough = or_(purse.c.left.is_(None), LISTING.c.price.is_(None), LISTING.c.price <= purse.c.left)
    return LISTING.join(purse, and_(LISTING.c.group == purse.c.id, enough)), [LISTING.c.settles]


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
