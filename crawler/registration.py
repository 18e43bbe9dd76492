"""How a hub registers: it says who it is, signs that with its actor's key, and may agree."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Engine, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commons.database import now, reading, transaction
from commons.errors import (
    ConflictError,
    FetchError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from commons.fetch import Door
from commons.groups import (
    GROUP_ID_PATTERN,
    TRANSITIONS,
    Currency,
    Group,
    Hub,
    HubState,
)
from commons.key_formats import load_public_pem
from commons.money import CurrencyKind, parse_rate
from commons.signatures import Message, Verified, key_id_of, required_parts, verify
from crawler import blocks, delivery, peers
from crawler.consents import covered_by, refusal_of
from crawler.hub_keys import store_keys, use_nonce
from crawler.origins import Actor, fetch_actor
from crawler.peers import BY_REGISTRATION, LEFT
from crawler.suspension import resume
from crawler.terms import origin, same_origin
from marketplace.currencies import unit_of
from marketplace.drafts import plain_text
from marketplace.places import Precision, blur

LARGEST_SCALE: Final = 8
_LONGEST: Final = {"uri": 2048, "code": 16, "name": 200, "kind": 16, "rate": 32}
_SUMMARY_READ_CHARS: Final = 8_000
_POLE: Final = 90
_ANTIMERIDIAN: Final = 180
_SIGNED_HEADERS: Final = frozenset({"signature", "signature-input", "content-digest"})


@dataclass(frozen=True)
class Wanted:
    """What a hub asks for; `currency` is None where it takes part in the marketplace only.

    The currency's `rate` is clearing units per unit of it, as a fraction. One that `pushes` gives
    its listings as JSON: it is neither followed nor read, and its actor needs no inbox.
    """

    actor: str
    group: str | None
    listings: bool
    currency: Mapping[str, Any] | None
    pushes: bool = False


async def register(
    engine: Engine, door: Door, message: Message, body: Mapping[str, Any]
) -> tuple[Hub, bool]:
    """Register the hub that signed `message`, whose JSON is `body`; tell whether it is new.

    The same registration again renews keys, addresses and consent. Raises InvalidError for the
    body, UnauthenticatedError for the signature, ForbiddenError where the signer is another than
    `actor`, UnavailableError where the actor cannot be fetched, and ConflictError where the group
    id is taken, the hub is registered otherwise or the currency is known as a different one.
    """
    wanted = read_wanted(body)
    key_id = key_id_of(message)
    if not same_origin(key_id, wanted.actor):
        raise ForbiddenError("a hub registers with a key of its own actor")
    await asyncio.to_thread(_refuse_blocked, engine, wanted.actor)
    try:
        actor = await fetch_actor(door, wanted.actor)
    except FetchError as error:
        raise UnavailableError(f"the actor cannot be fetched: {error.detail}") from error
    verified = _verify(message, key_id, actor)
    try:
        return await asyncio.to_thread(_store, engine, message, verified, wanted, actor)
    except IntegrityError as error:
        raise ConflictError("another registration came at the same moment; try again") from error


def _refuse_blocked(engine: Engine, uri: str) -> None:
    with reading(engine) as session:
        blocks.refuse(session, uri)


def read_wanted(body: Mapping[str, Any]) -> Wanted:
    """Read a registration's body; InvalidError names the first field that breaks its rule."""
    actor, group = body.get("actor"), body.get("group")
    if not isinstance(actor, str) or len(actor) > _LONGEST["uri"] or origin(actor) is None:
        raise InvalidError("actor", "must be the address of the group's actor")
    if group is not None and not (isinstance(group, str) and re.fullmatch(GROUP_ID_PATTERN, group)):
        raise InvalidError(
            "group", "must be 1 to 40 of a-z, 0-9 and -, not beginning or ending in -"
        )
    listings, pushes = body.get("listings", False), body.get("pushes", False)
    for field, flag in (("listings", listings), ("pushes", pushes)):
        if not isinstance(flag, bool):
            raise InvalidError(field, "must be true or false")
    currency = body.get("currency")
    if currency is not None:
        if not isinstance(currency, Mapping):
            raise InvalidError("currency", "must be an object")
        _check_currency(currency)
    return Wanted(actor, group, listings, currency, pushes)


def _check_currency(currency: Mapping[str, Any]) -> None:
    for field, longest in _LONGEST.items():
        value = currency.get(field)
        if not isinstance(value, str) or not 0 < len(value.strip()) <= longest:
            raise InvalidError(f"currency.{field}", f"must be a text of 1 to {longest} characters")
    if origin(currency["uri"]) is None:
        raise InvalidError("currency.uri", "must be an http or https address")
    scale = currency.get("scale")
    if isinstance(scale, bool) or not isinstance(scale, int) or not 0 <= scale <= LARGEST_SCALE:
        raise InvalidError("currency.scale", f"must be a whole number from 0 to {LARGEST_SCALE}")
    if currency["kind"] not in set(CurrencyKind):
        raise InvalidError("currency.kind", f"must be one of {', '.join(CurrencyKind)}")
    parse_rate(currency["rate"], "currency.rate")


