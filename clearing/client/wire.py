"""Signed calls to the service: sent until they are answered, and believed once verified."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urldefrag

import httpx2

from clearing.client.answers import Answer, UntrustedAnswerError, refusal_of
from clearing.client.records import Store
from commons.errors import LocalPayError, MalformedError, UnauthenticatedError, UnavailableError
from commons.signatures import (
    RESPONSE,
    Message,
    PrivateKey,
    PublicKey,
    decode_multikey,
    encode_multikey,
    key_id_of,
    nonce_of_answer,
    sign,
    verify,
)
from commons.wire import tls

JSON: Final = "application/json"
ANSWER_MAX_BYTES: Final = 32 * 1024 * 1024
_ACTOR: Final = "application/activity+json"
_OK: Final = 200
_COME_BACK: Final = frozenset({429, 503})
_FROM_A_GATEWAY: Final = frozenset({429, 502, 503, 504})
_MS: Final = 1000


def _pause(ms: int) -> None:
    time.sleep(ms / _MS)


@dataclass(frozen=True)
class Patience:
    """How often a call is sent until it is answered, and how long is waited in between.

    Pauses double from `first_pause_ms` on, each shortened by chance so that many hubs do not come
    back at once; a Retry-After is kept to, and one beyond `longest_pause_ms` ends the tries. An
    answer must be there whole after `timeout_ms`.
    """

    tries: int = 6
    first_pause_ms: int = 250
    longest_pause_ms: int = 30_000
    timeout_ms: int = 10_000
    pause: Callable[[int], None] = _pause

    def pause_ms(self, tried: int, retry_after_seconds: int) -> int:
        """Return how long to wait after so many tries."""
        most = min(self.first_pause_ms << tried, self.longest_pause_ms)
        return max(retry_after_seconds * _MS, most // 2 + secrets.randbelow(most // 2 + 1))


@dataclass(frozen=True)
class Signer:
    """The hub's Ed25519 key and the id under which the service knows it."""

    key_id: str
    private_key: PrivateKey


@dataclass(frozen=True)
class Ask:
    """A call as it is sent: `path` with its query, `waits_ms` longer where the service waits."""

    method: str
    path: str
    body: bytes = b""
    media_type: str = JSON
    accept: str = JSON
    waits_ms: int = 0


