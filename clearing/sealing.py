"""The service's signature in documents that leave it: an integrity proof by eddsa-jcs-2022."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from commons import proofs


@dataclass(frozen=True)
class Seal:
    """Our key for documents, with its id, and the address under which we are known."""

    service: str
    key_id: str
    private_key: Ed25519PrivateKey

    def put(self, document: Mapping[str, Any], moment: datetime) -> dict[str, Any]:
        """Return the document with our address and a proof that it came from us.

        Its keys must be ASCII and its numbers whole and below 2⁵³: for such a document a dump
        with sorted keys is the canonical form (RFC 8785), made forty times as fast.
        """
        told = {"service": self.service, **document}
        written = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        return proofs.create(
            told,
            self.private_key,
            self.key_id,
            created=moment,
            document_hash=hashlib.sha256(written).digest(),
        )
