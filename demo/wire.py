"""Signed HTTP: how a hub calls LocalPay, checks its answers, delivers, and knows who delivers.

Three keys play a part. The hub's RSA key signs what goes to followers' inboxes, since that is
what most of the fediverse verifies. Its Ed25519 key signs registration and payments, each with a
nonce, so that no call can be played a second time. LocalPay's Ed25519 key signs its answers.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urldefrag

import httpx2
import orjson

from commons.errors import (
    ConflictError,
    ForbiddenError,
    LocalPayError,
    MalformedError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
)
from commons.signatures import (
    RESPONSE,
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
_UNAUTHORIZED: Final = 401
_CONFLICT: Final = 409
_FIRST_SERVER_ERROR: Final = 500


@dataclass(frozen=True)
class Keys:
    """A hub's two private keys."""

    rsa: PrivateKey
    ed25519: PrivateKey


class Wire:
    """One hub's connections; safe to use from several threads."""

    def __init__(self, at: Addresses, keys: Keys, localpay_url: str) -> None:
        self._at = at
        self._keys = keys
        self._localpay_url = localpay_url
        # Environment proxies are ignored: these are calls between servers.
        self._client = httpx2.Client(
            trust_env=False,
            timeout=TIMEOUT_SECONDS,
            # A body that is not encoded is the body that its digest was made of.
            headers={"Accept-Encoding": "identity", "User-Agent": f"demo hub (+{at.actor})"},
        )
        self._service_keys: dict[str, PublicKey] = {}

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Json:
        """Call LocalPay in the hub's name and return its answer, once that is verified.

        Raises RefusedError for a transfer over a limit (`extra` holds `reason` and `available`),
        ConflictError for another conflict, UnauthenticatedError where LocalPay did not know us or
        did not sign, LocalPayError for the rest.
        """
        request = self._client.build_request(
            method,
            self._localpay_url + path,
            params=params,
            content=None if body is None else orjson.dumps(body),
            headers=None if body is None else {"Content-Type": "application/json"},
        )
        response = self._send(request, self._keys.ed25519, self._at.ed25519_key)
        self._check_answer(response)
        if response.status_code >= _FIRST_ERROR:
            raise _error_of(response)
        return _object(response)

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
        response = self._send(request, self._keys.rsa, self._at.rsa_key)
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

    def _send(self, request: httpx2.Request, key: PrivateKey, key_id: str) -> httpx2.Response:
        message = Message(
            request.method,
            str(request.url),
            request.headers.multi_items(),
            request.content,
        )
        added = sign(
            message, key, key_id, nonce=secrets.token_urlsafe(16), created=datetime.now(UTC)
        )
        request.headers.update(added)
        try:
            return self._client.send(request)
        except httpx2.TransportError as error:
            msg = f"{request.url.host} does not answer: {error!r}"
            raise UnavailableError(msg) from error

    def _check_answer(self, response: httpx2.Response) -> None:
        message = Message(
            response.request.method,
            str(response.request.url),
            response.headers.multi_items(),
            response.content,
            status=response.status_code,
        )
        key = self._service_key(key_id_of(message))
        verify(message, key, required=RESPONSE, now=datetime.now(UTC))

    def _service_key(self, key_id: str) -> PublicKey:
        if key_id not in self._service_keys:
            actor_uri = f"{self._localpay_url}/actor"
            if urldefrag(key_id).url != actor_uri:
                msg = f"the answer is signed by {key_id}, which is no key of LocalPay"
                raise UnauthenticatedError(msg)
            self._service_keys[key_id] = key_of(self.fetch(actor_uri), key_id)
        return self._service_keys[key_id]


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
    """Return the problem (RFC 9457) that LocalPay answered with as an error of ours."""
    if response.status_code >= _FIRST_SERVER_ERROR:
        return UnavailableError(_detail(response))
    if response.status_code == _UNAUTHORIZED:
        return UnauthenticatedError(_detail(response))
    if response.status_code != _CONFLICT:
        return ForbiddenError(_detail(response))
    problem = _object(response)
    if "reason" in problem:
        return RefusedError(
            str(problem.get("detail")),
            reason=problem["reason"],
            available=problem.get("available"),
        )
    return ConflictError(_detail(response))
