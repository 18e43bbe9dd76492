"""The one shape that nearly all signatures of hubs have, read and written in a few steps.

What is read here is as the general library would read it, only in a tenth of the time; anything
else about a message, an error included, is left to that: None means "look closer", never "no".
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_ID_MAX_CHARS: Final = 2048
NONCE_MAX_CHARS: Final = 128

_LABEL: Final = r"[a-z*][a-z0-9_.*-]{0,63}"
_TEXT: Final = r'"[ !#-\[\]-~]*"'  # printable ASCII in which nothing is escaped
_INPUT: Final = re.compile(
    rf"(?P<label>{_LABEL})=(?P<params>\((?P<parts>(?:\"[@a-z-]+\" ?)+)\)"
    rf"(?:;(?:created|expires|keyid|nonce)=(?:0|[1-9][0-9]{{0,14}}|{_TEXT}))+)"
)
_PARAMETER: Final = re.compile(rf";([a-z]+)=(?:([0-9]+)|({_TEXT}))")
_SIGNATURE: Final = re.compile(rf"({_LABEL})=:([A-Za-z0-9+/]{{86}}==):")
_PLAIN_TEXT: Final = re.compile(_TEXT)
_PLAIN_TARGET: Final = re.compile(r"https?://[a-z0-9.-]+(?::(?!80/|443/)[1-9][0-9]*)?/[!#-$&-~]*")
_NUMBERS: Final = frozenset({"created", "expires"})
_PARTS: Final = frozenset({"@method", "@target-uri", "@status", "content-digest"})


@dataclass(frozen=True, slots=True)
class Plain:
    """A message's one signature, of 64 bytes, as it says of itself; nothing is verified yet."""

    parts: tuple[str, ...]
    params: str
    key_id: str
    nonce: str | None
    created: int
    expires: int | None
    signature: bytes
    digest: str | None

    def is_fresh(self, earliest: int, now: int, latest: int) -> bool:
        """Whether it was made between two times and has not expired, all in Unix seconds."""
        is_over = self.expires is not None and self.expires <= now
        return earliest <= self.created <= latest and not is_over


@dataclass(frozen=True, slots=True)
class Words:
    """What a signature to be made says of itself; `created` in Unix seconds."""

    label: str
    key_id: str
    nonce: str | None
    created: int


def read(headers: Sequence[tuple[str, str]], single: Sequence[str]) -> Plain | None:
    """Return what the headers of a plainly signed message say; `single` may be there but once."""
    found = {name: value for name, value in ((k.lower(), v) for k, v in headers) if name in single}
    if sum(name.lower() in single for name, _ in headers) != len(found):
        return None
    said = _INPUT.fullmatch(found.get("signature-input", ""))
    signature = _SIGNATURE.fullmatch(found.get("signature", ""))
    if said is None or signature is None or said["label"] != signature[1]:
        return None
    parts = tuple(said["parts"].replace('"', "").split(" "))
    named = _PARAMETER.findall(said["params"])
    values = {name: number or text[1:-1] for name, number, text in named}
    are_right = all((name in _NUMBERS) == bool(number) for name, number, _ in named)
    are_single = len(values) == len(named) and len(set(parts)) == len(parts)
    are_ours = {"created", "keyid"} <= values.keys() and _PARTS.issuperset(parts)
    if not (are_right and are_single and are_ours):
        return None
    nonce = values.get("nonce")
    if not 0 < len(values["keyid"]) <= KEY_ID_MAX_CHARS or len(nonce or "") > NONCE_MAX_CHARS:
        return None
    return Plain(
        parts,
        said["params"],
        values["keyid"],
        nonce,
        int(values["created"]),
        int(values["expires"]) if "expires" in values else None,
        base64.b64decode(signature[2]),
        found.get("content-digest"),
    )


def sign(
    private_key: object, parts: Sequence[str], values: Mapping[str, str], words: Words
) -> dict[str, str] | None:
    """Return the headers Signature-Input and Signature; None for what is not of the plain shape.

    A target that another reader might write otherwise is none: with escapes, or a default port.
    """
    if not isinstance(private_key, Ed25519PrivateKey) or not values.keys() >= set(parts):
        return None
    target = values.get("@target-uri")
    if target is not None and _PLAIN_TARGET.fullmatch(target) is None:
        return None
    texts = [f'"{text}"' for text in (words.key_id, words.nonce) if text is not None]
    if any(_PLAIN_TEXT.fullmatch(text) is None for text in texts):
        return None
    covered = " ".join(f'"{part}"' for part in parts)
    said = f"({covered});created={words.created};keyid={texts[0]}"
    params = said if words.nonce is None else f"{said};nonce={texts[1]}"
    signature = base64.b64encode(private_key.sign(_base(parts, values, params))).decode()
    return {
        "Signature-Input": f"{words.label}={params}",
        "Signature": f"{words.label}=:{signature}:",
    }


def verify(said: Plain, public_key: object, values: Mapping[str, str]) -> bool:
    """Whether the key made the signature over parts of these values."""
    if not isinstance(public_key, Ed25519PublicKey) or not values.keys() >= set(said.parts):
        return False
    try:
        public_key.verify(said.signature, _base(said.parts, values, said.params))
    except (InvalidSignature, UnicodeEncodeError):
        return False
    return True


def _base(parts: Sequence[str], values: Mapping[str, str], params: str) -> bytes:
    """Return the bytes that are signed (RFC 9421, 2.5)."""
    lines = [f'"{part}": {values[part]}' for part in parts]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode("ascii")


def digest(body: bytes) -> str:
    """Return the Content-Digest of a body by SHA-256 (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
