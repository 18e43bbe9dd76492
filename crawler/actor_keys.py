"""Keys of actors other than registered hubs': fetched where they are published, held for a day.

Every attempt is recorded before it is made and is good for ten minutes, whatever came of it. Per
origin both the failures in that time and the keys held are bounded, so that whoever makes up key
ids can neither have us ask another's server again and again, nor fill the table.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import urldefrag, urljoin
from weakref import WeakValueDictionary

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Engine, Index, String, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, enum_column, now, transaction
from commons.errors import (
    AddressRefusedError,
    FetchError,
    InvalidError,
    MalformedError,
    UnavailableError,
)
from commons.fetch import Door
from commons.groups import KeyAlgorithm
from commons.key_formats import public_pem
from crawler.origins import ACTOR_TYPES, fetch_object, may_come, read_key
from crawler.terms import Document, first_id, id_of, ids, objects, same_origin, types

LIFETIME: Final = timedelta(days=1)
ASK_AGAIN: Final = timedelta(minutes=10)
FAILURES_MOST: Final = 20
"""Attempts of one origin that fail within `ASK_AGAIN`; then no key id of it is looked up."""
KEYS_MOST: Final = 10_000
"""Keys held of one origin."""

FETCHES_MOST: Final = 8
"""Requests for one key: for it, its owner, their redirects, and second knocks."""

_GONE: Final = 410
_NAMING: Final = ("assertionMethod", "publicKey")


_asking: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()


class KeyFailure(StrEnum):
    """Why a key could not be had or did not fit."""

    UNREACHABLE = "unreachable"
    GONE = "gone"
    WRONG = "wrong"


class HeldKey(Base):
    """A key by its id, with what came of asking for it; without `public_key_pem` there is none.

    `asserts` tells that its owner names it as a Multikey for integrity proofs.
    """

    __tablename__ = "actor_keys"

    key_id: Mapped[str] = mapped_column(String(2048), primary_key=True)
    origin: Mapped[str] = mapped_column(String(300))
    owner_uri: Mapped[str] = mapped_column(String(2048), default="")
    public_key_pem: Mapped[str | None] = mapped_column(String(4096))
    asserts: Mapped[bool] = mapped_column(default=False)
    asked_at: Mapped[datetime] = mapped_column(index=True)
    failure: Mapped[KeyFailure | None] = mapped_column(enum_column(KeyFailure))

    __table_args__ = (Index("ix_actor_keys_origin_asked_at", "origin", "asked_at"),)


@dataclass(frozen=True)
class PublishedKey:
    """A key that its owner's document names, and that names its owner."""

    key_id: str
    owner_uri: str
    algorithm: KeyAlgorithm
    pem: str
    asserts: bool
    actor: Document


async def fetch_key(door: Door, key_id: str) -> PublishedKey:
    """Fetch a key by its id: an actor's fragment, or a document of its own that names its owner.

    The owner's own document must name the key, and both be of one origin. Raises FetchError, and
    InvalidError or MalformedError where that is not so.
    """
    where = urldefrag(key_id).url
    document = await fetch_object(door, where)
    described = _described(document, key_id) or {}
    owner = first_id(described, "owner", "controller")
    if not same_origin(owner, key_id):
        raise InvalidError("owner", "must be of the origin of the key's id")
    actor = document if owner == where else await fetch_object(door, owner)
    if id_of(actor) != owner or not types(actor) & ACTOR_TYPES:
        raise InvalidError("owner", "must be an actor")
    if key_id not in {uri for term in _NAMING for uri in ids(actor, term)}:
        raise InvalidError("key", "must be named by its owner")
    described = _described(actor, key_id) or described
    if first_id(described, "owner", "controller") != owner:
        raise InvalidError("key", "must name its owner")
    key = read_key(described)
    is_ed25519 = isinstance(key, Ed25519PublicKey)
    return PublishedKey(
        key_id=key_id,
        owner_uri=owner,
        algorithm=KeyAlgorithm.ED25519 if is_ed25519 else KeyAlgorithm.RSA,
        pem=public_pem(key),
        asserts=is_ed25519
        and "Multikey" in types(described)
        and key_id in ids(actor, "assertionMethod"),
        actor=actor,
    )


def _described(document: Document, key_id: str) -> Document | None:
    """Return the key as a document tells it, which may be the key itself."""
    told = [document, *(key for term in _NAMING for key in objects(document, term))]
    return next((one for one in told if id_of(one) == key_id and len(one) > 1), None)


