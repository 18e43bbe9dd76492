"""What authors say about being indexed: asked once, again weekly, and when they say so."""

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, now, reading, transaction
from commons.errors import FetchError, InvalidError, LocalPayError
from commons.fetch import Door
from commons.jobs import Scheduled
from crawler.changes import withdraw_each
from crawler.kept import forget_author
from crawler.origins import Actor, fetch_actor, is_gone
from crawler.terms import PUBLIC
from crawler.vocabulary import Found
from marketplace.consent import ConsentBasis, Signals, decide
from marketplace.listings import Listing, WithdrawnReason

ASK_AGAIN: Final = timedelta(days=7)


class Author(Scheduled, Base):
    """An author's signals; `indexable` and `searchable_by` are None where nothing is said.

    `gone` is an author whose origin says that there is none any more.
    """

    __tablename__ = "authors"

    id: Mapped[int] = mapped_column(primary_key=True)
    uri: Mapped[str] = mapped_column(String(2048))
    name: Mapped[str] = mapped_column(String(200))
    indexable: Mapped[bool | None]
    searchable_by: Mapped[list[Any] | None]
    noindex: Mapped[bool]
    suspended: Mapped[bool]
    blocked: Mapped[bool]
    gone: Mapped[bool]
    asked_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("uri"),)


async def ensure_each(
    engine: Engine, door: Door, uris: Sequence[str], asked: set[str]
) -> dict[str, LocalPayError]:
    """Ask authors for their signals unless they are known; return why some could not be asked.

    Those in `asked` are known; to them are added those that turn out to be.
    """
    wanted = [uri for uri in uris if uri not in asked]
    if not wanted:
        return {}
    with reading(engine) as session:
        known = known_of(session, wanted)
    asked |= known
    if len(known) == len(wanted):
        return {}
    heard: list[Actor] = []
    failures: dict[str, LocalPayError] = {}
    # One after the other, as most are of one host.
    for uri in wanted:
        if uri not in known:
            try:
                heard.append(await fetch_actor(door, uri))
            except LocalPayError as error:
                failures[uri] = error
    gone = [uri for uri, one in failures.items() if isinstance(one, FetchError) and is_gone(one)]
    with transaction(engine) as session:
        hear_each(session, heard, gone)
    asked |= {actor.id for actor in heard}
    return failures


def known_of(session: Session, uris: Collection[str]) -> set[str]:
    """Return those authors that need not be asked."""
    return set(session.scalars(select(Author.uri).where(Author.uri.in_(uris), ~Author.gone)))


async def ask_again(engine: Engine, door: Door, author_id: int) -> datetime | None:
    """Ask a known author anew, weekly; one without listings is asked when there is one again."""
    with transaction(engine) as session:
        author = session.get_one(Author, author_id, with_for_update=True)
        uri = author.uri
        if not _listings(session, [uri]):
            session.delete(author)
            return None
    try:
        await _ask(engine, door.errand(uri), uri)
    except FetchError as error:
        if not is_gone(error):
            raise
    with reading(engine) as session:
        return ask_at(now(session))


def ask_at(moment: datetime) -> datetime:
    """Return when to ask anew: in a week or up to a day less, so that a hub is not asked at once.

    A hub's authors are all met in one crawl, and its outbox is looked at a week later too.
    """
    return moment + ASK_AGAIN - random.random() * timedelta(days=1)  # noqa: S311 (no secret)


async def _ask(engine: Engine, door: Door, uri: str) -> None:
    try:
        actor = await fetch_actor(door, uri)
    except FetchError as error:
        if is_gone(error):
            with transaction(engine) as session:
                left(session, uri)
        raise
    with transaction(engine) as session:
        hear(session, actor)


def hear(session: Session, actor: Actor) -> bool:
    """Record what an author says now; return whether it said no before and no longer does."""
    return actor.id in hear_each(session, [actor])


def hear_each(session: Session, actors: Sequence[Actor], gone: Collection[str] = ()) -> set[str]:
    """Record what authors say now; return those that said no before and no longer do.

    Their listings that they no longer allow are withdrawn, and those of authors that are `gone`
    for good.
    """
    # All are locked before the first listing is withdrawn, which locks the counter.
    rows = _rows(session, [*(actor.id for actor in actors), *gone])
    refused = {uri for uri, row in rows.items() if not _allows(row)}
    for actor in actors:
        row = rows[actor.id]
        row.name = actor.name[:200]
        row.indexable = actor.indexable
        row.searchable_by = None if actor.searchable_by is None else list(actor.searchable_by)
        row.noindex, row.suspended, row.gone = actor.noindex, actor.suspended, False
    for uri in gone:
        rows[uri].gone = True
    session.flush()
    _withdraw_where_refused(session, {uri: row for uri, row in rows.items() if not row.gone})
    if gone:
        withdraw_each(session, _listings(session, gone), WithdrawnReason.DELETED)
    for uri in gone:
        forget_author(session, uri)
    return {uri for uri in refused if _allows(rows[uri])}


