"""How a server and we sign for each other: keys, fingerprints, and answers; pure."""

import hashlib
from base64 import b64decode, b64encode
from binascii import Error as NoBase64Error
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import http_sf
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from commons.answers import Response
from commons.errors import FetchError, MalformedError
from commons.knocking import Scheme, Signing
from commons.signatures import REQUEST_WITH_BODY, RESPONSE, Message, content_digest, sign

WINDOW_SECONDS: Final = 300
_KEY_BYTES: Final = 32


@dataclass(frozen=True)
class ServerSigning(Signing):
    """The key that signs what we call at one server; a digest is covered with or without body."""

    def headers(self, message: Message, scheme: Scheme) -> Iterable[tuple[str, str]]:
        """Return the headers that sign a request now."""
        del scheme  # there is but one
        added = sign(
            message,
            self.private_key,
            self.key_id,
            nonce=None,
            created=datetime.now(UTC),
            covered=REQUEST_WITH_BODY,
        )
        return added.items()


def own_key(service_key: Ed25519PrivateKey, server_id: str) -> Ed25519PrivateKey:
    """Return our key for one server, which nobody else has: derived, so that none is stored."""
    derivation = HKDF(SHA256(), _KEY_BYTES, salt=None, info=b"localpay fasp " + server_id.encode())
    return Ed25519PrivateKey.from_private_bytes(derivation.derive(service_key.private_bytes_raw()))


def written_key(key: Ed25519PublicKey) -> str:
    """Write a public key as the two sides exchange it, in base64."""
    return b64encode(key.public_bytes_raw()).decode()


def read_key(text: str) -> Ed25519PublicKey:
    """Read what `written_key` writes, or raise MalformedError."""
    try:
        raw = b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, NoBase64Error) as error:
        raise MalformedError("a public key is written in base64") from error
    if len(raw) != _KEY_BYTES:
        raise MalformedError(f"an Ed25519 public key has {_KEY_BYTES} bytes")
    return Ed25519PublicKey.from_public_bytes(raw)


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return what the administrators of both sides compare: base64 of the key's SHA-256."""
    return b64encode(hashlib.sha256(key.public_bytes_raw()).digest()).decode()


def check_answer(response: Response, key: Ed25519PublicKey, now: datetime) -> None:
    """Check that an answer was signed with a key, over its status and its digest, just now.

    It need not name the key, which servers leave out, since whom we called is known. Raises
    FetchError where it does not hold.
    """
    digest = _only(response, "content-digest")
    if digest != content_digest(response.body):
        raise FetchError("the answer's Content-Digest is not that of its body")
    label, covered, created = _signed(_only(response, "signature-input"))
    if abs(now.timestamp() - created) > WINDOW_SECONDS:
        raise FetchError("the answer was not signed just now")
    if sorted(covered) != sorted(RESPONSE):
        raise FetchError("the answer's signature covers other parts than @status, content-digest")
    values = {"@status": str(response.status), "content-digest": digest}
    lines = [f'"{part}": {values[part]}' for part in covered]
    parameters = _only(response, "signature-input").strip().removeprefix(f"{label}=")
    base = "\n".join([*lines, f'"@signature-params": {parameters}'])
    try:
        key.verify(_signature(_only(response, "signature"), label), base.encode())
    except InvalidSignature as error:
        raise FetchError("the answer is not signed with the server's key") from error


def _only(response: Response, name: str) -> str:
    lines = [value for key, value in response.headers if key.lower() == name]
    if len(lines) != 1:
        raise FetchError(f"the answer has {len(lines)} headers {name}, not one")
    return lines[0]


def _signed(header: str) -> tuple[str, list[str], int]:
    """Return label, covered parts and time of the one signature that a header tells of."""
    label, (covered, parameters) = _member(header)
    if not isinstance(covered, list):
        raise FetchError("the answer's Signature-Input is no list")
    parts = [part for part, told in covered if isinstance(part, str) and not told]
    created = dict(parameters).get("created")
    if len(parts) != len(covered) or not isinstance(created, int):
        raise FetchError("the answer's Signature-Input cannot be read")
    return label, parts, created


def _signature(header: str, label: str) -> bytes:
    found, (signature, _) = _member(header)
    if found != label or not isinstance(signature, bytes):
        raise FetchError("the answer's signature is none")
    return signature


def _member(header: str) -> tuple[str, tuple[object, dict[str, object]]]:
    try:
        members: Any = http_sf.parse(header.encode("ascii"), tltype="dictionary")
    except ValueError as error:
        raise FetchError("the answer's signature cannot be read") from error
    if not isinstance(members, dict) or len(members) != 1:
        raise FetchError("the answer must have one signature")
    label, (value, parameters) = next(iter(members.items()))
    return label, (value, dict(parameters))
