"""Who calls: the signature of a hub on its request, checked before anything is done."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.services import Shared
from commons import database
from commons.database import transaction
from commons.errors import ForbiddenError, MalformedError, UnauthenticatedError
from commons.groups import Hub, HubKey, HubState, KeyAlgorithm
from commons.signatures import (
    Message,
    key_id_of,
    load_public_pem,
    required_parts,
    verify,
)
from crawler.hub_keys import use_nonce
from crawler.peers import PeerState, by_group, is_suspended

WINDOW_SECONDS: Final = 300

_OF_CALLS: Final = frozenset({KeyAlgorithm.ED25519})
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class Caller:
    """The hub that signed the request, by its group, and the key that it signed with."""

    group_id: str
    key_id: str


async def message_of(request: Request, services: Shared) -> Message:
    """Return the request as its signature covers it; the address is ours, not the Host header's.

    Raises MalformedError where Host is not our own authority: the request was meant for
    somebody else, or somebody passes on what was.
    """
    base_url = services.settings.base_url
    if _authority(base_url, request.headers.get("host", "")) != _authority(
        base_url, urlsplit(base_url).netloc
    ):
        msg = f"the Host header does not name this service, which is {base_url}"
        raise MalformedError(msg)
    path: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope["query_string"]
    target = path + (b"?" + query if query else b"")
    return Message(
        request.method,
        base_url + target.decode("ascii", "replace"),
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
        await request.body(),
    )


async def calling_hub(message: Annotated[Message, Depends(message_of)], services: Shared) -> Caller:
    """Return the admitted hub that signed this request with its Ed25519 key, never used before.

    Raises UnauthenticatedError for a missing, wrong, old or repeated signature and for an
    unknown or revoked key; ForbiddenError for a hub that is not admitted.
    """
    key_id = key_id_of(message)
    return await run_in_threadpool(_authenticate, services.engine, message, key_id)


async def signing_group(request: Request, services: Shared) -> str | None:
    """Return the group whose registered hub signed this request, admitted or not; None unsigned.

    Raises UnauthenticatedError where there is a signature that does not hold.
    """
    if "signature-input" not in request.headers:
        return None
    message = await message_of(request, services)
    key_id = key_id_of(message)
    any_key = frozenset(KeyAlgorithm)
    caller, _ = await run_in_threadpool(_verified, services.engine, message, key_id, any_key)
    return caller.group_id


async def sharing_hub(message: Annotated[Message, Depends(message_of)], services: Shared) -> Caller:
    """Return the hub that signed this request with any of its keys, admitted or not.

    For calls that concern the marketplace alone. Raises as `calling_hub` does, and ForbiddenError
    for a hub that is suspended or blocked.
    """
    key_id = key_id_of(message)
    return await run_in_threadpool(_sharing, services.engine, message, key_id)


Calling = Annotated[Caller, Depends(calling_hub)]
Sharing = Annotated[Caller, Depends(sharing_hub)]
SigningGroup = Annotated[str | None, Depends(signing_group)]
SignedMessage = Annotated[Message, Depends(message_of)]


def _authenticate(engine: Engine, message: Message, key_id: str) -> Caller:
    caller, state = _verified(engine, message, key_id)
    if state is not HubState.ADMITTED:
        raise ForbiddenError(f"the hub of {caller.group_id!r} is {state}, not admitted")
    return caller


def _sharing(engine: Engine, message: Message, key_id: str) -> Caller:
    caller, _ = _verified(engine, message, key_id, frozenset(KeyAlgorithm))
    with database.reading(engine) as session:
        peer = by_group(session, caller.group_id)
        if peer.state is PeerState.BLOCKED or is_suspended(session, peer):
            raise ForbiddenError(f"the hub of {caller.group_id!r} is blocked or suspended")
    return caller


def _verified(
    engine: Engine, message: Message, key_id: str, algorithms: frozenset[KeyAlgorithm] = _OF_CALLS
) -> tuple[Caller, HubState]:
    with database.reading(engine) as session:
        key, state, moment = _known_key(session, key_id)
    if key.algorithm not in algorithms:
        msg = "calls are signed with the hub's Ed25519 key"
        raise UnauthenticatedError(msg)
    verified = verify(
        message,
        load_public_pem(key.public_key_pem),
        required=required_parts(message),
        now=moment,
        window_seconds=WINDOW_SECONDS,
        nonce_required=True,
    )
    with transaction(engine) as session:
        use_nonce(session, verified)
    return Caller(key.group_id, key_id), state


def _known_key(session: Session, key_id: str) -> tuple[HubKey, HubState, datetime]:
    found = session.execute(
        select(HubKey, Hub.state)
        .join(Hub, Hub.group_id == HubKey.group_id)
        .where(HubKey.key_id == key_id, HubKey.revoked_at.is_(None))
    ).first()
    if found is None:
        msg = "the key that signed this belongs to no registered hub"
        raise UnauthenticatedError(msg)
    key, state = found
    return key, state, database.now(session)


def _authority(base_url: str, netloc: str) -> str:
    return netloc.lower().removesuffix(_DEFAULT_PORTS[urlsplit(base_url).scheme])
