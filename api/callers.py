"""Who calls: a hub by its signature or a bearer by a token, checked before anything is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api.allowances import Allowance, client_of
from api.keyring import FRESH_SECONDS, KnownKey
from api.services import Services, Shared
from commons import database, nonces, tokens
from commons.database import transaction
from commons.errors import ForbiddenError, MalformedError, TooManyError, UnauthenticatedError
from commons.groups import HubState, KeyAlgorithm
from commons.nonces import Used
from commons.signatures import Message, key_id_of, required_parts, verify
from commons.tokens import Bearer, Role
from crawler.peers import PeerState, by_group, is_suspended

WINDOW_SECONDS: Final = 300

_OF_CALLS: Final = frozenset({KeyAlgorithm.ED25519})
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Caller:
    """The hub that signed the request, by its group, and the nonce that it signed with."""

    group_id: str
    used: Used

    @property
    def key_id(self) -> str:
        """The key that it signed with."""
        return self.used.key_id

    @property
    def actor(self) -> str:
        """The hub as the audit log names it."""
        return f"hub:{self.group_id}"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who reads: a hub, or with `bearer` an operator or analyst.

    `group_id` is the hub's, and None for a bearer, who is shown no member's name and no text.
    """

    group_id: str | None
    bearer: Bearer | None

    @property
    def sees_names(self) -> bool:
        """Whether members' names and texts may be shown: to the two hubs alone."""
        return self.group_id is not None

    def may_see_group(self, group_id: str) -> bool:
        """Whether what is one group's own may be shown: to itself and to bearers of tokens."""
        return self.group_id in {None, group_id}

    def may_see_union(self, union_id: str) -> bool:
        """Whether a bearer's token opens this union; for hubs their accounts tell."""
        return self.bearer is None or self.bearer.union_id in {None, union_id}


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


SignedMessage = Annotated[Message, Depends(message_of)]


async def posting_hub(request: Request, services: Shared) -> Caller:
    """Return the admitted hub that signed this call with its Ed25519 key; nothing is written.

    For calls that the poster takes: it uses the nonce in the transaction of the call, where it
    also finds what was used before and what was revoked a moment ago. Raises UnauthenticatedError
    for a missing, wrong or old signature and for an unknown, waiting or revoked key;
    ForbiddenError for a hub that is not admitted, TooManyError for one that calls too often.
    """
    await _refuse_token(request, services)
    key, used = await _verified(request, services, _OF_CALLS)
    if not key.clears:  # as far as is remembered
        key = await services.keyring.find(services.engine, key.key_id, FRESH_SECONDS)
    if not key.clears:
        services.keyring.forget(key.key_id)
    if not key.is_confirmed:
        raise UnauthenticatedError("this key waits for the operator to confirm it")
    if key.hub_state is not HubState.ADMITTED:
        raise ForbiddenError(f"the hub of {key.group_id!r} is {key.hub_state}, not admitted")
    services.allowances.calls.take("this hub calls too often", key.group_id)
    return Caller(key.group_id, used)


Posting = Annotated[Caller, Depends(posting_hub)]


async def calling_hub(request: Request, caller: Posting, services: Shared) -> Caller:
    """Return the admitted hub that signed this call, its nonce used up. Raises as `posting_hub`."""
    with forgetting(services, caller.key_id):
        await run_in_threadpool(_use, services.engine, caller.used, lasting=_changes(request))
    return caller


async def signing_group(request: Request, services: Shared) -> str | None:
    """Return the group whose registered hub signed this request, admitted or not; None unsigned.

    Raises UnauthenticatedError where there is a signature that does not hold.
    """
    if "signature-input" not in request.headers:
        return None
    key, used = await _verified(request, services, frozenset(KeyAlgorithm))
    with forgetting(services, key.key_id):
        await run_in_threadpool(_take, services.engine, used)
    return key.group_id


async def sharing_hub(request: Request, services: Shared) -> Caller:
    """Return the hub that signed this request with any of its keys, admitted or not.

    For calls that concern the marketplace alone. Raises as `calling_hub` does, and ForbiddenError
    for a hub that is suspended or blocked.
    """
    await _refuse_token(request, services)
    key, used = await _verified(request, services, frozenset(KeyAlgorithm))
    with forgetting(services, key.key_id):
        await run_in_threadpool(_sharing, services.engine, key.group_id, used)
    return Caller(key.group_id, used)


async def bearer_of(request: Request, services: Shared) -> Bearer:
    """Return who carries the token of the Authorization header.

    Raises UnauthenticatedError for one that is missing, unknown, revoked or expired, and
    TooManyError in its place for a client that sends too many such.
    """
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    with _counted(request, services.allowances.wrong_tokens, "too many wrong tokens from here"):
        if scheme.lower() != "bearer":
            raise UnauthenticatedError("Authorization must say Bearer, and a token of this service")
        return await run_in_threadpool(_bearer, services.engine, text.strip())


async def acting_operator(bearer: Annotated[Bearer, Depends(bearer_of)]) -> Bearer:
    """Return the bearer of an operator's token; ForbiddenError for another role."""
    if bearer.role is not Role.OPERATOR:
        raise ForbiddenError(f"this is the operator's to do; the token's role is {bearer.role}")
    return bearer


