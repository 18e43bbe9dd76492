"""HTTP message signatures by RFC 9421, made and checked; no input or output.

Which parts a signature must cover is stated here and never taken from its sender, and the
algorithm follows from the key's type.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, Literal

import http_sf
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureAlgorithm,
    InvalidSignature,
    MappingKeyResolver,
    algorithms,
)

from commons import plain_signatures as plain
from commons.errors import MalformedError, UnauthenticatedError
from commons.key_formats import (
    PrivateKey,
    PublicKey,
    decode_multikey,
    encode_multikey,
    generate_ed25519,
    generate_rsa,
    load_private_pem,
    load_public_pem,
    private_pem,
    public_pem,
)

__all__ = [
    "BODILESS_METHODS",
    "KEY_ID_MAX_CHARS",
    "REQUEST",
    "REQUEST_WITH_BODY",
    "RESPONSE",
    "Message",
    "PrivateKey",
    "PublicKey",
    "Verified",
    "algorithm_of",
    "content_digest",
    "decode_multikey",
    "encode_multikey",
    "generate_ed25519",
    "generate_rsa",
    "key_id_of",
    "load_private_pem",
    "load_public_pem",
    "nonce_of_answer",
    "private_pem",
    "public_pem",
    "required_parts",
    "sign",
    "verify",
]

REQUEST: Final = ("@method", "@target-uri")
REQUEST_WITH_BODY: Final = (*REQUEST, "content-digest")
RESPONSE: Final = ("@status", "content-digest")

_LABEL: Final = "sig1"
BODILESS_METHODS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
# Repeated, these let two readers of one message see two different messages.
_SINGLE_HEADERS: Final = (
    "signature",
    "signature-input",
    "content-digest",
    "digest",
    "date",
    "host",
)
KEY_ID_MAX_CHARS: Final = plain.KEY_ID_MAX_CHARS


@dataclass(frozen=True)
class Message:
    """A request, or with `status` a response, as it is on the wire.

    `target_uri` is the absolute URI that our side knows the request by (our own base URL and the
    raw path and query), never put together from the sender's Host header. `body` is the content
    as transferred, before any content coding is undone.
    """

    method: str
    target_uri: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""
    status: int | None = None

    @cached_property
    def plainly(self) -> plain.Plain | None:
        """What its signature says of itself, where that has the plain shape; read once."""
        return plain.read(self.headers, _SINGLE_HEADERS)


@dataclass(frozen=True)
class Verified:
    """What a valid signature says of itself."""

    key_id: str
    created: datetime
    nonce: str | None


def required_parts(message: Message) -> tuple[str, ...]:
    """Return the parts that a signature of this message must cover, by method and direction."""
    if message.status is not None:
        return RESPONSE
    return REQUEST if message.method in BODILESS_METHODS and not message.body else REQUEST_WITH_BODY


def algorithm_of(key: object) -> Literal["ed25519", "rsa-v1_5-sha256"]:
    """Return the RFC 9421 name of the one algorithm that the key is used with.

    Raises MalformedError for a kind of key that is not taken here.
    """
    if isinstance(key, Ed25519PublicKey | Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, RSAPublicKey | RSAPrivateKey):
        return "rsa-v1_5-sha256"
    msg = f"keys of the kind {type(key).__name__} are not taken"
    raise MalformedError(msg)


def content_digest(body: bytes) -> str:
    """Return the Content-Digest header's value (RFC 9530) by SHA-256."""
    return plain.digest(body)


def nonce_of_answer(signature: str) -> str:
    """Return the nonce in the signature of an answer, out of the Signature header of the call.

    It ties the answer to that one call: a well signed answer to another is seen to be one.
    """
    return hashlib.sha256(signature.encode()).hexdigest()


