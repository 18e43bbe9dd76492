"""An interest on its way: to the author's inbox, and the author's answer to the member's."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commons.database import now, reading, transaction
from commons.errors import FetchError, InvalidError, MalformedError, NotFoundError
from commons.fetch import Door
from commons.jobs import PostponedError
from commons.settings import Settings
from crawler import delivery
from crawler.delivery import Delivery
from crawler.interest.asking import listing_to_answer
from crawler.interest.rows import GONE, KEPT, Interest, InterestState, erase, fail, move
from crawler.interest.wording import to_author, to_member
from crawler.origins import fetch_actor
from crawler.peers import Peer
from crawler.terms import same_origin
from marketplace.listings import Listing

FETCHES_MOST: Final = 4


async def attend(
    engine: Engine, door: Door, settings: Settings, interest_id: int
) -> datetime | None:
    """Put on its way what is to be passed on, or forget an interest that ended long ago.

    Raises FetchError where whoever is to get it does not answer now, finally where it never will,
    and PostponedError while its host is left alone.
    """
    with reading(engine) as session:
        row = session.get(Interest, interest_id)
        if row is None:
            return None
        addressee = row.author_uri if row.said else row.member_uri if row.answer else None
        listing_id, group_id = row.listing_id, row.group_id
        is_old = now(session) - row.state_since >= delivery.LIFE
    try:
        reached = await _reached(door, addressee) if addressee else _Reached("", "")
    except FetchError as error:
        told = delivery.told_by_host(error)
        if is_old and isinstance(told, PostponedError):
            told = FetchError(str(told), final=True)
        raise told from error
    with transaction(engine) as session:
        _lock(session, listing_id, group_id)
        row = session.get(Interest, interest_id, with_for_update=True)
        if row is None:
            return None
        # Read again: it may have been answered, or withdrawn, while its addressee was asked.
        if row.said and addressee == row.author_uri:
            _to_author(session, settings, row, reached)
        elif row.answer and addressee == row.member_uri:
            _to_member(session, settings, row, reached)
        elif row.said or row.answer:
            return now(session)
        elif now(session) - row.state_since >= KEPT:
            erase(session, interest_id)
            return None
        session.refresh(row)
        return now(session) if row.answer else row.state_since + KEPT


def _lock(session: Session, listing_id: str, group_id: str) -> None:
    """Lock what a withdrawal locks, in the order of `crawler.changes`, before any interest.

    That is the listing, and before it the peers that a delivery may name.
    """
    its_group = select(Listing.group_id).where(Listing.id == listing_id).scalar_subquery()
    peers = select(Peer.id).where(Peer.group_id.in_([group_id, its_group])).order_by(Peer.id)
    session.execute(peers.with_for_update(read=True, key_share=True))
    listing = select(Listing.id).where(Listing.id == listing_id)
    session.execute(listing.with_for_update(read=True))


@dataclass(frozen=True)
class _Reached:
    """Where somebody's inbox is, and what they are called by: `@joan@hub.example`, or the URI."""

    inbox_uri: str
    name: str


async def _reached(door: Door, uri: str) -> _Reached:
    try:
        actor = await fetch_actor(door.errand(uri, fetches=FETCHES_MOST), uri)
    except (InvalidError, MalformedError) as error:
        raise FetchError(f"{uri} is no actor: {error.detail}", final=True) from error
    if not same_origin(actor.inbox, uri):
        raise FetchError(f"{uri} has no inbox of its own origin", final=True)
    username, host = actor.preferred_username.strip(), urlsplit(actor.id).netloc
    return _Reached(actor.inbox, f"@{username}@{host}" if username else actor.id)


def _to_author(session: Session, settings: Settings, row: Interest, reached: _Reached) -> None:
    try:
        listing = listing_to_answer(session, row.listing_id)
    except NotFoundError:
        fail(session, row.id, GONE)
        return
    activity = to_author(
        settings,
        row.uuid,
        member_uri=row.member_uri,
        author_uri=row.author_uri,
        author_name=reached.name,
        listing_uri=listing.uri,
        title=listing.title,
        said=row.said or {},
    )
    row.said = None
    session.flush()
    peer_id = _peer_id(session, listing.group_id)
    delivery.enqueue(session, peer_id, reached.inbox_uri, activity, interest_id=row.id)


def _to_member(session: Session, settings: Settings, row: Interest, reached: _Reached) -> None:
    activity = to_member(
        settings,
        row.uuid,
        member_uri=row.member_uri,
        member_name=reached.name,
        offer_uri=row.offer_uri,
        answer=row.answer or {},
    )
    row.answer = None
    session.flush()
    peer_id = _peer_id(session, row.group_id)
    delivery.enqueue(session, peer_id, reached.inbox_uri, activity, interest_id=row.id)


def _peer_id(session: Session, group_id: str | None) -> int | None:
    if group_id is None:
        return None
    return session.scalar(select(Peer.id).where(Peer.group_id == group_id))


def delivered(session: Session, delivery_id: int) -> None:
    """Note that the author's inbox took an interest, where that is what was delivered."""
    interest_id = _interest_of(session, delivery_id)
    if interest_id is not None:
        move(session, interest_id, InterestState.DELIVERED)


def undeliverable(session: Session, delivery_id: int, reason: str) -> None:
    """Empty a delivery that was given up; an interest that it held has failed."""
    delivery.give_up(session, delivery_id)
    interest_id = _interest_of(session, delivery_id)
    if interest_id is not None:
        fail(session, interest_id, reason)


def give_up(session: Session, interest_id: int, reason: str) -> None:
    """Note that it is not to be learnt where the author's inbox is, or else the member's."""
    fail(session, interest_id, reason)
    row = session.get(Interest, interest_id)
    if row is not None and row.due_at is None:
        row.answer, row.due_at = None, now(session) + KEPT


def _interest_of(session: Session, delivery_id: int) -> int | None:
    return session.scalar(select(Delivery.interest_id).where(Delivery.id == delivery_id))
