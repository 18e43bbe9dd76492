"""Whether a document is proven: its author's key is found and the proof holds (FEP-8b32)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from commons import proofs
from commons.database import reading
from commons.errors import InvalidError, UnauthenticatedError, UnavailableError
from commons.fetch import Door
from commons.groups import HubKey
from commons.key_formats import encode_multikey, load_public_pem
from commons.proofs import Proof
from crawler import actor_keys
from crawler.proofs import Proven
from crawler.terms import Document, id_of, ids, moment, objects, same_origin, types
from marketplace.drafts import listing_id
from marketplace.listings import Listing

STANDS_IN: Final = timedelta(days=7)
"""How long after it was made a proof stands in for asking the origin, which may say no later."""

_NESTED_MOST: Final = 3
_REMOVALS: Final = frozenset({"Delete", "Tombstone", "Undo"})


async def proven(engine: Engine, door: Door, document: Document) -> Proven | None:
    """Return a document with its proof, if that holds; None where not or where there is none.

    The key must be a Multikey that the author names in `assertionMethod` and that names the author
    as its controller; author, key and document are of one origin. Nothing is raised for a key that
    cannot be had: the document is then one without a proof.
    """
    proof = proofs.read(document)
    author = _author(document)
    is_whole = proof is not None and same_origin(author, id_of(document))
    if proof is None or not is_whole or "#" in id_of(document):
        return None
    if not same_origin(proof.verification_method, author):
        return None
    key = _held_key(engine, proof.verification_method, author)
    if key is None or not _holds(proof, key):
        try:
            await actor_keys.ask(engine, door, proof.verification_method)
        except UnavailableError:
            return None
        key = _held_key(engine, proof.verification_method, author)
    if key is None or not _holds(proof, key):
        return None
    return Proven(document, author, proof, encode_multikey(key))


def _author(document: Document) -> str:
    """Return whose a document is, empty where it says two different things or nothing."""
    named = {*ids(document, "actor"), *ids(document, "attributedTo")}
    return named.pop() if len(named) == 1 else ""


def _holds(proof: Proof, key: Ed25519PublicKey) -> bool:
    try:
        proofs.verify(proof, key, now=datetime.now(UTC))
    except UnauthenticatedError:
        return False
    return True


def _held_key(engine: Engine, method: str, author: str) -> Ed25519PublicKey | None:
    with reading(engine) as session:
        held = actor_keys.held(session, method)
        if held is None or not held.asserts or held.owner_uri != author:
            return None
        pem = held.public_key_pem or _hubs_pem(session, method)
    key = load_public_pem(pem) if pem else None
    return key if isinstance(key, Ed25519PublicKey) else None


def _hubs_pem(session: Session, key_id: str) -> str | None:
    """Return the key of a registered hub, which is held with the hub and revoked there."""
    mine = select(HubKey.public_key_pem).where(HubKey.key_id == key_id)
    return session.scalar(mine.where(HubKey.revoked_at.is_(None)))


def _chain(document: Document) -> list[Document]:
    """Return a document and those embedded in each other inside it, outermost first."""
    found = [document]
    while (inner := next(objects(found[-1], "object"), None)) and len(found) <= _NESTED_MOST:
        found.append(inner)
    return found


async def stands_in(engine: Engine, door: Door, item: object, speaker: str) -> Document | None:
    """Return what need not be asked for at its origin, since its author proved it lately.

    That is the outermost document in an item that is of another origin than its speaker's and
    proven. Not where it has no date or is withdrawn here: then an old version could be sent again.
    """
    if not isinstance(item, dict):
        return None
    for document in _chain(item):
        if "proof" not in document or same_origin(id_of(document), speaker):
            continue
        found = await proven(engine, door, document)
        if found is None or found.proof.created < datetime.now(UTC) - STANDS_IN:
            continue
        innermost = _chain(document)[-1]
        if _is_dated(innermost) and not _is_withdrawn(engine, id_of(innermost)):
            return document
    return None


def _is_dated(document: Document) -> bool:
    if types(document) & _REMOVALS:
        return False
    try:
        return moment(document, "updated", "published") is not None
    except InvalidError:
        return False


def _is_withdrawn(engine: Engine, uri: str) -> bool:
    with reading(engine) as session:
        row = session.get(Listing, listing_id(uri))
        return row is not None and row.withdrawn_at is not None


async def proofs_in(engine: Engine, door: Door, document: Document) -> Sequence[Proven]:
    """Return the documents proven within one, innermost first."""
    found = [
        await proven(engine, door, one) for one in reversed(_chain(document)) if "proof" in one
    ]
    return [one for one in found if one is not None]
