"""Integrity proofs by eddsa-jcs-2022 (W3C vc-di-eddsa, FEP-8b32); no input or output.

A proof is an Ed25519 signature over two SHA-256 hashes, of its own options and of the document
without it, each written in canonical JSON (RFC 8785). So it can be checked again from the hashes
alone, where the document is not kept.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from commons.errors import MalformedError, UnauthenticatedError
from commons.key_formats import decode_base58, encode_base58

TYPE: Final = "DataIntegrityProof"
CRYPTOSUITE: Final = "eddsa-jcs-2022"
PURPOSE: Final = "assertionMethod"
SKEW: Final = timedelta(hours=1)
"""How far `created` may lie ahead of our clock; how long ago it was made does not matter."""

_SIGNATURE_BYTES: Final = 64

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Proof:
    """A document's one proof, read and not yet verified.

    `options` is the proof as it stands without its value, `unsecured` the document that is hashed,
    with the context that the proof repeats.
    """

    options: dict[str, Any]
    value: str
    verification_method: str
    created: datetime
    signature: bytes
    unsecured: dict[str, Any]

    @property
    def document_hash(self) -> bytes:
        """SHA-256 of the document's canonical form."""
        return hash_of(self.unsecured)

    @property
    def options_hash(self) -> bytes:
        """SHA-256 of the options' canonical form."""
        return hash_of(self.options)


def canonical(value: Json) -> bytes:
    """Return the canonical form of a JSON object; MalformedError where it has none.

    That is so of integers beyond 2⁵³ and of numbers that are not finite.
    """
    try:
        return rfc8785.dumps(dict(value))
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        msg = f"this has no canonical form: {error}"
        raise MalformedError(msg) from error


def hash_of(value: Json) -> bytes:
    """Return the SHA-256 of an object's canonical form."""
    return hashlib.sha256(canonical(value)).digest()


def create(
    document: Json,
    private_key: Ed25519PrivateKey,
    verification_method: str,
    *,
    created: datetime,
    document_hash: bytes | None = None,
) -> dict[str, Any]:
    """Return the document with a proof by a key that its author names in `assertionMethod`.

    `document_hash` is that of its canonical form, where the caller has it already.
    """
    options: dict[str, Any] = {
        "type": TYPE,
        "cryptosuite": CRYPTOSUITE,
        "verificationMethod": verification_method,
        "proofPurpose": PURPOSE,
        "created": created.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    if "@context" in document:
        options = {"@context": document["@context"], **options}
    unsecured = {name: value for name, value in document.items() if name != "proof"}
    signature = private_key.sign(hash_of(options) + (document_hash or hash_of(unsecured)))
    return {**unsecured, "proof": {**options, "proofValue": encode_base58(signature)}}


def read(document: Json) -> Proof | None:
    """Return a document's proof, None where it has none that is read here.

    Other cryptosuites, purposes and several proofs are none (FEP-8b32 has them passed over); so is
    one that cannot be read, or whose `@context` the document's does not begin with.
    """
    proof = document.get("proof")
    if not isinstance(proof, dict):
        return None
    said = {name: proof.get(name) for name in ("type", "cryptosuite", "proofPurpose")}
    if said != {"type": TYPE, "cryptosuite": CRYPTOSUITE, "proofPurpose": PURPOSE}:
        return None
    options = {name: value for name, value in proof.items() if name != "proofValue"}
    value, method = proof.get("proofValue"), proof.get("verificationMethod")
    created = _moment(proof.get("created"))
    if not isinstance(value, str) or not isinstance(method, str) or created is None:
        return None
    # An older kind of signature beside the proof was made after it (FEP-8b32).
    unsecured = {
        name: item for name, item in document.items() if name not in {"proof", "signature"}
    }
    if "@context" in options:
        if not _begins_with(unsecured.get("@context"), options["@context"]):
            return None
        unsecured["@context"] = options["@context"]
    try:
        signature = decode_base58(value)
    except MalformedError:
        return None
    return Proof(options, value, method, created, signature, unsecured)


def verify(proof: Proof, public_key: Ed25519PublicKey, *, now: datetime) -> None:
    """Check a proof with the key of its verification method.

    Raises UnauthenticatedError where it does not hold, was made in the future or has expired.
    Whose key it is, is the caller's to know.
    """
    if proof.created > now + SKEW:
        raise UnauthenticatedError("the proof says that it was made in the future")
    if "expires" in proof.options:
        expires = _moment(proof.options["expires"])
        if expires is None or expires < now:
            raise UnauthenticatedError("the proof has expired")
    try:
        hashes = proof.options_hash, proof.document_hash
    except MalformedError as error:
        raise UnauthenticatedError(error.detail) from error
    if not holds(*hashes, proof.signature, public_key):
        raise UnauthenticatedError("the proof is not of this document, or by another key")


def holds(
    options_hash: bytes, document_hash: bytes, signature: bytes, public_key: Ed25519PublicKey
) -> bool:
    """Tell whether a signature is that of the two hashes; all that is left of a proof to check."""
    if len(signature) != _SIGNATURE_BYTES:
        return False
    try:
        public_key.verify(signature, options_hash + document_hash)
    except InvalidSignature:
        return False
    return True


def _begins_with(whole: object, beginning: object) -> bool:
    """Tell whether a context begins with all of another; one alone is a list of one."""
    parts = whole if isinstance(whole, list) else [whole]
    first = beginning if isinstance(beginning, list) else [beginning]
    return parts[: len(first)] == first


def _moment(written: object) -> datetime | None:
    if not isinstance(written, str):
        return None
    try:
        moment = datetime.fromisoformat(written)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
