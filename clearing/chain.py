"""The hash chain of an account; what is hashed here is final, since a chain cannot be changed.

Each row's hash is SHA-256(previous hash ‖ canonical JSON of the row). Canonical JSON is RFC 8785;
every value is a string and every key ASCII, for which a dump with sorted keys is the same.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import orjson

DIGEST_HEX_LENGTH: Final = 64


@dataclass
class Row:
    """What one version of an account says; amounts are in smallest clearing units.

    `digest` stands for what the journal is about: the transfer with its rates, or the account's
    part of a round.
    """

    account: str
    version: str
    journal: str
    kind: str
    counterparty: str
    amount: str
    balance: str
    time: str
    digest: str


uuid_text = lru_cache(maxsize=16_384)(str)
"""Write a UUID; the rows of one journal all hold it, and to write it anew takes a while."""


def canonical(value: Mapping[str, str] | Sequence[Sequence[str]]) -> bytes:
    """Return the canonical JSON of objects and lists of strings."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def first_hash(union: str, account: str) -> str:
    """Return the hash, in hex, that an account's chain starts from."""
    return hashlib.sha256(canonical({"union": union, "account": account})).hexdigest()


def next_hash(previous: str, row: Row) -> str:
    """Return the hash, in hex, of `row` after `previous`."""
    return hashlib.sha256(bytes.fromhex(previous) + canonical(vars(row))).hexdigest()


def digest(value: Mapping[str, str] | Sequence[Sequence[str]]) -> str:
    """Return the SHA-256, in hex, of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def keyed_digest(key: bytes, field: str, value: str) -> str:
    """Return an HMAC-SHA-256, in hex, that says nothing of `value` once `key` is deleted."""
    return hmac.digest(key, f"{field}\0{value}".encode(), "sha256").hex()


@lru_cache(maxsize=1_024)
def time_text(moment: datetime) -> str:
    """Write a moment as it stands in a row: UTC, microseconds, Z."""
    in_utc = moment.astimezone(UTC).replace(tzinfo=None)
    return in_utc.isoformat(timespec="microseconds") + "Z"
