"""Invitations: how a hub whose software cannot sign agrees, by a code that its operator redeems."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import String, UniqueConstraint, or_, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, enum_column, now
from commons.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from crawler.peers import PeerKind
from crawler.terms import origin

DAYS_VALID: Final = 30
DAYS_MOST: Final = 365
_CODE_BYTES: Final = 24
_LONGEST_EVIDENCE: Final = 2000
_REFUSAL: Final = (
    "the invitation is not valid for this address: it is unknown, used, expired or revoked, or was "
    "made for another; ask the operator of this service for a new one"
)


class Invitation(Base):
    """An operator's word that a hub may join, until its hub's operator redeems it, once.

    `address` is an actor's URI or an origin, `kind` what is read there, `evidence` who agreed and
    how. Of the code only the SHA-256, in hex, is kept.
    """

    __tablename__ = "invitations"

    id: Mapped[int] = mapped_column(primary_key=True)
    code_sha256: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(2048))
    kind: Mapped[PeerKind] = mapped_column(enum_column(PeerKind))
    evidence: Mapped[str] = mapped_column(String(_LONGEST_EVIDENCE))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("code_sha256"),)


def invite(
    session: Session,
    address: str,
    evidence: str,
    *,
    kind: PeerKind = PeerKind.ACTIVITYPUB,
    days: int = DAYS_VALID,
) -> str:
    """Make an invitation for an actor's URI or an origin and return its code, told only now.

    Raises InvalidError for what is no address, no evidence, or a time that is not 1 to 365 days.
    """
    if origin(address) is None:
        raise InvalidError("address", "must be an actor's address, or a server's as https://host")
    if not 0 < len(evidence.strip()) <= _LONGEST_EVIDENCE:
        raise InvalidError(
            "evidence", f"must say in 1 to {_LONGEST_EVIDENCE} characters who agreed, and how"
        )
    if not 1 <= days <= DAYS_MOST:
        raise InvalidError("days", f"must be 1 to {DAYS_MOST}")
    moment = now(session)
    code = secrets.token_urlsafe(_CODE_BYTES)
    row = Invitation(
        code_sha256=_digest(code),
        address=address,
        kind=kind,
        evidence=evidence.strip(),
        created_at=moment,
        expires_at=moment + timedelta(days=days),
    )
    session.add(row)
    session.flush()
    return code


def redeem(session: Session, code: str, addresses: set[str], kinds: set[PeerKind]) -> Invitation:
    """Use an invitation up for a source that has these addresses; return it.

    It must be for one of the addresses or for the origin of one, and for one of the kinds. Raises
    ForbiddenError, always with the same words, where it is not or is not valid any more.
    """
    moment = now(session)
    # Found by its hash, so that the time which that takes tells nothing of the code.
    row = session.execute(
        select(Invitation).where(Invitation.code_sha256 == _digest(code))
    ).scalar_one_or_none()
    if row is None or row.kind not in kinds or not _is_for(row.address, addresses):
        raise ForbiddenError(_REFUSAL)
    used = session.execute(
        update(Invitation)
        .where(
            Invitation.id == row.id,
            Invitation.used_at.is_(None),
            Invitation.revoked_at.is_(None),
            Invitation.expires_at > moment,
        )
        .values(used_at=moment)
        .returning(Invitation.id)
    )
    if used.scalar() is None:
        raise ForbiddenError(_REFUSAL)
    session.refresh(row)
    return row


def evidence_of(invitation: Invitation) -> dict[str, Any]:
    """Return what is kept with a peer that agreed by an invitation."""
    return {
        "kind": "invitation",
        "invitation": invitation.id,
        "address": invitation.address,
        "evidence": invitation.evidence,
        "invited_at": invitation.created_at.isoformat(),
    }


def revoke_invitation(session: Session, invitation_id: int) -> None:
    """End an invitation.

    Raises NotFoundError where there is none, ConflictError where it was used or revoked before.
    """
    revoked = session.execute(
        update(Invitation)
        .where(
            Invitation.id == invitation_id,
            Invitation.used_at.is_(None),
            Invitation.revoked_at.is_(None),
        )
        .values(revoked_at=now(session))
        .returning(Invitation.id)
    )
    if revoked.scalar() is not None:
        return
    row = session.get(Invitation, invitation_id)
    if row is None:
        raise NotFoundError(f"there is no invitation {invitation_id}")
    if row.revoked_at is not None:
        raise ConflictError(f"the invitation {invitation_id} was revoked before")
    raise ConflictError(
        f"the invitation {invitation_id} was used; suspend or leave the hub instead"
    )


def open_invitations(session: Session) -> list[Invitation]:
    """Return the invitations that are used or still can be, newest first."""
    held = or_(
        Invitation.used_at.is_not(None),
        Invitation.revoked_at.is_(None) & (Invitation.expires_at > now(session)),
    )
    return list(session.scalars(select(Invitation).where(held).order_by(Invitation.id.desc())))


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode(errors="backslashreplace")).hexdigest()


def _is_for(address: str, addresses: set[str]) -> bool:
    """Tell whether an invitation's address is one of these, or the origin of one."""
    if address in addresses:
        return True
    is_origin = address.rstrip("/").count("/") == len("//")
    return is_origin and any(origin(address) == origin(one) for one in addresses)