def held(session: Session, key_id: str) -> HeldKey | None:
    """Return what is known of a key, if it was asked for within the last day."""
    row = session.get(HeldKey, key_id)
    return row if row is not None and now(session) - row.asked_at < LIFETIME else None


async def ask(engine: Engine, door: Door, key_id: str) -> PublishedKey | KeyFailure | None:
    """Ask for a key anew, at most every ten minutes; None where it was asked for just now.

    What came of it is stored. Raises UnavailableError where too many keys of the origin could not
    be had lately.
    """
    place = id(asyncio.get_running_loop()), key_id
    # Of two pushes by a new actor the second waits for its key.
    async with _asking.setdefault(place, asyncio.Lock()):
        try:
            attempt = await asyncio.to_thread(_begin, engine, key_id)
        except IntegrityError:
            return KeyFailure.UNREACHABLE  # another process asks for it at this moment
        if attempt is not None:
            return attempt.failure
        found = await _published(door, key_id)
        await asyncio.to_thread(_note, engine, key_id, found)
    return found


@dataclass(frozen=True)
class _Attempt:
    """What came of asking within the last ten minutes."""

    failure: KeyFailure | None


def _begin(engine: Engine, key_id: str) -> _Attempt | None:
    """Record an attempt before it is made, so that one that never ends counts as well."""
    with transaction(engine) as session:
        row = session.get(HeldKey, key_id)
        moment = now(session)
        if row is not None and moment - row.asked_at < ASK_AGAIN:
            return _Attempt(row.failure)
        _make_room(session, origin_of(key_id), moment)
        row = session.get(HeldKey, key_id, populate_existing=True)
        if row is None:
            row = HeldKey(key_id=key_id, origin=origin_of(key_id))
            session.add(row)
        row.asked_at, row.failure = moment, KeyFailure.UNREACHABLE
    return None


def _note(engine: Engine, key_id: str, found: PublishedKey | KeyFailure) -> None:
    """Store what was found; a key whose server does not answer stays what it was."""
    with transaction(engine) as session:
        row = session.get(HeldKey, key_id)
        if row is None:
            return  # more were asked for meanwhile than are held
        if isinstance(found, PublishedKey):
            row.owner_uri, row.public_key_pem = found.owner_uri, found.pem
            row.asserts, row.failure = found.asserts, None
            return
        row.failure = found
        if found is not KeyFailure.UNREACHABLE:
            row.owner_uri, row.public_key_pem, row.asserts = "", None, False


async def _published(door: Door, key_id: str) -> PublishedKey | KeyFailure:
    try:
        return await fetch_key(door, key_id)
    except FetchError as error:
        if error.status == _GONE:
            return KeyFailure.GONE
        # Without a status it was not asked at all, be it for our own limits.
        is_answer = error.status is not None and not may_come(error)
        refused = isinstance(error, AddressRefusedError)
        return KeyFailure.WRONG if is_answer or refused else KeyFailure.UNREACHABLE
    except (InvalidError, MalformedError):
        return KeyFailure.WRONG


def note_wrong(session: Session, key_id: str) -> None:
    """Count a key that was asked for and does not fit what it is said to have signed."""
    row = session.get(HeldKey, key_id)
    if row is not None and row.failure is None:
        row.failure = KeyFailure.WRONG


def origin_of(uri: str) -> str:
    """Return scheme and authority of an address, with the slash after them."""
    return urljoin(uri, "/").lower()[:300]


def _make_room(session: Session, origin: str, moment: datetime) -> None:
    """Forget what is too old; refuse where too much failed; drop the oldest of too many."""
    session.execute(delete(HeldKey).where(HeldKey.asked_at <= moment - LIFETIME))
    mine = select(func.count()).where(HeldKey.origin == origin)
    lately = mine.where(HeldKey.failure.is_not(None), HeldKey.asked_at > moment - ASK_AGAIN)
    if (session.scalar(lately) or 0) >= FAILURES_MOST:
        seconds = int(ASK_AGAIN.total_seconds())
        raise UnavailableError("too many keys of this server could not be had lately", seconds)
    if (session.scalar(mine) or 0) >= KEYS_MOST:
        oldest = (
            select(HeldKey.key_id)
            .where(HeldKey.origin == origin)
            .order_by(HeldKey.asked_at)
            .limit(KEYS_MOST // 10)
        )
        session.execute(delete(HeldKey).where(HeldKey.key_id.in_(oldest)))
