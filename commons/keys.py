"""The keys of this service, made at the first start and kept in the data folder."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

RSA_BITS: Final = 2048


@dataclass(frozen=True)
class OwnKeys:
    """`actor` (RSA) signs what the crawler sends, `service` (Ed25519) the answers to hubs."""

    actor: RSAPrivateKey
    service: Ed25519PrivateKey


def load_or_create(data_dir: Path) -> OwnKeys:
    """Read the keys below `data_dir`, making those that are missing; only the owner reads them."""
    folder = data_dir / "keys"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    actor = _load(folder / "actor-rsa.pem", lambda: generate_private_key(65537, RSA_BITS))
    service = _load(folder / "service-ed25519.pem", Ed25519PrivateKey.generate)
    if not isinstance(actor, RSAPrivateKey) or not isinstance(service, Ed25519PrivateKey):
        raise TypeError(f"{folder} holds keys of other kinds than RSA and Ed25519")
    return OwnKeys(actor, service)


def _load(path: Path, generate: Callable[[], PrivateKeyTypes]) -> PrivateKeyTypes:
    if not path.exists():
        _write_once(path, generate())
    return serialization.load_pem_private_key(path.read_bytes(), password=None)


def _write_once(path: Path, key: PrivateKeyTypes) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    draft = path.with_suffix(f".{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_bytes(pem)
    # Another process may have been first; a link never replaces its key.
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
