"""HTTP signatures by draft-cavage, as most of the fediverse still makes them; no input or output.

Beside `commons.signatures`, with the same messages and the same errors. What a signature must
cover is stated here; of the times that it tells only covered ones can make it last.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from commons.errors import MalformedError, UnauthenticatedError
from commons.signatures import (
    BODILESS_METHODS,
    KEY_ID_MAX_CHARS,
    Message,
    PrivateKey,
    PublicKey,
    Verified,
)

TARGET: Final = "(request-target)"
CREATED: Final = "(created)"
EXPIRES: Final = "(expires)"
REQUEST: Final = (TARGET, "host")
REQUEST_WITH_BODY: Final = (*REQUEST, "digest")
TIMES: Final = ("date", CREATED)
"""One of the two must be covered besides."""

SKEW: Final = timedelta(hours=1)
LASTS: Final = timedelta(minutes=5)
LASTS_MOST: Final = timedelta(hours=12)

_ALGORITHMS: Final = ("rsa-sha256", "hs2019")
# Repeated, these let two readers of one message see two different messages.
_SINGLE_HEADERS: Final = ("signature", "digest", "date", "host")
_PARAMETER: Final = re.compile(r'[ \t]*([A-Za-z]+)=(?:"([^"\\]*)"|([0-9]+))[ \t]*(?:,|$)')
_COVERED_MOST: Final = 50


@dataclass(frozen=True)
class _Claim:
    """What a Signature header says of itself; `times` are by the name of their pseudo-header."""

    key_id: str
    algorithm: str
    covered: tuple[str, ...]
    times: dict[str, datetime]
    written: dict[str, str]
    signature: bytes


def required_parts(message: Message) -> tuple[str, ...]:
    """Return the parts that a signature must cover beside one of `TIMES`.

    Mastodon lets a POST leave out the target and the host; nobody does, and with them a delivery
    to another server is none to us.
    """
    is_bodiless = message.method in BODILESS_METHODS and not message.body
    return REQUEST if is_bodiless else REQUEST_WITH_BODY


def digest_of(body: bytes) -> str:
    """Return the Digest header's value (RFC 3230) by SHA-256."""
    return f"SHA-256={base64.b64encode(hashlib.sha256(body).digest()).decode('ascii')}"


def sign(
    message: Message, private_key: PrivateKey, key_id: str, *, created: datetime
) -> dict[str, str]:
    """Return the headers to add: Date, Signature and, with a body, Digest.

    The Host is the target's authority. Named is `rsa-sha256` for RSA, `hs2019` for Ed25519.
    """
    parts = required_parts(message)
    added = {"Date": format_datetime(created.astimezone(UTC), usegmt=True)}
    if "digest" in parts:
        added["Digest"] = digest_of(message.body)
    covered = (TARGET, "host", "date", *parts[len(REQUEST) :])
    lines = [("host", _authority(message.target_uri)), *added.items()]
    text = _base(_target(message), lines, covered, {})
    is_rsa = isinstance(private_key, RSAPrivateKey)
    made = (
        private_key.sign(text, PKCS1v15(), SHA256())
        if isinstance(private_key, RSAPrivateKey)
        else private_key.sign(text)
    )
    said = {
        "keyId": key_id,
        "algorithm": _ALGORITHMS[0] if is_rsa else _ALGORITHMS[1],
        "headers": " ".join(covered),
        "signature": base64.b64encode(made).decode("ascii"),
    }
    return {**added, "Signature": ",".join(f'{name}="{value}"' for name, value in said.items())}


def key_id_of(message: Message) -> str:
    """Return the id of the key that claims to have signed the message; nothing is verified yet.

    Raises UnauthenticatedError where there is no signature, MalformedError where the header cannot
    be read or one that must be single is repeated.
    """
    return _claim(message).key_id


def verify(message: Message, public_key: PublicKey, *, now: datetime) -> Verified:
    """Check the message's signature with the key and return what it says of itself.

    As Mastodon checks it: `created` at most an hour ahead of `now`, valid until `expires` or five
    minutes, twelve hours at most, and an hour more for clocks that go wrong; the target with its
    query or, as some sign it, without. Raises UnauthenticatedError, and MalformedError as
    `key_id_of` does.
    """
    claim = _claim(message)
    _check_algorithm(claim, public_key)
    _check_covered(message, claim)
    created = _check_times(message, claim, now)
    _check_host(message)
    _check_digest(message)
    target = _target(message)
    for asked in dict.fromkeys((target, target.partition("?")[0])):
        text = _base(asked, message.headers, claim.covered, claim.written)
        if _is_signed(text, claim.signature, public_key):
            return Verified(claim.key_id, created, None)
    raise UnauthenticatedError("the signature is not valid: it is by another key or of other parts")


def _claim(message: Message) -> _Claim:
    counts = Counter(name.lower() for name, _ in message.headers)
    for name in _SINGLE_HEADERS:
        if counts[name] > 1:
            raise MalformedError(f"the header {name} is there {counts[name]} times")
    header = _header(message, "signature")
    if header is None:
        raise UnauthenticatedError("there is no signature header")
    said = _parameters(header)
    key_id = said.get("keyId", "")
    if not 0 < len(key_id) <= KEY_ID_MAX_CHARS or not key_id.isascii():
        msg = f"the signature names no key in up to {KEY_ID_MAX_CHARS} characters"
        raise MalformedError(msg)
    algorithm = said.get("algorithm", "hs2019").lower()
    covered = tuple(said.get("headers", "date" if algorithm == "rsa-sha256" else CREATED).split())
    written = {name: said[name.strip("()")] for name in (CREATED, EXPIRES) if name[1:-1] in said}
    return _Claim(
        key_id=key_id,
        algorithm=algorithm,
        covered=tuple(part.lower() for part in covered),
        times={name: _unix(text) for name, text in written.items()},
        written=written,
        signature=_bytes(said.get("signature", "")),
    )


