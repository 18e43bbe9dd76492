"""The keys of hubs: as their actors publish them, confirmed, added, revoked; and their nonces."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from commons import nonces
from commons.database import now
from commons.errors import ConflictError, NotFoundError, UnauthenticatedError
from commons.groups import Hub, HubKey, KeyAlgorithm
from commons.nonces import Used
from commons.signatures import Verified
from crawler.origins import ActorKey

NONCE_USED: Final = nonces.USED_BEFORE
BY_ACTOR: Final = "actor"
"""Who revoked a key that its actor names no longer; such a one may come back."""

LIVE_MOST: Final = 2
"""How many Ed25519 keys of a hub may live at once: the old one and the new one."""


def store_keys(
    session: Session, group_id: str, keys: Sequence[ActorKey], signed_with: str | None = None
) -> None:
    """Make a hub's keys those that its actor names now; the others are revoked.

    A key that is new to an admitted hub waits for the operator before it signs calls to clearing,
    unless the hub said so itself with a key that lives (`signed_with`): whoever holds the actor's
    web server must not thereby hold the group's money. A key id that is another group's stays
    that group's, and what somebody revoked stays revoked: an id whatever key the actor names under
    it, and a key whatever other id it is named under.
    """
    moment = now(session)
    confirmed_at = moment if _are_trusted(session, group_id, keys, signed_with) else None
    named = {key.key_id: key for key in keys}
    held = session.scalars(
        select(HubKey).where(or_(HubKey.group_id == group_id, HubKey.key_id.in_(named)))
    ).all()
    own = [row for row in held if row.group_id == group_id]
    by_pem = {row.public_key_pem: row for row in own if _is_revoked_for_good(row)}
    for row in held:
        key = named.pop(row.key_id, None)
        if row.group_id != group_id:
            continue
        if key is None:
            if row.revoked_at is None:
                row.revoked_at, row.revoked_by = moment, BY_ACTOR
        else:
            _renew(row, key, confirmed_at, by_pem.get(key.pem))
    for key in named.values():
        row = HubKey(key_id=key.key_id, group_id=group_id, added_at=moment)
        _renew(row, key, confirmed_at, by_pem.get(key.pem))
        session.add(row)
    session.flush()


def _renew(
    row: HubKey, key: ActorKey, confirmed_at: datetime | None, revoked: HubKey | None
) -> None:
    """Take over what the actor says of a key; another key under a known id is new.

    `revoked` is the row in which somebody revoked this very key, for good.
    """
    if _is_revoked_for_good(row):
        return
    is_same = (row.algorithm, row.public_key_pem) == (key.algorithm, key.pem)
    if not is_same or row.revoked_at is not None:
        row.confirmed_at = confirmed_at
    row.algorithm, row.public_key_pem = key.algorithm, key.pem
    row.revoked_at = row.revoked_by = None
    if revoked is not None:
        row.revoked_at, row.revoked_by = revoked.revoked_at, revoked.revoked_by


def _is_revoked_for_good(row: HubKey) -> bool:
    """Tell whether somebody revoked it, and not only its actor, which may name it again."""
    return row.revoked_by not in {None, BY_ACTOR}


def _are_trusted(
    session: Session, group_id: str, keys: Sequence[ActorKey], signed_with: str | None
) -> bool:
    """Whether new keys live at once: before admission, or vouched for with a key that lives."""
    if session.scalar(select(Hub.admitted_at).where(Hub.group_id == group_id)) is None:
        return True
    row = session.get(HubKey, signed_with) if signed_with is not None else None
    pem = next((key.pem for key in keys if key.key_id == signed_with), None)
    if row is None or row.group_id != group_id or row.algorithm is not KeyAlgorithm.ED25519:
        return False
    return _lives(row) and row.public_key_pem == pem


def add_key(session: Session, group_id: str, key: ActorKey) -> HubKey:
    """Add a second key that the hub asked for with its first, and that its actor names.

    Raises ConflictError where two live already, where the key or its id was revoked by somebody,
    or is another group's.
    """
    row = session.get(HubKey, key.key_id)
    if row is not None and row.group_id != group_id:
        raise ConflictError("this key id is another group's")
    if row is not None and _lives(row) and row.public_key_pem == key.pem:
        return row
    revoked = select(HubKey).where(
        HubKey.group_id == group_id,
        or_(HubKey.key_id == key.key_id, HubKey.public_key_pem == key.pem),
        HubKey.revoked_at.is_not(None),
    )
    if any(_is_revoked_for_good(one) for one in session.scalars(revoked)):
        raise ConflictError("this key was revoked, and stays so; make another, under another id")
    living = select(func.count()).where(
        HubKey.group_id == group_id,
        HubKey.key_id != key.key_id,
        HubKey.algorithm == KeyAlgorithm.ED25519,
        HubKey.confirmed_at.is_not(None),
        HubKey.revoked_at.is_(None),
    )
    if (session.scalar(living) or 0) >= LIVE_MOST:
        raise ConflictError(f"{LIVE_MOST} keys live at once at most; revoke one of them first")
    moment = now(session)
    if row is None:
        row = HubKey(key_id=key.key_id, group_id=group_id, added_at=moment)
        session.add(row)
    row.algorithm, row.public_key_pem = key.algorithm, key.pem
    row.confirmed_at, row.revoked_at, row.revoked_by = moment, None, None
    session.flush()
    return row


def refuse_revoked(session: Session, key_id: str) -> None:
    """Raise UnauthenticatedError where a key does not live any more: long calls ask once more."""
    row = session.get(HubKey, key_id, with_for_update=True)
    if row is None or not _lives(row):
        raise UnauthenticatedError("the key that signed this was revoked meanwhile")


def confirm_key(session: Session, group_id: str, key_id: str) -> HubKey:
    """Let a key that waits sign calls to clearing from now on, as the operator's word.

    Raises NotFoundError, and ConflictError where the key does not wait.
    """
    row = _key(session, group_id, key_id)
    if row.revoked_at is not None or row.confirmed_at is not None:
        stands = "revoked" if row.revoked_at is not None else "confirmed already"
        raise ConflictError(f"this key is {stands}")
    row.confirmed_at = now(session)
    session.flush()
    return row


def revoke_key(session: Session, group_id: str, key_id: str, actor: str) -> HubKey:
    """Revoke a key for good: it signs nothing from now on, whatever the hub's actor says.

    Where the hub named the same key under other ids too, it ends under all of them. `actor` is who
    revokes it, as in the audit log. Raises NotFoundError, and ConflictError where it is
    revoked for good already.
    """
    row = _key(session, group_id, key_id)
    if _is_revoked_for_good(row):
        raise ConflictError("this key is revoked already")
    moment = now(session)
    same = select(HubKey).filter_by(group_id=group_id, public_key_pem=row.public_key_pem)
    for one in session.scalars(same.with_for_update()):
        if not _is_revoked_for_good(one):
            one.revoked_at, one.revoked_by = one.revoked_at or moment, actor
    session.flush()
    return row


def _key(session: Session, group_id: str, key_id: str) -> HubKey:
    row = session.get(HubKey, key_id, with_for_update=True)
    if row is None or row.group_id != group_id:
        raise NotFoundError(f"the hub of {group_id!r} has no such key")
    return row


def _lives(row: HubKey) -> bool:
    return row.revoked_at is None and row.confirmed_at is not None


def use_nonce(session: Session, verified: Verified) -> None:
    """Use up a signature's nonce, where it has one; UnauthenticatedError where it was used."""
    if not use_nonces(session, [verified])[0]:
        raise UnauthenticatedError(NONCE_USED)


def use_nonces(session: Session, signatures: Sequence[Verified]) -> list[bool]:
    """Use up the nonces of signatures; return of each whether it was unused, or has none."""
    kept_until = now(session) + nonces.KEPT
    places = [place for place, one in enumerate(signatures) if one.nonce is not None]
    used = [
        Used(signatures[place].key_id, signatures[place].nonce or "", kept_until)
        for place in places
    ]
    spent = {places[index] for index in nonces.take(session, used)}
    return [place not in spent for place in range(len(signatures))]
