"""The keys of hubs as their actors publish them, and the nonces that they have used."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import bindparam, delete, or_, select, text
from sqlalchemy.orm import Session

from commons.database import UtcDateTime, now
from commons.errors import UnauthenticatedError
from commons.groups import HubKey, Nonce
from commons.signatures import Verified
from crawler.origins import ActorKey

NONCE_KEPT: Final = timedelta(minutes=15)
"""Longer than a signature is valid: 5 minutes to either side of our clock."""

_USE: Final = text(
    "INSERT INTO nonces (key_id, nonce, expires_at) VALUES (:key_id, :nonce, :expires_at)"
    " ON CONFLICT (key_id, nonce) DO NOTHING RETURNING nonce"
).bindparams(bindparam("expires_at", type_=UtcDateTime()))


def store_keys(session: Session, group_id: str, keys: Sequence[ActorKey]) -> None:
    """Make a hub's keys those that its actor names now; the others are revoked.

    A key id that is another group's stays that group's.
    """
    moment = now(session)
    named = {key.key_id: key for key in keys}
    held = session.scalars(
        select(HubKey).where(or_(HubKey.group_id == group_id, HubKey.key_id.in_(named)))
    ).all()
    for row in held:
        key = named.pop(row.key_id, None)
        if row.group_id != group_id:
            continue
        if key is None:
            row.revoked_at = row.revoked_at or moment
        else:
            row.algorithm, row.public_key_pem, row.revoked_at = key.algorithm, key.pem, None
    for key in named.values():
        session.add(
            HubKey(
                key_id=key.key_id,
                group_id=group_id,
                algorithm=key.algorithm,
                public_key_pem=key.pem,
                added_at=moment,
            )
        )
    session.flush()


def use_nonce(session: Session, verified: Verified) -> None:
    """Use up a signature's nonce, where it has one; UnauthenticatedError where it was used."""
    if verified.nonce is None:
        return
    moment = now(session)
    session.execute(delete(Nonce).where(Nonce.expires_at < moment))
    # One statement, so that of two uses in the same moment the second waits and is refused.
    used = session.execute(
        _USE.bindparams(
            key_id=verified.key_id, nonce=verified.nonce, expires_at=moment + NONCE_KEPT
        )
    ).first()
    if used is None:
        raise UnauthenticatedError("the signature's nonce was used before")
