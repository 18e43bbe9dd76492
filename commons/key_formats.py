"""Signing keys: made, written and read as PEM and as Multikey; no input or output."""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from commons.errors import MalformedError

PrivateKey = Ed25519PrivateKey | RSAPrivateKey
PublicKey = Ed25519PublicKey | RSAPublicKey

RSA_BITS: Final = 2048
# A larger key would let its owner choose how long each of our checks takes.
_RSA_MAX_BITS: Final = 4096
_PEM_MAX_CHARS: Final = 4096

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MULTIKEY_MAX_CHARS: Final = 800  # an RSA key of 4096 bits has 726
_SIGNATURE_MAX_CHARS: Final = 100
_ED25519_PREFIX: Final = b"\xed\x01"
_ED25519_BYTES: Final = 32
_RSA_PREFIX: Final = b"\x85\x24"


def generate_ed25519() -> Ed25519PrivateKey:
    """Make a new Ed25519 key."""
    return Ed25519PrivateKey.generate()


def generate_rsa() -> RSAPrivateKey:
    """Make a new RSA key of 2048 bits, the size that all fediverse software takes."""
    return generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def private_pem(key: PrivateKey) -> str:
    """Write a private key as unencrypted PKCS#8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def public_pem(key: PublicKey) -> str:
    """Write a public key as SubjectPublicKeyInfo PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def load_private_pem(text: str) -> PrivateKey:
    """Read an unencrypted Ed25519 or RSA private key, or raise MalformedError."""
    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        msg = f"this is no private key in PEM: {error}"
        raise MalformedError(msg) from error
    if not isinstance(key, Ed25519PrivateKey | RSAPrivateKey):
        msg = f"keys of the kind {type(key).__name__} are not taken"
        raise MalformedError(msg)
    return key


def load_public_pem(text: str) -> PublicKey:
    """Read an Ed25519 public key or an RSA one of 2048 to 4096 bits, or raise MalformedError."""
    if len(text) > _PEM_MAX_CHARS:
        msg = f"a public key in PEM has at most {_PEM_MAX_CHARS} characters"
        raise MalformedError(msg)
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = f"this is no public key in PEM: {error}"
        raise MalformedError(msg) from error
    return _taken(key)


def _taken(key: object) -> PublicKey:
    if not isinstance(key, Ed25519PublicKey | RSAPublicKey):
        msg = f"keys of the kind {type(key).__name__} are not taken"
        raise MalformedError(msg)
    if isinstance(key, RSAPublicKey) and not RSA_BITS <= key.key_size <= _RSA_MAX_BITS:
        msg = f"an RSA key has {RSA_BITS} to {_RSA_MAX_BITS} bits, not {key.key_size}"
        raise MalformedError(msg)
    return key


def encode_multikey(key: PublicKey) -> str:
    """Write a public key as `publicKeyMultibase` (Multikey, base58-btc; FEP-521a)."""
    if isinstance(key, Ed25519PublicKey):
        return encode_base58(_ED25519_PREFIX + key.public_bytes_raw())
    return encode_base58(_RSA_PREFIX + key.public_bytes(Encoding.DER, PublicFormat.PKCS1))


def decode_multikey(text: str) -> PublicKey:
    """Read the Ed25519 or RSA key of a `publicKeyMultibase`, or raise MalformedError."""
    raw = decode_base58(text, _MULTIKEY_MAX_CHARS)
    if raw.startswith(_RSA_PREFIX):
        return _rsa_multikey(text, raw)
    if not raw.startswith(_ED25519_PREFIX) or len(raw) != len(_ED25519_PREFIX) + _ED25519_BYTES:
        msg = "this Multikey is no Ed25519 or RSA public key"
        raise MalformedError(msg)
    return Ed25519PublicKey.from_public_bytes(raw[len(_ED25519_PREFIX) :])


def _rsa_multikey(text: str, raw: bytes) -> PublicKey:
    try:
        key = _taken(load_der_public_key(raw[len(_RSA_PREFIX) :]))
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = f"this Multikey is no RSA public key: {error}"
        raise MalformedError(msg) from error
    if encode_multikey(key) != text:
        msg = "this Multikey is no RSA public key in PKCS#1"
        raise MalformedError(msg)
    return key


def encode_base58(raw: bytes) -> str:
    """Write bytes in base58-btc with the z that names it (multibase)."""
    return "z" + _base58(raw)


def decode_base58(text: str, most_chars: int = _SIGNATURE_MAX_CHARS) -> bytes:
    """Read what `encode_base58` writes; MalformedError where it is longer or written otherwise.

    Decoding takes time by the square of the length, hence the bound: by default a signature's.
    """
    if not text.startswith("z") or len(text) > most_chars:
        msg = f"this must be base58-btc, which begins with z, in up to {most_chars} characters"
        raise MalformedError(msg)
    return _from_base58(text[1:])


def _base58(raw: bytes) -> str:
    number, digits = int.from_bytes(raw), ""
    while number:
        number, digit = divmod(number, len(_BASE58))
        digits = _BASE58[digit] + digits
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    return _BASE58[0] * zeros + digits


def _from_base58(text: str) -> bytes:
    number = 0
    for character in text:
        digit = _BASE58.find(character)
        if digit < 0:
            msg = f"{character!r} is no base58 digit"
            raise MalformedError(msg)
        number = number * len(_BASE58) + digit
    zeros = len(text) - len(text.lstrip(_BASE58[0]))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8)
