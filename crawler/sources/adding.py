"""A source that its operator adds: the group, its hub and its peer, with who agreed and how."""

import re
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commons.database import now
from commons.errors import ConflictError, InvalidError
from commons.groups import GROUP_ID_PATTERN, Currency, Group, Hub, HubState
from crawler import blocks, peers
from crawler.peers import Covers, Peer, PeerKind
from crawler.sources.csv_files import expand, refuse_members, type_of
from crawler.sources.reading import BY_HAND, SOURCES
from crawler.terms import origin
from marketplace.currencies import unit_of
from marketplace.listings import Listing
from marketplace.places import Precision, blur

LONGEST_EVIDENCE: Final = 2_000
LONGEST_NAME: Final = 200
_FILES: Final = frozenset({PeerKind.CES, PeerKind.TIMEOVERFLOW})
_SHARED_SCALE: Final = 2
_ITEM: Final = re.compile(r"(?:wd:)?(Q[1-9][0-9]{0,15})")
_FOUND_BY: Final = "the operator"


@dataclass(frozen=True)
class Wanted:
    """What is to be read: whose it is, who agreed and how, and where its group is, in degrees.

    `by_hand` is what nothing is fetched from: its files are given to `localpay source read`.
    """

    kind: PeerKind
    address: str
    group_id: str
    name: str
    evidence: str
    near: tuple[float, float] | None = None
    currency_uri: str | None = None
    by_hand: bool = False


def add(session: Session, wanted: Wanted) -> Peer:
    """Add a source, or renew what is said of one, and have it read now.

    Raises InvalidError for what breaks a rule, ForbiddenError for a blocked domain, and
    ConflictError where the group or the address is another's.
    """
    _check(session, wanted)
    peer = session.scalar(select(Peer).where(Peer.actor_uri == wanted.address).with_for_update())
    if peer is not None and peer.kind is wanted.kind and peer.group_id != wanted.group_id:
        _release(session, peer)
    known = (wanted.kind, wanted.group_id) if peer is None else (peer.kind, peer.group_id)
    if known not in {(wanted.kind, wanted.group_id), (wanted.kind, None)}:
        raise ConflictError("this address is known already, as another kind or of another group")
    _open_group(session, wanted)
    peer = peers.discover(
        session, wanted.address, found_by=_FOUND_BY, kind=wanted.kind, group_id=wanted.group_id
    )
    evidence = _evidence(session, wanted)
    peer.consent_evidence = evidence
    peers.consent(session, peer, evidence, Covers.MEMBERS)  # its operator speaks for all of it
    peers.schedule(session, peer.id)
    if wanted.by_hand:
        peer.due_at = None
    session.flush()
    session.refresh(peer)
    return peer


def _check(session: Session, wanted: Wanted) -> None:
    if wanted.kind not in SOURCES:
        raise InvalidError("kind", f"must be one of {', '.join(sorted(SOURCES))}")
    if any(origin(one) is None for one in expand(wanted.address)):
        raise InvalidError("address", "must be an http or https address")
    if not re.fullmatch(GROUP_ID_PATTERN, wanted.group_id):
        raise InvalidError(
            "group", "must be 1 to 40 of a-z, 0-9 and -, not beginning or ending in -"
        )
    if not 0 < len(wanted.name.strip()) <= LONGEST_NAME:
        raise InvalidError("name", f"must have 1 to {LONGEST_NAME} characters")
    if not 0 < len(wanted.evidence.strip()) <= LONGEST_EVIDENCE:
        raise InvalidError(
            "evidence", f"must say in 1 to {LONGEST_EVIDENCE} characters who agreed, when and how"
        )
    for file in expand(wanted.address) if wanted.kind in _FILES else ():
        refuse_members(file)
        if wanted.kind is PeerKind.CES and not wanted.by_hand:
            type_of(file)
    blocks.refuse(session, wanted.address)


def _release(session: Session, peer: Peer) -> None:
    """Forget the group of a source that was removed, so that its address can be another's.

    ConflictError where the group has taken part in more than the search.
    """
    group_id = peer.group_id
    if group_id is None or peer.consented_at is not None:
        return
    try:
        with session.begin_nested():
            peer.group_id = None
            mine = update(Listing).where(Listing.group_id == group_id)
            session.execute(mine.values(group_id=None))  # all of them were withdrawn
            session.flush()
            session.execute(delete(Hub).where(Hub.group_id == group_id))
            session.execute(delete(Group).where(Group.id == group_id))
    except IntegrityError as error:
        raise ConflictError(f"the group {group_id!r} has this address, and payments") from error


def _open_group(session: Session, wanted: Wanted) -> None:
    group = session.get(Group, wanted.group_id)
    if group is None:
        if session.scalar(select(Group.id).where(Group.uri == wanted.address)):
            raise ConflictError("this address is that of another group")
        moment = now(session)
        group = Group(id=wanted.group_id, uri=wanted.address, name="", created_at=moment)
        hub = Hub(group_id=group.id, state=HubState.REGISTERED, inbox_uri="", registered_at=moment)
        session.add_all([group, hub])
    elif group.uri != wanted.address:
        raise ConflictError(f"the group id {wanted.group_id!r} is taken")
    group.name = wanted.name.strip()
    if wanted.near is not None:
        place = blur(*wanted.near, Precision.CELL)
        group.lat, group.lon = place or (None, None)
    if wanted.currency_uri is not None:
        group.currency_id = _currency(session, wanted.currency_uri).id
    session.flush()


def _currency(session: Session, uri: str) -> Currency:
    """Return a currency that is known here, or add one that everybody knows, such as the hour."""
    if item := _ITEM.fullmatch(uri.strip()):
        uri = f"http://www.wikidata.org/entity/{item[1]}"
    currency = session.scalar(select(Currency).where(Currency.uri == uri))
    if currency is not None:
        return currency
    unit = unit_of(uri)
    if unit is None or origin(uri) is None:
        raise InvalidError(
            "currency", "must be one that is known here, or a Wikidata item of one as wd:Q25235"
        )
    currency = Currency(
        uri=uri, code=unit.code, name=unit.code, scale=_SHARED_SCALE, kind=unit.kind
    )
    session.add(currency)
    session.flush()
    return currency


def _evidence(session: Session, wanted: Wanted) -> dict[str, Any]:
    return {
        "kind": "operator",
        "address": wanted.address,
        "evidence": wanted.evidence.strip(),
        "recorded_at": now(session).isoformat(),
        BY_HAND: wanted.by_hand,
    }