def _parameters(header: str) -> dict[str, str]:
    """Read `name="text"` and `name=digits`, comma between them, none of them twice."""
    said: dict[str, str] = {}
    position = 0
    while position < len(header):
        found = _PARAMETER.match(header, position)
        if found is None:
            raise MalformedError("the header signature cannot be read")
        name, text, digits = found.groups()
        if name in said:
            raise MalformedError(f"the signature says {name} twice")
        said[name] = digits if text is None else text
        position = found.end()
    return said


def _bytes(text: str) -> bytes:
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError("the signature is not written in base64") from error
    if not decoded:
        raise MalformedError("the signature is empty")
    return decoded


def _unix(text: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise MalformedError("a time of the signature is no time") from error


def _check_algorithm(claim: _Claim, public_key: PublicKey) -> None:
    """Refuse any name but the two; which of them it is, the key's type decides, not the name."""
    if claim.algorithm not in _ALGORITHMS:
        raise UnauthenticatedError(f"the algorithm must be one of {', '.join(_ALGORITHMS)}")
    if claim.algorithm == "rsa-sha256" and not isinstance(public_key, RSAPublicKey):
        raise UnauthenticatedError("the algorithm named is not that of the key")


def _check_covered(message: Message, claim: _Claim) -> None:
    covered = claim.covered
    if len(set(covered)) != len(covered) or len(covered) > _COVERED_MOST:
        raise MalformedError("the signature covers a part twice, or too many")
    required = list(required_parts(message))
    if _header(message, "digest") is not None and "digest" not in required:
        required.append("digest")
    missing = [part for part in required if part not in covered]
    if missing:
        raise UnauthenticatedError(f"the signature is not valid: {missing[0]} was not covered")
    if not set(TIMES) & set(covered):
        raise UnauthenticatedError("the signature is not valid: it covers no time")
    if claim.algorithm != "hs2019" and {CREATED, EXPIRES} & set(covered):
        raise UnauthenticatedError("only hs2019 covers (created) and (expires)")


def _check_times(message: Message, claim: _Claim, now: datetime) -> datetime:
    """Hold the covered times against the clock and return when the signature was made."""
    created = _created(message, claim)
    if created > now + SKEW:
        raise UnauthenticatedError("the signature is not valid: created lies in the future")
    until = created + LASTS
    said = claim.times.get(EXPIRES)
    if said is not None:
        # One that is not covered could be anybody's: it may only shorten.
        until = said if EXPIRES in claim.covered else min(until, said)
    if now > min(until, created + LASTS_MOST) + SKEW:
        raise UnauthenticatedError("the signature is not valid: it has expired")
    return created


def _created(message: Message, claim: _Claim) -> datetime:
    if CREATED in claim.covered:
        if CREATED not in claim.times:
            raise UnauthenticatedError("the signature is not valid: there is no created")
        return claim.times[CREATED]
    written = _header(message, "date")
    if written is None:
        raise UnauthenticatedError("the signature is not valid: there is no Date header")
    try:
        moment = parsedate_to_datetime(written)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError, TypeError) as error:
        raise MalformedError("the Date header is no date") from error


def _check_host(message: Message) -> None:
    default = {"http": ":80", "https": ":443"}[message.target_uri.partition("://")[0]]
    hosts = (_header(message, "host") or "", _authority(message.target_uri))
    if len({host.lower().removesuffix(default) for host in hosts}) > 1:
        raise UnauthenticatedError("the Host header is another's")


def _check_digest(message: Message) -> None:
    header = _header(message, "digest")
    if header is None:
        return  # where it must be covered, that fails
    found = [
        value.strip()
        for name, _, value in (part.strip().partition("=") for part in header.split(","))
        if name.lower() == "sha-256"
    ]
    if len(found) != 1:
        raise UnauthenticatedError("Digest holds no sha-256, or two")
    if not hmac.compare_digest(found[0].encode(), digest_of(message.body)[8:].encode()):
        raise UnauthenticatedError("the Digest is of another body")


def _is_signed(text: bytes, signature: bytes, public_key: PublicKey) -> bool:
    try:
        if isinstance(public_key, Ed25519PublicKey):
            public_key.verify(signature, text)
        else:
            public_key.verify(signature, text, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _base(
    target: str,
    lines: Sequence[tuple[str, str]],
    covered: Sequence[str],
    written: dict[str, str],
) -> bytes:
    """Return the text that is signed: a line for each covered part, in the order named."""
    values: dict[str, list[str]] = {}
    for name, value in lines:
        values.setdefault(name.lower(), []).append(value.strip())
    # Last, so that no header can take the name of what is no header.
    values |= {TARGET: [target], **{name: [text] for name, text in written.items()}}
    missing = [part for part in covered if part not in values]
    if missing:
        raise UnauthenticatedError(f"the signature covers {missing[0]!r}, which is not there")
    return "\n".join(f"{part}: {', '.join(values[part])}" for part in covered).encode()


def _target(message: Message) -> str:
    after = message.target_uri.partition("#")[0].partition("://")[2]
    authority = _authority(message.target_uri)
    path = after.removeprefix(authority)
    return f"{message.method.lower()} {path if path.startswith('/') else f'/{path}'}"


def _authority(target_uri: str) -> str:
    return re.split(r"[/?#]", target_uri.partition("://")[2], maxsplit=1)[0]


def _header(message: Message, name: str) -> str | None:
    return next((value for key, value in message.headers if key.lower() == name), None)
