"""Integrity proofs kept with the listings that they are of, so that anybody can check them again.

What was proven is kept only where it names no position, since exact positions are never kept. The
proof can be checked without it: it signs two hashes, and that of the document is kept.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import JSON, ForeignKey, String, delete
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons import proofs
from commons.database import Base, now
from commons.errors import MalformedError
from commons.key_formats import decode_base58, decode_multikey
from commons.proofs import Proof
from crawler.terms import Document, id_of, local_name, types
from marketplace.drafts import listing_id

DOCUMENT_MAX_BYTES: Final = 64 * 1024
OPTIONS_MAX_BYTES: Final = 4 * 1024
"""Of a proof that says more, or where somebody is, nothing is kept."""

POSITION_PARTS: Final = (
    "address",
    "altitude",
    "coordinate",
    "geo",
    "gps",
    "latitude",
    "locality",
    "location",
    "longitude",
    "place",
    "position",
    "postal",
    "spatial",
    "street",
)
"""A term that holds one of these, in capitals or not, may tell where somebody is."""

POSITION_TERMS: Final = frozenset({"area", "bbox", "lat", "lng", "lon", "long", "point", "wkt"})
"""Terms that do so by themselves."""

_AT_ONCE: Final = 500


class ListingProof(Base):
    """The proof of a listing's version that is held.

    `proof` is as it was sent, its hash and that of the document are SHA-256 of canonical JSON.
    `document_uri` is what was proven: the listing itself, or an activity or object that holds it.
    """

    __tablename__ = "listing_proofs"

    listing_id: Mapped[str] = mapped_column(ForeignKey("listings.id"), primary_key=True)
    document_uri: Mapped[str] = mapped_column(String(2048))
    proof: Mapped[dict[str, Any]]
    verification_method: Mapped[str] = mapped_column(String(2048))
    public_key_multibase: Mapped[str] = mapped_column(String(100))
    document_sha256: Mapped[str] = mapped_column(String(64))
    document: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    checked_at: Mapped[datetime]


@dataclass(frozen=True)
class Proven:
    """A document whose proof by its author holds, with the key that it holds by."""

    document: Document
    author_uri: str
    proof: Proof
    public_key_multibase: str

    def holds_listing(self, uri: str, author_uri: str) -> bool:
        """Tell whether a listing stands in the document and is of the author that proved it."""
        return author_uri == self.author_uri and _names(self.document, uri)


def _names(value: object, uri: str) -> bool:
    if isinstance(value, dict):
        return id_of(value) == uri or any(_names(member, uri) for member in value.values())
    return isinstance(value, list) and any(_names(member, uri) for member in value)


def names_position(value: object) -> bool:
    """Tell whether a document may say where somebody is: by terms, types, `geo:` addresses."""
    if isinstance(value, dict):
        told = [*value, *types(value)]
        if "PropertyValue" in types(value):
            told.append(str(value.get("name")))
        return any(map(_tells_position, told)) or any(map(names_position, value.values()))
    if isinstance(value, list):
        return any(map(names_position, value))
    return isinstance(value, str) and value.lower().startswith("geo:")


def _tells_position(term: str) -> bool:
    name = local_name(term).lower()
    return name in POSITION_TERMS or any(part in name for part in POSITION_PARTS)


def keep_each(session: Session, proven: Mapping[str, Proven | None]) -> None:
    """Keep the proofs of the versions now held of listings, by URI; where there is none, none."""
    forget(session, proven)
    moment = now(session)
    for uri, one in proven.items():
        if one is None or not _may_be_kept(one.proof.options, OPTIONS_MAX_BYTES):
            continue
        unsecured = one.proof.unsecured
        is_kept = _may_be_kept(unsecured, DOCUMENT_MAX_BYTES)
        row = ListingProof(
            listing_id=listing_id(uri),
            document_uri=id_of(one.document),
            proof={**one.proof.options, "proofValue": one.proof.value},
            verification_method=one.proof.verification_method,
            public_key_multibase=one.public_key_multibase,
            document_sha256=one.proof.document_hash.hex(),
            document=unsecured if is_kept else None,
            checked_at=moment,
        )
        session.add(row)
    session.flush()


def _may_be_kept(document: Document, most_bytes: int) -> bool:
    return not names_position(document) and len(proofs.canonical(document)) <= most_bytes


def forget(session: Session, uris: Iterable[str]) -> None:
    """Drop the proofs of listings that are withdrawn, or whose version is no longer held."""
    ids = sorted({listing_id(uri) for uri in uris})
    for start in range(0, len(ids), _AT_ONCE):
        some: Collection[str] = ids[start : start + _AT_ONCE]
        session.execute(delete(ListingProof).where(ListingProof.listing_id.in_(some)))


def is_verified(kept: ListingProof) -> bool:
    """Check a kept proof anew, and the document against its hash where it is kept."""
    options = {name: value for name, value in kept.proof.items() if name != "proofValue"}
    document_hash = bytes.fromhex(kept.document_sha256)
    try:
        key = decode_multikey(kept.public_key_multibase)
        signature = decode_base58(str(kept.proof.get("proofValue")))
        options_hash = proofs.hash_of(options)
        is_same = kept.document is None or proofs.hash_of(kept.document) == document_hash
    except MalformedError:
        return False
    return (
        is_same
        and isinstance(key, Ed25519PublicKey)
        and proofs.holds(options_hash, document_hash, signature, key)
    )