def left(session: Session, uri: str) -> None:
    """Record that an author is gone, and withdraw its listings for good."""
    hear_each(session, [], [uri])


def lock(session: Session, uris: Iterable[str]) -> dict[str, Author]:
    """Lock authors to the commit, so that a no that arrives at the same time misses no listing.

    Returns those that are known, by their URIs.
    """
    query = select(Author).where(Author.uri.in_(set(uris))).order_by(Author.uri)
    return {author.uri: author for author in session.scalars(query.with_for_update(read=True))}


def signals(author: Author | None, found: Found, *, hub_consented: bool) -> Signals:
    """Return all that is said about indexing a document of a locked author.

    A source without actors has no author to ask. Raises InvalidError where one that there must be
    is unknown or gone.
    """
    if author is None and not found.asks_author:
        return Signals(
            object_searchable_by=found.searchable_by,
            to=found.to,
            noindex=found.noindex,
            hub_consented=hub_consented,
        )
    if author is None or author.gone:
        raise InvalidError("attributedTo", "must be an actor that answers")
    return _signals(
        author,
        object_searchable_by=found.searchable_by,
        to=found.to,
        noindex=found.noindex,
        hub_consented=hub_consented,
    )


def block(session: Session, uri: str, *, blocked: bool) -> None:
    """Record that an author blocks us, or no longer does."""
    rows = _rows(session, [uri])
    rows[uri].blocked = blocked
    session.flush()
    _withdraw_where_refused(session, rows)


def _withdraw_where_refused(session: Session, rows: Mapping[str, Author]) -> None:
    """Withdraw those of authors' listings that their word no longer allows.

    What a listing says of itself goes before what its author says, so each is decided by itself.
    """
    held = session.execute(
        select(Listing.author_uri, Listing.uri, Listing.consent_basis).where(
            Listing.author_uri.in_(rows), Listing.withdrawn_at.is_(None)
        )
    ).all()
    refused = [
        (author_uri, uri)
        for author_uri, uri, basis in held
        if not decide(_standing(rows[author_uri], basis)).allowed
    ]
    if refused:
        withdraw_each(session, [uri for _, uri in refused], WithdrawnReason.CONSENT)
    left_over = Counter(row.author_uri for row in held)
    left_over.subtract(author_uri for author_uri, _ in refused)
    for uri, row in rows.items():
        if left_over[uri] == 0 and not _allows(row):
            forget_author(session, uri)


def _allows(row: Author) -> bool:
    """Tell whether an author lets what its hub agreed to be indexed."""
    return not row.gone and decide(_standing(row, ConsentBasis.HUB)).allowed


def _standing(row: Author, basis: ConsentBasis | None) -> Signals:
    """Return what is said now of a listing that was taken on `basis`."""
    own_word = basis is ConsentBasis.OBJECT_SEARCHABLE
    return _signals(
        row,
        object_searchable_by=(PUBLIC,) if own_word else None,
        to=(PUBLIC,),
        noindex=False,
        hub_consented=basis is ConsentBasis.HUB,
    )


def _signals(
    row: Author,
    *,
    object_searchable_by: tuple[str, ...] | None,
    to: tuple[str, ...] | None,
    noindex: bool,
    hub_consented: bool,
) -> Signals:
    return Signals(
        object_searchable_by=object_searchable_by,
        actor_searchable_by=None if row.searchable_by is None else tuple(row.searchable_by),
        actor_indexable=row.indexable,
        to=to,
        noindex=noindex or row.noindex,
        suspended=row.suspended,
        blocked=row.blocked,
        hub_consented=hub_consented,
    )


def _rows(session: Session, uris: Sequence[str]) -> dict[str, Author]:
    """Lock the rows of authors and make those that are missing, both in one order."""
    query = select(Author).where(Author.uri.in_(uris)).order_by(Author.uri)
    rows = {row.uri: row for row in session.scalars(query.with_for_update())}
    moment = now(session)
    for uri in sorted(uris):
        if uri not in rows:
            rows[uri] = Author(uri=uri, name="", attempts=0, due_at=ask_at(moment))
            rows[uri].noindex = rows[uri].suspended = rows[uri].blocked = rows[uri].gone = False
            session.add(rows[uri])
        rows[uri].asked_at = moment
    return rows


def _listings(session: Session, author_uris: Collection[str]) -> list[str]:
    return list(
        session.scalars(
            select(Listing.uri).where(
                Listing.author_uri.in_(author_uris), Listing.withdrawn_at.is_(None)
            )
        )
    )
