"""What authors say about being indexed: asked once, again weekly, and when they say so."""

import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, now, reading, transaction
from commons.errors import FetchError, InvalidError
from commons.fetch import Door
from commons.jobs import Scheduled
from crawler.changes import withdraw_each
from crawler.kept import forget_author, forget_objects
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


async def ensure(engine: Engine, door: Door, uri: str) -> None:
    """Ask an author for its signals unless they are known; FetchError where it does not answer."""
    with reading(engine) as session:
        known = session.scalar(select(Author.gone).where(Author.uri == uri))
    if known is None or known:
        await _ask(engine, door, uri)


async def ask_again(engine: Engine, door: Door, author_id: int) -> datetime | None:
    """Ask a known author anew, weekly; one without listings is asked when there is one again."""
    with transaction(engine) as session:
        author = session.get_one(Author, author_id, with_for_update=True)
        uri = author.uri
        if not _listings(session, uri):
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
    """Record what an author says now; return whether it said no before and no longer does.

    Its listings that it no longer allows are withdrawn.
    """
    row = _row(session, actor.id)
    refused = not _allows(row)
    row.name = actor.name[:200]
    row.indexable = actor.indexable
    row.searchable_by = None if actor.searchable_by is None else list(actor.searchable_by)
    row.noindex, row.suspended, row.gone = actor.noindex, actor.suspended, False
    session.flush()
    _withdraw_where_refused(session, row)
    return refused and _allows(row)


def left(session: Session, uri: str) -> None:
    """Record that an author is gone, and withdraw its listings for good."""
    row = _row(session, uri)
    row.gone = True
    session.flush()
    withdraw_each(session, _listings(session, uri), WithdrawnReason.DELETED)
    forget_author(session, uri)


def lock(session: Session, uris: Iterable[str]) -> dict[str, Author]:
    """Lock authors to the commit, so that a no that arrives at the same time misses no listing.

    Returns those that are known, by their URIs.
    """
    query = select(Author).where(Author.uri.in_(set(uris))).order_by(Author.uri)
    return {author.uri: author for author in session.scalars(query.with_for_update(read=True))}


def signals(author: Author | None, found: Found, *, hub_consented: bool) -> Signals:
    """Return all that is said about indexing a document of a locked author.

    Raises InvalidError where the author is unknown or gone.
    """
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
    row = _row(session, uri)
    row.blocked = blocked
    session.flush()
    _withdraw_where_refused(session, row)


def _withdraw_where_refused(session: Session, row: Author) -> None:
    """Withdraw those of an author's listings that its word no longer allows.

    What a listing says of itself goes before what its author says, so each is decided by itself.
    """
    held = session.execute(
        select(Listing.uri, Listing.consent_basis).where(
            Listing.author_uri == row.uri, Listing.withdrawn_at.is_(None)
        )
    ).all()
    refused = [uri for uri, basis in held if not decide(_standing(row, basis)).allowed]
    withdraw_each(session, refused, WithdrawnReason.CONSENT)
    forget_objects(session, refused)
    if len(refused) == len(held) and not _allows(row):
        forget_author(session, row.uri)


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
    to: tuple[str, ...],
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


def _row(session: Session, uri: str) -> Author:
    row = session.scalar(select(Author).where(Author.uri == uri).with_for_update())
    moment = now(session)
    if row is None:
        row = Author(uri=uri, name="", attempts=0, due_at=ask_at(moment))
        row.noindex = row.suspended = row.blocked = row.gone = False
        session.add(row)
    row.asked_at = moment
    return row


def _listings(session: Session, uri: str) -> list[str]:
    return list(
        session.scalars(
            select(Listing.uri).where(Listing.author_uri == uri, Listing.withdrawn_at.is_(None))
        )
    )
