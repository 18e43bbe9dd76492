"""Signed HTTP among fediverse servers: how a hub delivers, and knows who delivers to it.

Three keys play a part. The hub's RSA key signs what goes to followers' inboxes, since that is
what most of the fediverse verifies. Its Ed25519 key signs registration and payments, and
LocalPay's Ed25519 key signs the answers to these: both are the business of `clearing.client`.
"""

import secrets
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urldefrag

import httpx2
import orjson

from commons.errors import (
    ForbiddenError,
    LocalPayError,
    MalformedError,
    UnauthenticatedError,
    UnavailableError,
)
from commons.signatures import (
    Message,
    PrivateKey,
    PublicKey,
    decode_multikey,
    key_id_of,
    load_public_pem,
    required_parts,
    sign,
    verify,
)
from demo.documents import ACTIVITY_TYPE, Addresses, Json

TIMEOUT_SECONDS: Final = 10.0
_FIRST_ERROR: Final = 400
_FIRST_SERVER_ERROR: Final = 500


class Wire:
    """One hub's connections to other servers; safe to use from several threads."""

    def __init__(self, at: Addresses, rsa: PrivateKey, localpay_url: str) -> None:
        self._at = at
        self._rsa = rsa
        self._localpay_url = localpay_url
        # Environment proxies are ignored: these are calls between servers.
        self._client = httpx2.Client(
            trust_env=False,
            timeout=TIMEOUT_SECONDS,
            # A body that is not encoded is the body that its digest was made of.
            headers={"Accept-Encoding": "identity", "User-Agent": f"demo hub (+{at.actor})"},
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def deliver(self, inbox: str, activity: Json) -> None:
        """Post an activity to a follower's inbox; raises LocalPayError where it is not taken.

        A hub in earnest keeps what could not be delivered and tries again later.
        """
        request = self._client.build_request(
            "POST",
            inbox,
            content=orjson.dumps(activity),
            headers={"Content-Type": ACTIVITY_TYPE},
        )
        response = self._send(request)
        if response.status_code >= _FIRST_ERROR:
            raise _error_of(response)

    def sender_of(self, message: Message) -> Json:
        """Return the actor document of whoever signed the message, or raise.

        Key and actor must name each other, and the signature must cover what *we* require. Only
        actors of the LocalPay that this hub registered with are fetched: whoever takes followers
        from anywhere must first guard which addresses a stranger can make it fetch.
        """
        key_id = key_id_of(message)
        owner = urldefrag(key_id).url
        if not owner.startswith(f"{self._localpay_url}/"):
            msg = f"{owner} is nobody that this hub knows"
            raise UnauthenticatedError(msg)
        actor = self.fetch(owner)
        verify(
            message,
            key_of(actor, key_id),
            required=required_parts(message),
            now=datetime.now(UTC),
        )
        return actor

    def fetch(self, url: str) -> Json:
        """Fetch a public ActivityPub document."""
        response = self._client.get(url, headers={"Accept": ACTIVITY_TYPE})
        if response.status_code >= _FIRST_ERROR:
            raise _error_of(response)
        return _object(response)

    def _send(self, request: httpx2.Request) -> httpx2.Response:
        message = Message(
            request.method,
            str(request.url),
            request.headers.multi_items(),
            request.content,
        )
        moment, nonce = datetime.now(UTC), secrets.token_urlsafe(16)
        added = sign(message, self._rsa, self._at.rsa_key, nonce=nonce, created=moment)
        request.headers.update(added)
        try:
            return self._client.send(request)
        except httpx2.TransportError as error:
            msg = f"{request.url.host} does not answer: {error!r}"
            raise UnavailableError(msg) from error


def key_of(actor: Json, key_id: str) -> PublicKey:
    """Return the actor's public key of that id; raises UnauthenticatedError where it has none."""
    if actor.get("id") != urldefrag(key_id).url:
        msg = f"{key_id} is not a key of {actor.get('id')}"
        raise UnauthenticatedError(msg)
    for key in _listed(actor.get("publicKey")):
        if key.get("id") == key_id and key.get("owner") == actor["id"]:
            return load_public_pem(key["publicKeyPem"])
    for key in _listed(actor.get("assertionMethod")):
        if key.get("id") == key_id and key.get("controller") == actor["id"]:
            return decode_multikey(key["publicKeyMultibase"])
    msg = f"{actor['id']} has no key {key_id}"
    raise UnauthenticatedError(msg)


def _listed(value: object) -> list[Json]:
    """Return the objects of a member that holds none, one or several."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, dict)]


def _object(response: httpx2.Response) -> Json:
    value: Any = orjson.loads(response.content)
    if not isinstance(value, dict):
        msg = f"{response.request.url} is no JSON object"
        raise MalformedError(msg)
    return value


def _detail(response: httpx2.Response) -> str:
    return (
        f"{response.request.method} {response.request.url}: {response.status_code} "
        + (response.text[:500])
    )


def _error_of(response: httpx2.Response) -> LocalPayError:
    """Return an error that tells what was answered."""
    if response.status_code >= _FIRST_SERVER_ERROR:
        return UnavailableError(_detail(response))
    return ForbiddenError(_detail(response))