class Wire:
    """One hub's connection to the service; safe to use from several threads.

    Every call may be sent twice, since each does the same twice as once; each time it is signed
    anew, with another nonce.
    """

    def __init__(
        self,
        url: str,
        signer: Signer,
        store: Store,
        service_key: PublicKey | None,
        patience: Patience,
    ) -> None:
        self._url = url.rstrip("/")
        self._signer = signer
        self._store = store
        self._pinned = service_key
        self._patience = patience
        # Proxies of the environment are ignored: these are calls between servers.
        self._client = httpx2.Client(
            verify=tls(),
            trust_env=False,
            timeout=patience.timeout_ms / _MS,
            # A body that is not encoded is the body that its digest was made of.
            headers={"Accept-Encoding": "identity", "User-Agent": "LocalPay hub client"},
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def service_key(self) -> PublicKey:
        """Return the service's key, by which an answer was verified before."""
        if self._pinned is None:
            raise ValueError("no answer of the service was verified yet")
        return self._pinned

    def call(self, ask: Ask) -> Answer:
        """Return the verified answer, of whatever status.

        Raises UnavailableError or TooManyError where there was none after all tries: the call may
        have been carried out or not, and may be sent again. Raises UntrustedAnswerError at once.
        """
        for tried in range(self._patience.tries):
            try:
                answer = self._once(ask)
            except UnavailableError as error:
                trouble: LocalPayError = error
                wait_ms = self._patience.pause_ms(tried, 0)
            else:
                if answer.status not in _COME_BACK:
                    return answer
                trouble = refusal_of(answer)
                wait_ms = self._patience.pause_ms(tried, answer.retry_after_seconds)
            if tried + 1 == self._patience.tries or wait_ms > self._patience.longest_pause_ms:
                raise trouble
            self._patience.pause(wait_ms)
        raise ValueError("a call is tried at least once")

    def _once(self, ask: Ask) -> Answer:
        headers = {"Accept": ask.accept} | ({"Content-Type": ask.media_type} if ask.body else {})
        request = self._client.build_request(
            ask.method, self._url + ask.path, content=ask.body or None, headers=headers
        )
        message = Message(ask.method, str(request.url), request.headers.multi_items(), ask.body)
        nonce, signer = secrets.token_urlsafe(16), self._signer
        added = sign(message, signer.private_key, signer.key_id, nonce=nonce, created=_now())
        request.headers.update(added)
        response, body = self._sent(request, ask.waits_ms)
        answer = Answer(response.status_code, dict(response.headers), body)
        if "signature" not in answer.headers and answer.status in _FROM_A_GATEWAY:
            # What stands before a service that is down says so in its own name.
            raise UnavailableError(f"{request.url.host} answers {answer.status}")
        try:
            self._verify(response, body, added["Signature"])
        except (UnauthenticatedError, MalformedError) as error:
            asked = f"{ask.method} {ask.path}"
            raise UntrustedAnswerError(f"the answer to {asked}: {error.detail}") from error
        return answer

    def _sent(self, request: httpx2.Request, waits_ms: int = 0) -> tuple[httpx2.Response, bytes]:
        """Send a request and read what comes back, within a bound of time and one of size."""
        allowed_ms = self._patience.timeout_ms + waits_ms
        deadline_ns = time.monotonic_ns() + allowed_ms * 1_000_000
        request.extensions["timeout"] = httpx2.Timeout(allowed_ms / _MS).as_dict()
        body = bytearray()
        try:
            response = self._client.send(request, stream=True)
            try:
                for part in response.iter_raw():
                    body += part
                    if len(body) > ANSWER_MAX_BYTES:
                        raise UntrustedAnswerError(
                            f"an answer of more than {ANSWER_MAX_BYTES} bytes was not read on"
                        )
                    if time.monotonic_ns() > deadline_ns:
                        raise UnavailableError(f"{request.url.host} answers too slowly")
            finally:
                response.close()
        except httpx2.TransportError as error:
            raise UnavailableError(f"{request.url.host} does not answer: {error!r}") from error
        return response, bytes(body)

    def _verify(self, response: httpx2.Response, body: bytes, signature: str) -> None:
        message = Message(
            response.request.method,
            str(response.request.url),
            response.headers.multi_items(),
            body,
            status=response.status_code,
        )
        key = self._service_key(key_id_of(message))
        verified = verify(message, key, required=RESPONSE, now=_now())
        if verified.nonce != nonce_of_answer(signature):
            raise UnauthenticatedError("it answers another call")

    def _service_key(self, key_id: str) -> PublicKey:
        """Return the service's key: the one given, the one kept, or at first the one it shows."""
        if self._pinned is None:
            self._pinned = self._kept_key() or self._shown_key(key_id)
        return self._pinned

    def _kept_key(self) -> PublicKey | None:
        for record in self._store.read():
            if record.get("service") == self._url:
                return decode_multikey(record["key"])
        return None

    def _shown_key(self, key_id: str) -> PublicKey:
        uri = f"{self._url}/actor"
        if urldefrag(key_id).url != uri:
            raise UnauthenticatedError(f"it is signed by {key_id}, which is no key of {self._url}")
        request = self._client.build_request("GET", uri, headers={"Accept": _ACTOR})
        response, body = self._sent(request)
        if response.status_code != _OK:
            raise UnavailableError(f"{uri} answers {response.status_code}")
        document = Answer(_OK, {}, body).json()
        for key in document.get("assertionMethod", []):
            if key.get("id") == key_id and key.get("controller") == uri:
                found = decode_multikey(key["publicKeyMultibase"])
                self._store.add({"service": self._url, "key": encode_multikey(found)})
                return found
        raise UnauthenticatedError(f"the service shows no key {key_id}")


def _now() -> datetime:
    return datetime.now(UTC)