async def asker_of(request: Request, services: Shared) -> Asker:
    """Return the hub that signed this request, or who carries its token.

    Raises MalformedError for both at once, else as `calling_hub` and `bearer_of` do.
    """
    if _has_token(request):
        return Asker(None, await bearer_of(request, services))
    caller = await posting_hub(request, services)
    return Asker((await calling_hub(request, caller, services)).group_id, None)


async def acting(request: Request, services: Shared) -> Caller | Bearer:
    """Return the hub that signed this call, for the poster, or the operator by a token.

    Raises MalformedError for both at once, else as `posting_hub` and `acting_operator` do.
    """
    if not _has_token(request):
        return await posting_hub(request, services)
    return await acting_operator(await bearer_of(request, services))


async def _refuse_token(request: Request, services: Services) -> None:
    """Raise ForbiddenError for the bearer of a token where only a hub may call."""
    if "authorization" in request.headers and "signature-input" not in request.headers:
        await bearer_of(request, services)
        raise ForbiddenError("this is a hub's to do, by a signed call; no token opens it")


def _has_token(request: Request) -> bool:
    """Whether a token is to tell who calls, and not a signature."""
    has_token = "authorization" in request.headers
    if has_token and "signature-input" in request.headers:
        raise MalformedError("a call carries a signature or a token, not both")
    return has_token


Calling = Annotated[Caller, Depends(calling_hub)]
Acting = Annotated[Caller | Bearer, Depends(acting)]
Sharing = Annotated[Caller, Depends(sharing_hub)]
SigningGroup = Annotated[str | None, Depends(signing_group)]
Analyst = Annotated[Bearer, Depends(bearer_of)]  # an operator reads what an analyst does
Operator = Annotated[Bearer, Depends(acting_operator)]
Reader = Annotated[Asker, Depends(asker_of)]


async def _verified(
    request: Request, services: Services, algorithms: frozenset[KeyAlgorithm]
) -> tuple[KnownKey, Used]:
    """Check the signature, by the database's clock; its nonce is not used up yet."""
    message = await message_of(request, services)
    wrong = services.allowances.wrong_signatures
    with _counted(request, wrong, "too many wrong signatures from here"):
        key = await services.keyring.find(services.engine, key_id_of(message))
        moment = await services.keyring.now(services.engine)
        try:
            return key, _checked(message, key, moment, algorithms)
        except UnauthenticatedError:
            if key.read.age_seconds < FRESH_SECONDS:
                raise
        # Another key may have come in its place under the same id.
        key = await services.keyring.find(services.engine, key.key_id, FRESH_SECONDS)
        return key, _checked(message, key, key.read.now, algorithms)


def _checked(
    message: Message, key: KnownKey, moment: datetime, algorithms: frozenset[KeyAlgorithm]
) -> Used:
    if key.algorithm not in algorithms:
        raise UnauthenticatedError("calls are signed with the hub's Ed25519 key")
    verified = verify(
        message,
        key.public_key,
        required=required_parts(message),
        now=moment,
        window_seconds=WINDOW_SECONDS,
        nonce_required=True,
    )
    return Used(key.key_id, verified.nonce or "", moment + nonces.KEPT, key.pem)


@contextmanager
def forgetting(services: Services, key_id: str) -> Iterator[None]:
    """Have a key read anew with the next call where this one is refused as its nonce is used."""
    try:
        yield
    except UnauthenticatedError:
        services.keyring.forget(key_id)
        raise


@contextmanager
def _counted(request: Request, wrong: Allowance, what: str) -> Iterator[None]:
    """Count what does not hold by who is connected; TooManyError beyond the allowance.

    What holds is never refused for what somebody else at the same address sent.
    """
    try:
        yield
    except UnauthenticatedError as error:
        try:
            wrong.take(what, client_of(request))
        except TooManyError as told:
            raise told from error
        raise


def _changes(request: Request) -> bool:
    return request.method not in {"GET", "HEAD"}


def _use(engine: Engine, used: Used, *, lasting: bool) -> None:
    """Use up a nonce; one that is not `lasting` may be forgotten in a crash of the database.

    That is so of calls that only read: repeated, they change nothing, and need not wait for a disk.
    """
    with transaction(engine) as session:
        if not lasting and engine.dialect.name == "postgresql":
            session.connection().exec_driver_sql("SET LOCAL synchronous_commit TO off")
        for why in nonces.use(session, [used]).values():
            raise UnauthenticatedError(why)


def _take(engine: Engine, used: Used) -> None:
    with transaction(engine) as session:
        for why in nonces.use(session, [used], clearing=False).values():
            raise UnauthenticatedError(why)


def _sharing(engine: Engine, group_id: str, used: Used) -> None:
    _take(engine, used)
    with database.reading(engine) as session:
        peer = by_group(session, group_id)
        if peer.state is PeerState.BLOCKED or is_suspended(session, peer):
            raise ForbiddenError(f"the hub of {group_id!r} is blocked or suspended")


def _bearer(engine: Engine, text: str) -> Bearer:
    with database.reading(engine) as session:
        bearer, is_due = tokens.read(session, text)
    if is_due:
        with transaction(engine) as session:
            tokens.note_use(session, bearer.prefix)
    return bearer


def _authority(base_url: str, netloc: str) -> str:
    return netloc.lower().removesuffix(_DEFAULT_PORTS[urlsplit(base_url).scheme])
