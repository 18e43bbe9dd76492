"""The keys of a hub over HTTP: a second one beside the first, and the end of one."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api.bodies import StrictBody, body_of, described
from api.callers import Caller, Calling
from api.services import Shared
from commons import audit_log
from commons.database import reading, transaction
from commons.errors import FetchError, ForbiddenError, InvalidError, UnavailableError
from commons.groups import Group, HubKey, KeyAlgorithm
from commons.signatures import KEY_ID_MAX_CHARS
from crawler import hub_keys
from crawler.hub_keys import add_key, revoke_key
from crawler.origins import ActorKey, fetch_actor

router = APIRouter(tags=["Hubs"])

KEY_EXAMPLE: Final[dict[str, Any]] = {
    "key_id": "https://hub.example/group#key-2",
    "algorithm": "ed25519",
    "added_at": "2026-11-20T10:00:00Z",
    "confirmed_at": "2026-11-20T10:00:00Z",
    "revoked_at": None,
    "revoked_by": None,
}
REVOKED: Final = {"revoked_at": "2026-11-21T08:00:00Z", "revoked_by": "hub:barcelona"}

GroupId = Annotated[str, Path(description="The group's short id.", examples=["barcelona"])]


class KeyBody(StrictBody):
    """The id of a key that the hub's actor names; what it is, is read there."""

    key_id: str = Field(min_length=1, max_length=KEY_ID_MAX_CHARS)


class KeyView(BaseModel):
    """A key: confirmed, it signs calls to clearing; revoked, it signs nothing any more."""

    key_id: str
    algorithm: KeyAlgorithm
    added_at: datetime
    confirmed_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None


def key_view(key: HubKey) -> KeyView:
    """Return what is told of a key."""
    return KeyView(
        key_id=key.key_id,
        algorithm=key.algorithm,
        added_at=key.added_at,
        confirmed_at=key.confirmed_at,
        revoked_at=key.revoked_at,
        revoked_by=key.revoked_by,
    )


def _answer(example: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


@router.post(
    "/hubs/{group_id}/keys",
    status_code=201,
    summary="Add a key",
    responses={
        201: _answer(KEY_EXAMPLE, "Added: it signs calls from now on, as the old one does.")
    },
    openapi_extra=described(KeyBody, {"key_id": KEY_EXAMPLE["key_id"]}),
)
async def add_hub_key(
    group_id: GroupId,
    caller: Calling,
    body: Annotated[KeyBody, Depends(body_of(KeyBody))],
    services: Shared,
) -> KeyView:
    """Add a second Ed25519 key, signed with the first; the hub's actor has to name it by then.

    So neither who stole the key alone nor who holds the actor's web server alone can add one.
    Two live at once at most; `DELETE` ends the old one.
    """
    _own(caller, group_id)
    services.allowances.registrations.take("too many keys are read right now")
    actor_uri = await run_in_threadpool(_actor_uri, services.engine, group_id)
    try:
        actor = await fetch_actor(services.door, actor_uri)
    except FetchError as error:
        raise UnavailableError(f"the actor cannot be fetched: {error.detail}") from error
    named = [key for key in actor.keys if key.key_id == body.key_id]
    if not named:
        raise InvalidError("key_id", "must be a key that the hub's actor names as its own")
    if named[0].algorithm is not KeyAlgorithm.ED25519:
        raise InvalidError("key_id", "must be that of an Ed25519 key")
    return await run_in_threadpool(_add, services.engine, caller, named[0])


@router.delete(
    "/hubs/{group_id}/keys/{key_id:path}",
    summary="Revoke a key",
    responses={200: _answer(KEY_EXAMPLE | REVOKED, "Revoked, for good.")},
)
def revoke_hub_key(
    group_id: GroupId,
    key_id: Annotated[str, Path(max_length=KEY_ID_MAX_CHARS, description="The key's id, escaped.")],
    caller: Calling,
    services: Shared,
) -> KeyView:
    """Revoke one of the hub's keys, signed with any that lives, that one too.

    It stays revoked whatever the actor says. A hub that revokes its only key calls again when
    the operator has confirmed another.
    """
    _own(caller, group_id)
    with transaction(services.engine) as session:
        told = key_view(revoke_key(session, group_id, key_id, caller.actor))
        audit_log.record(session, caller.actor, "key-revoked", group_id, {"key_id": key_id})
    return told


def _own(caller: Caller, group_id: str) -> None:
    if caller.group_id != group_id:
        raise ForbiddenError("these are the keys of another hub")


def _actor_uri(engine: Engine, group_id: str) -> str:
    with reading(engine) as session:
        return session.get_one(Group, group_id).uri


def _add(engine: Engine, caller: Caller, key: ActorKey) -> KeyView:
    with transaction(engine) as session:
        hub_keys.refuse_revoked(session, caller.key_id)  # it may have been revoked meanwhile
        told = key_view(add_key(session, caller.group_id, key))
        data = {"key_id": key.key_id, "signed_with": caller.key_id}
        audit_log.record(session, caller.actor, "key-added", caller.group_id, data)
    return told