def _verify(message: Message, key_id: str, actor: Actor) -> Verified:
    key = next((key for key in actor.keys if key.key_id == key_id), None)
    if key is None:
        raise UnauthenticatedError("the actor names no such key as its own")
    return verify(
        message,
        load_public_pem(key.pem),
        required=required_parts(message),
        now=datetime.now(UTC),
        nonce_required=True,
    )


def _store(
    engine: Engine, message: Message, verified: Verified, wanted: Wanted, actor: Actor
) -> tuple[Hub, bool]:
    with transaction(engine) as session:
        use_nonce(session, verified)
        currency = _currency(session, wanted.currency, actor) if wanted.currency else None
        hub, is_new = _hub(session, wanted, actor, currency)
        store_keys(session, hub.group_id, actor.keys, signed_with=verified.key_id)
        _consent(session, message, wanted, actor, hub)
        session.flush()
        session.refresh(hub)
        session.expunge(hub)
    return hub, is_new


def _currency(session: Session, wanted: Mapping[str, Any], actor: Actor) -> Currency:
    """Return the currency, adding it where it is new.

    A local currency is described by its own hub, so that nobody takes its address first; others,
    such as the hour or the euro, are shared by groups that may each call them as they like.
    """
    told = {
        "uri": wanted["uri"],
        "code": wanted["code"],
        "name": wanted["name"],
        "scale": wanted["scale"],
        "kind": CurrencyKind(wanted["kind"]),
    }
    known = unit_of(told["code"])
    if known is not None and known.kind is not told["kind"]:
        raise InvalidError("currency.code", f"is that of another kind of currency, {known.kind}")
    currency = session.scalar(select(Currency).where(Currency.uri == told["uri"]))
    if currency is None:
        if told["kind"] is CurrencyKind.LOCAL and not same_origin(told["uri"], actor.id):
            raise InvalidError("currency.uri", "must be of the actor's origin for a local currency")
        currency = Currency(**told)
        session.add(currency)
        session.flush()
    fixed = told if told["kind"] is CurrencyKind.LOCAL else ("scale", "kind")
    different = [field for field in fixed if getattr(currency, field) != told[field]]
    if different:
        raise ConflictError(f"this currency is known with another {different[0]}")
    return currency


def _hub(
    session: Session, wanted: Wanted, actor: Actor, currency: Currency | None
) -> tuple[Hub, bool]:
    if actor.inbox or not wanted.pushes:
        check_inbox(actor)
    group = session.scalar(select(Group).where(Group.uri == actor.id))
    if group is not None:
        return _registered_again(session, group, wanted, actor, currency), False
    group_id = wanted.group or _id_from(actor.preferred_username)
    if session.get(Group, group_id) is not None:
        raise ConflictError(f"the group id {group_id!r} is taken")
    hub = open_hub(session, actor, group_id, currency)
    hub.rate_wanted = wanted.currency["rate"] if wanted.currency else None
    return hub, True


def check_inbox(actor: Actor) -> None:
    """Raise InvalidError unless an actor has an inbox of its own origin."""
    if not actor.inbox or not same_origin(actor.inbox, actor.id):
        raise InvalidError("actor", "must have an inbox of its own origin")


def open_hub(
    session: Session, actor: Actor, group_id: str, currency: Currency | None = None
) -> Hub:
    """Add the group of an actor under a free id, and its hub, which is registered, not admitted."""
    moment = now(session)
    currency_id = currency.id if currency else None
    group = Group(id=group_id, uri=actor.id, currency_id=currency_id, created_at=moment)
    describe(group, actor)
    session.add(group)
    session.flush()
    hub = Hub(
        group_id=group_id,
        state=HubState.REGISTERED,
        inbox_uri=actor.inbox,
        outbox_uri=actor.outbox,
        registered_at=moment,
    )
    session.add(hub)
    session.flush()
    return hub


def describe(group: Group, actor: Actor) -> None:
    """Give a group the name, words and place of its actor, as far as they can be kept.

    The place is kept as listings' are, in a cell; of a person none is.
    """
    group.name = actor.name.strip()[:200] or group.id
    group.summary = plain_text(actor.summary[:_SUMMARY_READ_CHARS])[:2000]
    place = actor.place
    if place is None or "Person" in actor.types:
        group.place_name = group.lat = group.lon = None
        return
    if (place.lat is None) != (place.lon is None) or not _is_on_earth(place.lat, place.lon):
        raise InvalidError("location", "must have a latitude and a longitude on earth, or neither")
    group.place_name = (place.name or "")[:200] or None
    group.lat, group.lon = None, None
    if place.lat is not None and place.lon is not None:
        group.lat, group.lon = blur(place.lat, place.lon, Precision.CELL) or (None, None)


