"""Putting changes into the tables, and counting their words and categories."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    delete,
    func,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR, insert

from commons.errors import ConflictError
from marketplace.index import Change, Entry
from marketplace.postgresql.stems import stems_of
from marketplace.postgresql.tables import (
    CATEGORY,
    HIT,
    LISTING,
    META,
    WORD,
    insertions,
    row_of,
    to_stem,
    words_of,
)

_COUNTS: Final = ("listings", "titles", "categories", "bodies")


def put_in(connection: Connection, changes: Sequence[Change], since: int, revision: int) -> None:
    """Put changes in and remember `revision`; ConflictError where it is not `since` before."""
    held = connection.scalar(select(META.c.revision).with_for_update()) or 0
    if held != since:
        msg = f"the index is at revision {held}, not {since}"
        raise ConflictError(msg)
    last = {change.id: change.entry for change in changes}
    entries = [entry for entry in last.values() if entry is not None]
    stems = stems_of(connection, (pair for entry in entries for pair in to_stem(entry)))
    rows = [row_of(entry, stems) for entry in entries]
    removed = _remove(connection, list(last))
    if rows:
        for insertion in insertions():
            connection.execute(insertion, rows)
        _count_words(connection, [row["id"] for row in rows])
        _count_categories(connection, entries)
    listings = META.c.listings + len(rows) - removed
    connection.execute(update(META).values(revision=revision, listings=listings))


def _remove(connection: Connection, ids: list[str]) -> int:
    """Remove listings, and take them out of the counts of their words and categories."""
    gone = _words_in(ids).subquery()
    less = {name: WORD.c[name] - gone.c[name] for name in _COUNTS}
    connection.execute(update(WORD).where(WORD.c.word == gone.c.word).values(less))
    each = select(func.unnest(LISTING.c.category).label("term")).where(_one_of(LISTING, ids))
    terms = each.subquery()
    left = select(terms.c.term, func.count().label("listings")).group_by(terms.c.term).subquery()
    fewer = CATEGORY.c.listings - left.c.listings
    connection.execute(
        update(CATEGORY).where(CATEGORY.c.term == left.c.term).values(listings=fewer)
    )
    connection.execute(delete(HIT).where(_one_of(HIT, ids)))
    return connection.execute(delete(LISTING).where(_one_of(LISTING, ids))).rowcount


def _count_words(connection: Connection, ids: list[str]) -> None:
    put = insert(WORD).from_select(["word", *_COUNTS], _words_in(ids))
    more = {name: WORD.c[name] + put.excluded[name] for name in _COUNTS}
    connection.execute(put.on_conflict_do_update(index_elements=[WORD.c.word], set_=more))


def _count_categories(connection: Connection, entries: Iterable[Entry]) -> None:
    counts = Counter(term for entry in entries for term in entry.category_terms)
    if not counts:
        return
    words = cast(bindparam("words", type_=Text), TSVECTOR)
    put = insert(CATEGORY).values(
        term=bindparam("term"), listings=bindparam("listings"), words=words
    )
    more = {"listings": CATEGORY.c.listings + put.excluded.listings}
    connection.execute(
        put.on_conflict_do_update(index_elements=[CATEGORY.c.term], set_=more),
        [{"term": t, "listings": n, "words": words_of(t)} for t, n in sorted(counts.items())],
    )


def _words_in(ids: list[str]) -> Select[str, int, int, int, int]:
    """Return the query of each word of some listings: in how many it is, and where in them."""
    each = func.unnest(LISTING.c.words).table_valued("lexeme", "positions", "weights")
    found = each.render_derived()

    def with_weight(weight: str) -> ColumnElement[int]:
        return func.count().filter(literal(weight) == any_(found.c.weights))

    return (
        select(
            found.c.lexeme.label("word"),
            func.count().label("listings"),
            with_weight("A").label("titles"),
            with_weight("B").label("categories"),
            with_weight("C").label("bodies"),
        )
        .select_from(LISTING.join(found, true()))
        .where(_one_of(LISTING, ids))
        .group_by(found.c.lexeme)
    )


def _one_of(table: Table, ids: list[str]) -> ColumnElement[bool]:
    return table.c.id == any_(bindparam(None, ids, ARRAY(Text)))
