"""Messages signed as other software signs them, part by part, so that a part can be left out."""

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from hub_server import ACTIVITY, Crawling, HubServer, Json, rsa_key

from commons.cavage import digest_of
from commons.key_formats import public_pem
from commons.signatures import Message, PrivateKey, sign

RSA: RSAPrivateKey = rsa_key()
PARTS = ("(request-target)", "host", "date", "digest")


def by_cavage(  # noqa: PLR0913 (a signer may do each otherwise)
    message: Message,
    key: PrivateKey,
    key_id: str,
    *,
    parts: Sequence[str] = PARTS,
    target: str | None = None,
    algorithm: str | None = "",
    date: datetime | None = None,
    said: str = "",
    digest: str | None = None,
) -> Message:
    """Sign by draft-cavage without `commons.cavage`; `said` are more fields, `name=1,other=2`.

    The algorithm is the key's unless one is told, and not named where it is None.
    """
    path = "/" + message.target_uri.split("/", 3)[3]
    if algorithm == "":
        algorithm = "rsa-sha256" if isinstance(key, RSAPrivateKey) else "hs2019"
    headers = [*message.headers]
    if "host" not in {name.lower() for name, _ in headers}:
        headers.append(("Host", message.target_uri.split("/")[2]))
    headers += [
        ("Date", format_datetime(date or datetime.now(UTC), usegmt=True)),
        ("Digest", digest or digest_of(message.body)),
    ]
    told = dict(field.split("=") for field in said.split(",") if field)
    values = {name.lower(): value for name, value in headers}
    values["(request-target)"] = target or f"{message.method.lower()} {path}"
    values |= {f"({name})": value for name, value in told.items()}
    text = "\n".join(f"{part}: {values[part]}" for part in parts).encode()
    signature = (
        key.sign(text, PKCS1v15(), SHA256()) if isinstance(key, RSAPrivateKey) else key.sign(text)
    )
    fields = [f'keyId="{key_id}"', f'headers="{" ".join(parts)}"', *filter(None, said.split(","))]
    fields += [f'algorithm="{algorithm}"'] if algorithm else []
    fields.append(f'signature="{base64.b64encode(signature).decode()}"')
    return replace(message, headers=[*headers, ("Signature", ",".join(fields))])


def by_rfc9421(  # noqa: PLR0913 (a signer may do each otherwise)
    message: Message,
    key: PrivateKey,
    key_id: str,
    *,
    covered: Sequence[str] | None = None,
    created: datetime | None = None,
    nonce: str | None = None,
) -> Message:
    """Sign by RFC 9421, as Mastodon does without a nonce."""
    moment = created or datetime.now(UTC)
    added = sign(message, key, key_id, nonce=nonce, created=moment, covered=covered)
    return replace(message, headers=[*message.headers, *added.items()])


def pushed(crawling: Crawling, document: Json) -> Message:
    body = json.dumps(document).encode()
    return Message(
        "POST", f"{crawling.settings.base_url}/inbox", [("Content-Type", ACTIVITY)], body
    )


def pem_key(key_id: str, owner: str, key: PrivateKey = RSA) -> Json:
    return {"id": key_id, "owner": owner, "publicKeyPem": public_pem(key.public_key())}


def with_key(hub: HubServer, name: str = "ines", key: PrivateKey = RSA, **more: object) -> str:
    """Publish a member with a key as Mastodon has it; return the key's id."""
    owner = f"{hub.base}/members/{name}"
    key_id = f"{owner}#main-key"
    hub.member(name, publicKey=pem_key(key_id, owner, key), **more)
    return key_id


def create(hub: HubServer, number: int = 1, member: str = "ines") -> Json:
    return hub.activity("Create", hub.proposal(number, member=member))
