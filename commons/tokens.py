"""Tokens of analysts and operators: `prefix.secret`, of which the secret is never stored.

The secret is 256 random bits. A slow hash with a salt protects what people choose and attackers
guess; here there is nothing to guess, so that plain SHA-256 tells as little and costs nothing.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import CheckConstraint, String, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from commons.database import Base, enum_column, now
from commons.errors import ConflictError, InvalidError, NotFoundError, UnauthenticatedError

PREFIX_BYTES: Final = 6
SECRET_BYTES: Final = 32
LONGEST_NAME: Final = 100
LONGEST_TEXT: Final = 200
LONGEST_LIFE: Final = timedelta(days=366)
NOTED_EACH: Final = timedelta(hours=1)
"""How fine the time of last use is: not each call writes."""

WRONG: Final = "this token is unknown, revoked or expired"


class Role(StrEnum):
    """What a token is good for: an analyst reads, an operator acts as well."""

    ANALYST = "analyst"
    OPERATOR = "operator"


class Token(Base):
    """A token of a person or program that is no hub; `digest` is SHA-256 of its secret.

    With `union_id` it opens that union alone.
    """

    __tablename__ = "tokens"

    prefix: Mapped[str] = mapped_column(String(2 * PREFIX_BYTES), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    role: Mapped[Role] = mapped_column(enum_column(Role))
    name: Mapped[str] = mapped_column(String(LONGEST_NAME))
    union_id: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("expires_at > created_at", name="expires_later"),)


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who carries a token: `actor` is the word for them in the audit log."""

    prefix: str
    role: Role
    union_id: str | None

    @property
    def actor(self) -> str:
        """The bearer as the audit log names it."""
        return f"token:{self.prefix}"


def create(
    session: Session, role: Role, name: str, life: timedelta, union_id: str | None = None
) -> tuple[Token, str]:
    """Add a token; return it and its text, which is known at this moment only.

    Raises InvalidError for a name that is empty or too long, and for a life beyond a year.
    """
    name = name.strip()
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidError("name", f"must have 1 to {LONGEST_NAME} characters")
    if not timedelta() < life <= LONGEST_LIFE:
        raise InvalidError("days", f"must be between 1 and {LONGEST_LIFE.days}")
    secret, moment = secrets.token_urlsafe(SECRET_BYTES), now(session)
    token = Token(
        prefix=secrets.token_hex(PREFIX_BYTES),
        digest=_digest(secret),
        role=role,
        name=name,
        union_id=union_id,
        created_at=moment,
        expires_at=moment + life,
    )
    session.add(token)
    session.flush()
    return token, f"{token.prefix}.{secret}"


def revoke(session: Session, prefix: str) -> Token:
    """Revoke a token from now on; NotFoundError, and ConflictError where it is revoked already."""
    token = session.get(Token, prefix, with_for_update=True)
    if token is None:
        raise NotFoundError(f"there is no token {prefix!r}")
    if token.revoked_at is not None:
        raise ConflictError(f"the token {prefix!r} is revoked already")
    token.revoked_at = now(session)
    session.flush()
    return token


def read(session: Session, text: str) -> tuple[Bearer, bool]:
    """Return who carries this token, and whether its time of last use is to be noted anew.

    Raises UnauthenticatedError, in the same words whatever is wrong with it.
    """
    prefix, _, secret = text.partition(".")
    is_sound = text.isascii() and len(text) <= LONGEST_TEXT
    token = session.get(Token, prefix) if is_sound else None
    expected = "" if token is None else token.digest
    # Compared in any case and in constant time, so that how long it takes tells nothing.
    is_right = hmac.compare_digest(_digest(secret), expected.ljust(64))
    moment = now(session)
    if token is None or not is_right or token.revoked_at or token.expires_at <= moment:
        raise UnauthenticatedError(WRONG)
    is_due = token.last_used_at is None or moment - token.last_used_at >= NOTED_EACH
    return Bearer(token.prefix, token.role, token.union_id), is_due


def note_use(session: Session, prefix: str) -> None:
    """Write down that a token was used now."""
    session.execute(update(Token).where(Token.prefix == prefix).values(last_used_at=now(session)))


def all_tokens(session: Session) -> list[Token]:
    """Return every token, the newest first."""
    return list(session.scalars(select(Token).order_by(Token.created_at.desc(), Token.prefix)))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
