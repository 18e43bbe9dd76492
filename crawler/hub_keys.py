"""The keys of hubs as their actors publish them, and the nonces that they have used."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from commons.database import now
from commons.errors import UnauthenticatedError
from commons.groups import HubKey, Nonce
from commons.signatures import Verified
from crawler.origins import ActorKey

NONCE_KEPT: Final = timedelta(minutes=15)
"""Longer than a signature is valid: 5 minutes to either side of our clock."""


def store_keys(session: Session, group_id: str, keys: Sequence[ActorKey]) -> None:
    """Make a hub's keys those that its actor names now; the others are revoked."""
    moment = now(session)
    named = {key.key_id: key for key in keys}
    held = session.scalars(select(HubKey).where(HubKey.group_id == group_id)).all()
    for row in held:
        key = named.pop(row.key_id, None)
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
    if session.get(Nonce, (verified.key_id, verified.nonce)) is not None:
        raise UnauthenticatedError("the signature's nonce was used before")
    session.add(Nonce(key_id=verified.key_id, nonce=verified.nonce, expires_at=moment + NONCE_KEPT))
    session.flush()
