"""What an index of listings is: a projection of their table, ordered by revision."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commons.database import reading
from commons.groups import Currency, Group
from marketplace.categories import term_of
from marketplace.drafts import ListingType, plain_text
from marketplace.languages import language_of
from marketplace.listings import Listing, changes_since, last_revision
from marketplace.payment import KnownCurrency, Payment
from marketplace.payment_terms import PaymentTerms, terms_of
from marketplace.query import Page, Query, Suggestions

BATCH: Final = 10_000
FAR_BEHIND: Final = 10 * BATCH


@dataclass(frozen=True)
class Entry:
    """All that an index holds of a listing; `text` is the body without tags.

    `categories` are as the origin told them, `category_terms` what they are found and counted by.
    Where the origin told no `language`, it is the one that was detected.
    """

    id: str
    type: ListingType
    title: str
    text: str
    language: str | None
    categories: list[str]
    category_terms: list[str]
    image: str | None
    url: str
    author: str
    group: str | None
    place_name: str | None
    lat: float | None
    lon: float | None
    remote: bool
    payments: list[dict[str, Any]]
    terms: PaymentTerms
    published: datetime
    confirmed: datetime
    expires_at: datetime | None


@dataclass(frozen=True)
class Change:
    """What one revision did: the listing as it is now, or None where it is to be gone."""

    id: str
    revision: int
    entry: Entry | None


@dataclass(frozen=True)
class Build:
    """One build of an index as it lies there; None is what cannot be told.

    `place` is its folder, schema or name, `plan` by what it was built; `outdated` where that is
    not the plan of this version, `broken` what is wrong with it.
    """

    place: str
    in_use: bool
    plan: str | None = None
    outdated: bool = False
    revision: int | None = None
    listings: int | None = None
    size_bytes: int | None = None
    broken: str | None = None


class Projection(Protocol):
    """Whatever is built from the changes in their order and knows how far it has come."""

    def revision(self) -> int:
        """Return the last revision held; 0 for an empty one."""

    def apply(self, changes: Sequence[Change], *, since: int, revision: int) -> None:
        """Put changes in and remember `revision`, both or neither.

        Raises ConflictError, and does nothing, where the revision held is not `since`.
        """


class Index(Projection, Protocol):
    """An index of listings: a projection that answers questions."""

    def search(self, query: Query) -> Page:
        """Answer a question; expired listings are left out. UnavailableError: not now."""

    def suggest(self, text: str, most: int) -> Suggestions:
        """Return up to `most` words, categories and places that begin as the last of `text` does.

        Accents and case are folded. What no listing has that is seen now is not suggested.
        """

    def cells(self, query: Query, resolution: int) -> dict[str, int]:
        """Count what a question finds by H3 cell of a resolution from 2 to 7.

        Order, limit and cursor of the question say nothing; what has no place is not counted.
        """

    def count(self) -> int:
        """Return how many listings are held, expired ones included."""

    def outdated(self) -> bool:
        """Tell whether what is held was built to another plan, so that it must be rebuilt."""

    def builds(self) -> list[Build]:
        """Return what there is, the build in use first; others are half done or left behind."""

    def rebuild(self, engine: Engine, tick: Callable[[int], None] = lambda _revision: None) -> int:
        """Build anew beside what is held, then swap; searches go on. Returns the changes.

        `tick` is told each revision that is reached.
        """

    def close(self) -> None:
        """Give back what is held open."""


def catch_up(engine: Engine, index: Index, batch: int = BATCH) -> int:
    """Bring an index up to the listings; return how many changes it took.

    An index of another plan, one that is ahead of the listings (a restored database) and an empty
    one that is far behind them are rebuilt.
    """
    if index.outdated():
        return index.rebuild(engine)
    held = index.revision()
    with reading(engine) as session:
        last = last_revision(session)
    if held > last or (held == 0 and last > FAR_BEHIND):
        return index.rebuild(engine)
    return read_on(engine, index, batch)


def read_on(
    engine: Engine,
    projection: Projection,
    batch: int = BATCH,
    tick: Callable[[int], None] = lambda _revision: None,
) -> int:
    """Read changes on from where a projection stands until there are none; return how many.

    `tick` is told the revision reached after each batch.
    """
    count = 0
    while True:
        since = projection.revision()
        changes = read_changes(engine, since, batch)
        if not changes:
            return count
        projection.apply(changes, since=since, revision=changes[-1].revision)
        count += len(changes)
        tick(changes[-1].revision)


def read_until(engine: Engine, until: int, batch: int = BATCH) -> Iterator[list[Change]]:
    """Read the changes up to a revision in batches, each listing once.

    One that changes meanwhile has a later revision, and is left to whoever reads on.
    """
    since = 0
    while since < until:
        read = read_changes(engine, since, batch)
        changes = [change for change in read if change.revision <= until]
        if not changes:
            return
        yield changes
        since = changes[-1].revision


def read_changes(engine: Engine, since: int, limit: int = BATCH) -> list[Change]:
    """Read up to `limit` changes after revision `since`, in order.

    What they hold is worked out after the snapshot is given back, as it may take seconds.
    """
    with reading(engine) as session:
        rows = changes_since(session, since, limit)
        if not rows:
            return []
        known = _known_currencies(session)
        group_currencies = _group_currencies(session, known.values())
    return [
        Change(
            listing.id,
            listing.revision,
            _entry(listing, known, group_currencies) if shown else None,
        )
        for listing, shown in rows
    ]


def _entry(
    listing: Listing,
    known: dict[str, KnownCurrency],
    group_currencies: dict[str, KnownCurrency],
) -> Entry:
    payments = [Payment.from_json(members) for members in listing.payments]
    text = plain_text(listing.body)
    return Entry(
        id=listing.id,
        type=listing.type,
        title=listing.title,
        text=text,
        language=language_of(listing.language, listing.title, text),
        categories=listing.categories,
        category_terms=list(dict.fromkeys(map(term_of, listing.categories))),
        image=listing.image,
        url=listing.url or listing.uri,
        author=listing.author_uri,
        group=listing.group_id,
        place_name=listing.place_name,
        lat=listing.lat,
        lon=listing.lon,
        remote=listing.remote,
        payments=listing.payments,
        terms=terms_of(payments, known, group_currencies.get(listing.group_id or "")),
        published=listing.published,
        confirmed=listing.confirmed_at,
        expires_at=listing.expires_at,
    )


def _known_currencies(session: Session) -> dict[str, KnownCurrency]:
    return {
        currency.uri: KnownCurrency(currency.uri, currency.code, currency.kind)
        for currency in session.scalars(select(Currency))
    }


def _group_currencies(session: Session, known: Iterable[KnownCurrency]) -> dict[str, KnownCurrency]:
    by_uri = {currency.uri: currency for currency in known}
    pairs = session.execute(
        select(Group.id, Currency.uri).join(Currency, Currency.id == Group.currency_id)
    )
    return {group_id: by_uri[uri] for group_id, uri in pairs}
