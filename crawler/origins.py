"""Things fetched where they live, and taken only from whoever may speak for them (FEP-fe34)."""

import hashlib
import json
from dataclasses import dataclass
from typing import Final
from urllib.parse import urldefrag

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from commons.errors import FetchError, InvalidError, MalformedError
from commons.fetch import Door
from commons.groups import KeyAlgorithm
from commons.key_formats import PublicKey, decode_multikey, load_public_pem, public_pem
from commons.robots import index_rules
from crawler.terms import (
    Document,
    first_id,
    flag,
    id_of,
    ids,
    number,
    objects,
    same_origin,
    text,
    types,
    values,
)
from crawler.vocabulary import asks_noindex, payment_links, searchable_by

ACTOR_TYPES: Final = frozenset({"Application", "Group", "Organization", "Person", "Service"})
_KEYS_MOST: Final = 10
_COLLECTIONS: Final = (
    *("proposals", "listings", "offers", "needs", "wants", "wanted", "requests"),
    *("streams", "featured"),
)
_COLLECTIONS_MOST: Final = 10
_FIRST_ERROR: Final = 400


@dataclass(frozen=True)
class ActorKey:
    """A key that an actor names as its own and that names the actor as its owner."""

    key_id: str
    owner: str
    algorithm: KeyAlgorithm
    pem: str


@dataclass(frozen=True)
class Place:
    """Where an actor says it is, in degrees."""

    name: str | None
    lat: float | None
    lon: float | None


@dataclass(frozen=True)
class Actor:
    """An actor as its own document tells it; `searchable_by` is None where that is silent.

    `types` are its types by compact name; `digest` is the SHA-256, in hex, of its document written
    as JSON with sorted members and without spaces: what shows later which document it was.
    `collections` are those besides the outbox in which software publishes listings, and
    `payment_links` the proposals that it names as ways to pay it; both of its own origin.
    """

    id: str
    types: frozenset[str]
    name: str
    summary: str
    preferred_username: str
    inbox: str
    outbox: str | None
    keys: tuple[ActorKey, ...]
    place: Place | None
    indexable: bool | None
    searchable_by: tuple[str, ...] | None
    noindex: bool
    suspended: bool
    digest: str
    collections: tuple[str, ...] = ()
    payment_links: tuple[str, ...] = ()
    moved_to: str | None = None
    also_known_as: tuple[str, ...] = ()


async def fetch_object(door: Door, uri: str) -> Document:
    """Fetch an object where it lives and return it only if that place may speak for it.

    The address that finally answered must share the origin of the id. What its X-Robots-Tag says
    to us stands in the object as its `xRobotsTag`. Raises FetchError, and InvalidError where
    another origin answered or another's id is claimed.
    """
    fetched = await door.get_json(urldefrag(uri).url)
    if not same_origin(fetched.url, uri) or not same_origin(fetched.url, id_of(fetched.body)):
        raise InvalidError("id", "must be of the origin that answers for it")
    rules = index_rules(fetched.headers)
    if not rules:
        return fetched.body
    return {**fetched.body, "xRobotsTag": [*values(fetched.body, "xRobotsTag"), *rules]}


async def fetch_actor(door: Door, uri: str) -> Actor:
    """Fetch and read an actor; InvalidError where the document is not that actor's."""
    actor = read_actor(await fetch_object(door, uri))
    if actor.id != uri:
        raise InvalidError("actor", "must be the id of the document that answers")
    return actor


def is_gone(error: FetchError) -> bool:
    """Tell whether an origin says that a thing is no longer there, rather than not answering."""
    return error.status in {404, 410}


def may_come(error: FetchError) -> bool:
    """Tell whether what an origin did not give may be had later: it did not answer, or refused."""
    is_answer = error.status is not None and error.status < _FIRST_ERROR
    return not (error.final or is_answer)


def read_actor(document: Document) -> Actor:
    """Read an actor's document; MalformedError where it is no actor."""
    uri = id_of(document)
    if not types(document) & ACTOR_TYPES or not uri:
        raise MalformedError("an actor needs an id and one of the types of actors")
    location = next(objects(document, "location"), None)
    return Actor(
        id=uri,
        types=frozenset(types(document) & ACTOR_TYPES),
        name=text(document, "name", "preferredUsername"),
        summary=text(document, "summary"),
        preferred_username=text(document, "preferredUsername"),
        inbox=first_id(document, "inbox"),
        outbox=first_id(document, "outbox") or None,
        keys=_keys(document, uri),
        place=_place(location) if location else None,
        indexable=flag(document, "indexable"),
        searchable_by=searchable_by(document),
        noindex=asks_noindex(document),
        suspended=flag(document, "suspended") is True,
        digest=_digest(document),
        collections=_collections(document, uri),
        payment_links=tuple(to for to in payment_links(document) if same_origin(to, uri)),
        moved_to=first_id(document, "movedTo") or None,
        also_known_as=ids(document, "alsoKnownAs"),
    )


def _collections(document: Document, uri: str) -> tuple[str, ...]:
    outbox = first_id(document, "outbox")
    named = (named for term in _COLLECTIONS for named in ids(document, term))
    own = (named for named in named if named != outbox and same_origin(named, uri))
    return tuple(dict.fromkeys(own))[:_COLLECTIONS_MOST]


def _digest(document: Document) -> str:
    written = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(written.encode()).hexdigest()


def _keys(document: Document, owner: str) -> tuple[ActorKey, ...]:
    """Return the keys whose owner is this actor and whose id lies in its own; others are not its.

    On a server that houses several groups, one of them could else take the name of another's key
    and keep it out. One key that cannot be read, such as one of a kind not taken here, leaves the
    others.
    """
    found = []
    named = [*objects(document, "publicKey"), *objects(document, "assertionMethod")]
    for described in named[:_KEYS_MOST]:
        key_id = id_of(described)
        if first_id(described, "owner", "controller") != owner or not _lies_in(key_id, owner):
            continue
        try:
            key = read_key(described)
        except MalformedError:
            continue
        is_ed25519 = isinstance(key, Ed25519PublicKey)
        algorithm = KeyAlgorithm.ED25519 if is_ed25519 else KeyAlgorithm.RSA
        found.append(ActorKey(key_id, owner, algorithm, public_pem(key)))
    return tuple({key.key_id: key for key in found}.values())


def _lies_in(key_id: str, owner: str) -> bool:
    return same_origin(key_id, owner) and key_id.startswith((f"{owner}#", f"{owner}/", f"{owner}?"))


def read_key(described: Document) -> PublicKey:
    """Read a key as an actor describes it; MalformedError where it is of a kind not taken here."""
    multibase = text(described, "publicKeyMultibase")
    if multibase:
        return decode_multikey(multibase)
    return load_public_pem(text(described, "publicKeyPem"))


def _place(location: Document) -> Place:
    return Place(
        name=text(location, "name") or None,
        lat=number(location, "latitude", "lat"),
        lon=number(location, "longitude", "lon"),
    )