def _is_on_earth(lat: float | None, lon: float | None) -> bool:
    return (lat is None or abs(lat) <= _POLE) and (lon is None or abs(lon) <= _ANTIMERIDIAN)


def _registered_again(
    session: Session, group: Group, wanted: Wanted, actor: Actor, currency: Currency | None
) -> Hub:
    """Renew what is known of a hub; what it leaves out of currency and rate stays as it was."""
    peers.by_group(session, group.id, lock=True)  # before the hub, as a look at it does
    if wanted.group not in {None, group.id}:
        raise ConflictError(f"this hub is registered as {group.id!r}")
    hub = session.scalars(select(Hub).where(Hub.group_id == group.id)).one()
    if hub.state is HubState.SUSPENDED:
        raise ForbiddenError("this hub is suspended")
    if currency is not None and wanted.currency is not None:
        _keep_currency(group, hub, currency, wanted.currency["rate"])
    hub.inbox_uri, hub.outbox_uri = actor.inbox, actor.outbox
    describe(group, actor)
    return hub


def _keep_currency(group: Group, hub: Hub, currency: Currency, rate: str) -> None:
    if group.currency_id not in {None, currency.id}:
        raise ConflictError("this hub is registered with another currency")
    if hub.state is HubState.ADMITTED and hub.rate_wanted != rate:
        raise ConflictError(f"the rate {hub.rate_wanted} is agreed; registering does not change it")
    group.currency_id, hub.rate_wanted = currency.id, rate


def _id_from(username: str) -> str:
    group_id = re.sub(r"[^a-z0-9]+", "-", username.lower()).strip("-")
    if not re.fullmatch(GROUP_ID_PATTERN, group_id):
        raise InvalidError("group", "must be given, since preferredUsername yields no id")
    return group_id


def _consent(session: Session, message: Message, wanted: Wanted, actor: Actor, hub: Hub) -> None:
    """Keep the hub's word on its listings with the signed request that says it.

    An actor whose document says no says no, whatever the request says.
    """
    peer = peers.discover(session, actor.id, found_by=BY_REGISTRATION, group_id=hub.group_id)
    _read_as(session, peer, pushes=wanted.pushes)
    if peer.found_by == LEFT:
        return  # the operator's word alone brings it back
    if not wanted.listings or refusal_of(actor) is not None:
        peer.found_by = BY_REGISTRATION  # so that only registering anew takes this no back
        session.flush()
        if peer.consented_at is not None:
            peers.revoke(session, peer)
        return
    signed = [[name, value] for name, value in message.headers if name.lower() in _SIGNED_HEADERS]
    evidence = {
        "kind": "registration",
        "method": message.method,
        "target_uri": message.target_uri,
        "headers": signed,
        "body": message.body.decode(),
    }
    peers.consent(session, peer, evidence, covered_by(actor, peer.kind))
    waits = peer.state is peers.PeerState.CONSENTED or peer.attempts > 0
    if waits:
        peers.schedule(session, peer.id)  # it is up again, and need not wait out the back-off
    delivery.hurry(session, peer.id)


def _read_as(session: Session, peer: peers.Peer, *, pushes: bool) -> None:
    """Have a hub read as it says now; one that pushed and is now followed is read anew."""
    if pushes:
        peer.kind = peers.PeerKind.PUSH
    elif peer.kind is peers.PeerKind.PUSH:
        peer.kind = peers.PeerKind.ACTIVITYPUB
        peers.move(session, peer.id, peers.PeerState.LIVE, peers.PeerState.CONSENTED)
        peers.start_over(session, peer.id)
    session.flush()
    session.refresh(peer)


def admit(session: Session, group_id: str) -> Hub:
    """Admit a registered hub: from now on it may pay.

    Raises NotFoundError, and ConflictError where it has named no currency and rate or is admitted
    already. Its account is opened by whoever admits it.
    """
    hub = session.get(Hub, group_id)
    if hub is None:
        raise NotFoundError(f"no hub of a group {group_id!r} is registered")
    if session.get_one(Group, group_id).currency_id is None or hub.rate_wanted is None:
        raise ConflictError(f"the hub of {group_id!r} has named no currency and rate")
    if hub.state is HubState.SUSPENDED and resume(session, group_id).state is HubState.ADMITTED:
        return hub
    peer = peers.by_group(session, group_id, lock=True)
    sources = [state for state, targets in TRANSITIONS.items() if HubState.ADMITTED in targets]
    admitted = session.execute(
        update(Hub)
        .where(Hub.group_id == group_id, Hub.state.in_(sources))
        .values(state=HubState.ADMITTED, admitted_at=now(session))
        .returning(Hub.group_id)
    )
    if admitted.scalar() is None:
        raise ConflictError(f"the hub of {group_id!r} is admitted already")
    peers.schedule(session, peer.id)
    session.refresh(hub)
    return hub