def sign(  # noqa: PLR0913 - what is signed, by whom, and what the signature says of itself
    message: Message,
    private_key: PrivateKey,
    key_id: str,
    *,
    nonce: str | None,
    created: datetime,
    covered: Sequence[str] | None = None,
) -> dict[str, str]:
    """Return the headers to add: Signature-Input, Signature and a missing Content-Digest.

    `covered` defaults to the parts required of such a message. A Content-Digest that the message
    has already is signed as it stands. Raises MalformedError where a part is not there.
    """
    parts = required_parts(message) if covered is None else covered
    added: dict[str, str] = {}
    names = {name.lower() for name, _ in message.headers}
    if "content-digest" in parts and "content-digest" not in names:
        added["Content-Digest"] = content_digest(message.body)
    values = _values(message) | ({"content-digest": added["Content-Digest"]} if added else {})
    moment = int(created.timestamp())
    signed = plain.sign(private_key, parts, values, plain.Words(_LABEL, key_id, nonce, moment))
    if signed is not None:
        return added | signed
    lines = [*message.headers, *added.items()]
    signer = HTTPMessageSigner(signature_algorithm=_implementation(private_key))
    try:
        prepared = signer.prepare(
            _seen(message, lines),
            key_id=key_id,
            created=created,
            nonce=nonce,
            label=_LABEL,
            include_alg=False,
            covered_component_ids=parts,
            use_existing_digest=bool(added) or "content-digest" in names,
        )
    except HTTPMessageSignaturesException as error:
        msg = f"this message cannot be signed: {error}"
        raise MalformedError(msg) from error
    signer_of_bytes = _implementation(private_key)(private_key=private_key)
    signature = signer_of_bytes.sign(prepared.signature_base)
    added["Signature-Input"] = f"{_LABEL}={prepared.signature_params}"
    added["Signature"] = http_sf.ser({_LABEL: (signature, {})})
    return added


def _values(message: Message) -> dict[str, str]:
    """Return the values of the parts that are no headers."""
    if message.status is not None:
        return {"@status": str(message.status)}
    return {"@method": message.method, "@target-uri": message.target_uri}


def key_id_of(message: Message) -> str:
    """Return the id of the key that claims to have signed the message; nothing is verified yet.

    Raises UnauthenticatedError where there is no signature or more than one, MalformedError where
    the headers cannot be read or a header that must be single is repeated.
    """
    if message.plainly is not None:
        return message.plainly.key_id
    counts = Counter(name.lower() for name, _ in message.headers)
    for name in _SINGLE_HEADERS:
        if counts[name] > 1:
            msg = f"the header {name} is there {counts[name]} times"
            raise MalformedError(msg)
    signature = _only_member(message, "signature")[1]
    if not isinstance(signature, bytes):
        msg = "the signature is no byte sequence"
        raise MalformedError(msg)
    parameters, covered = _only_member(message, "signature-input")
    if not isinstance(covered, list):
        msg = "Signature-Input is no inner list"
        raise MalformedError(msg)
    key_id = parameters.get("keyid")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= KEY_ID_MAX_CHARS:
        msg = f"the signature names no key in up to {KEY_ID_MAX_CHARS} characters"
        raise MalformedError(msg)
    return key_id


def verify(  # noqa: PLR0913 - the policy is spelled out at every call
    message: Message,
    public_key: PublicKey,
    *,
    required: Sequence[str],
    now: datetime,
    window_seconds: int = 300,
    nonce_required: bool = False,
) -> Verified:
    """Check the message's one signature with the key and return what it says of itself.

    `required` is one of this module's constants, or `required_parts` of the message. A body, and
    a Content-Digest wherever there is one, must be covered and must agree by SHA-256. `created`
    may be `window_seconds` off `now` in either direction. Whether a nonce was used before is the
    caller's to know. Raises UnauthenticatedError, and MalformedError as `key_id_of` does.
    """
    window = timedelta(seconds=window_seconds)
    verified = _verify_plainly(message, public_key, required, now, window)
    if verified is not None and (verified.nonce or not nonce_required):
        return verified
    key_id = key_id_of(message)
    verifier = _Verifier(public_key, key_id, now, window)
    try:
        results = verifier.verify(
            _seen(message, message.headers),
            max_age=None,
            require_components=required,
            body=message.body,
        )
    except HTTPMessageSignaturesException as error:
        reason = str(error) or "it is by another key or of other parts"
        msg = f"the signature is not valid: {reason}"
        raise UnauthenticatedError(msg) from error
    digest = results[0].covered_components.get('"content-digest"')
    if digest is not None and "sha-256=" not in digest:
        msg = "Content-Digest holds no sha-256"
        raise UnauthenticatedError(msg)
    nonce = results[0].nonce
    _check_nonce(nonce, required=nonce_required)
    created = datetime.fromtimestamp(int(results[0].parameters["created"]), UTC)
    return Verified(key_id, created, nonce)


def _verify_plainly(
    message: Message,
    public_key: PublicKey,
    required: Sequence[str],
    now: datetime,
    window: timedelta,
) -> Verified | None:
    """Return what a signature of the plain shape says where all is well; None: look closer."""
    said = message.plainly
    if said is None:
        return None
    values = _values(message)
    if message.body or said.digest is not None:
        values["content-digest"] = plain.digest(message.body)
        required = (*required, "content-digest")
    is_right = said.digest == values.get("content-digest") and set(required) <= set(said.parts)
    moment, seconds = int(now.timestamp()), int(window.total_seconds())
    is_fresh = said.is_fresh(moment - seconds + 1, moment, moment + seconds)
    if is_right and is_fresh and plain.verify(said, public_key, values):
        return Verified(said.key_id, datetime.fromtimestamp(said.created, UTC), said.nonce)
    return None


def _check_nonce(nonce: str | None, *, required: bool) -> None:
    if required and not nonce:
        msg = "the signature has no nonce"
        raise UnauthenticatedError(msg)
    if nonce is not None and len(nonce) > plain.NONCE_MAX_CHARS:
        msg = f"the nonce has more than {plain.NONCE_MAX_CHARS} characters"
        raise UnauthenticatedError(msg)


class _Verifier(HTTPMessageVerifier):
    """The library's verifier with one key, and with the caller's clock in place of its own."""

    def __init__(
        self, public_key: PublicKey, key_id: str, now: datetime, window: timedelta
    ) -> None:
        super().__init__(
            signature_algorithm=_implementation(public_key),
            key_resolver=MappingKeyResolver(public_keys={key_id: public_key}, private_keys={}),
        )
        self._now = now.timestamp()
        self._window = window.total_seconds()

    def validate_created_and_expires(self, sig_input: Any, max_age: object = None) -> None:  # noqa: ANN401 - the library's type has no annotation
        """Hold `created` and `expires` against the caller's clock."""
        del max_age
        created, expires = (sig_input.params.get(name) for name in ("created", "expires"))
        if created is None:
            msg = "there is no created"
            raise InvalidSignature(msg)
        if created > self._now + self._window:
            msg = "created lies in the future"
            raise InvalidSignature(msg)
        if created < self._now - self._window:
            msg = "created lies too far back"
            raise InvalidSignature(msg)
        if expires is not None and expires < self._now:
            msg = "it has expired"
            raise InvalidSignature(msg)


@dataclass(frozen=True)
class _Lines:
    """Header lines in the shape in which the library reads them."""

    lines: Sequence[tuple[str, str]]

    def items(self) -> Iterable[tuple[str, str]]:
        return self.lines


@dataclass(frozen=True)
class _SeenRequest:
    method: str
    url: str
    headers: _Lines


@dataclass(frozen=True)
class _SeenResponse:
    status_code: int
    headers: _Lines
    request: None = field(default=None)


def _seen(message: Message, lines: Sequence[tuple[str, str]]) -> _SeenRequest | _SeenResponse:
    if message.status is not None:
        return _SeenResponse(message.status, _Lines(lines))
    return _SeenRequest(message.method, message.target_uri, _Lines(lines))


def _implementation(key: PrivateKey | PublicKey) -> type[HTTPSignatureAlgorithm]:
    chosen = algorithm_of(key)
    return algorithms.ED25519 if chosen == "ed25519" else algorithms.RSA_V1_5_SHA256


def _only_member(message: Message, header: str) -> tuple[dict[str, Any], Any]:
    """Return parameters and value of the one member of a dictionary header."""
    line = next((value for name, value in message.headers if name.lower() == header), None)
    if line is None:
        msg = f"there is no {header} header"
        raise UnauthenticatedError(msg)
    try:
        members: Any = http_sf.parse(line.encode("ascii"), tltype="dictionary")
    except ValueError as error:
        msg = f"the header {header} cannot be read: {error}"
        raise MalformedError(msg) from error
    if not isinstance(members, dict) or len(members) != 1:
        msg = f"the header {header} must hold exactly one signature"
        raise UnauthenticatedError(msg)
    value, parameters = next(iter(members.values()))
    return dict(parameters), value
