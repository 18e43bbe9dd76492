"""Published roots: once a day, one signed hash over the heads of all accounts, chained by days.

Hubs compare it with each other, so that no two of them can be shown two histories. A root is that
of a Merkle tree (`clearing.merkle`) whose leaves are the accounts that have entries, as canonical
JSON, in the order of union and name.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any, Final

from sqlalchemy import CheckConstraint, ForeignKey, Select, String, and_, func, insert, select
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from clearing import chain, merkle
from clearing.accounts import Account
from clearing.ledger import ChainRow, Journal
from clearing.sealing import Seal
from commons import database
from commons.database import Base
from commons.errors import NotFoundError

GRACE: Final = timedelta(minutes=10)
"""How long after midnight a day is over: a payment of before may be committed a moment later."""

FIRST_HASH: Final = hashlib.sha256(b"localpay published roots").hexdigest()
MOST_LISTED: Final = 100
_DAY: Final = timedelta(days=1)


class PublishedRoot(Base):
    """The root of one day, over so many accounts; `document` is what was signed and published.

    Its hash is SHA-256(previous hash as 32 bytes ‖ canonical JSON of day, accounts and root).
    """

    __tablename__ = "published_roots"

    day: Mapped[date] = mapped_column(primary_key=True)
    accounts: Mapped[int]
    root: Mapped[str] = mapped_column(String(chain.DIGEST_HEX_LENGTH))
    previous: Mapped[str] = mapped_column(String(chain.DIGEST_HEX_LENGTH))
    hash: Mapped[str] = mapped_column(String(chain.DIGEST_HEX_LENGTH))
    document: Mapped[dict[str, Any]]

    __table_args__ = (CheckConstraint("accounts >= 0", name="accounts_not_negative"),)


class PublishedHead(Base):
    """An account in the root of a day; written only where it differs from the root before."""

    __tablename__ = "published_heads"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    day: Mapped[date] = mapped_column(ForeignKey("published_roots.day"), primary_key=True)
    version: Mapped[int]
    head: Mapped[str] = mapped_column(String(chain.DIGEST_HEX_LENGTH))


for _model in (PublishedRoot, PublishedHead):
    database.append_only(_model)


_PUBLISHED: Final = select(
    Account.id, Account.union_id, Account.name, PublishedHead.version, PublishedHead.head
).join(PublishedHead, PublishedHead.account_id == Account.id)


@dataclass(frozen=True, order=True)
class Leaf:
    """An account at the end of a day."""

    union: str
    account: str
    version: int
    head: str

    def canonical(self) -> bytes:
        """Return the bytes that it stands in the tree with."""
        return chain.canonical({**asdict(self), "version": str(self.version)})


def hash_of(previous: str, day: str, accounts: int, root: str) -> str:
    """Return the hash, in hex, of a day's root after that of the root before."""
    row = {"day": day, "accounts": str(accounts), "root": root}
    return hashlib.sha256(bytes.fromhex(previous) + chain.canonical(row)).hexdigest()


def due_day(session: Session) -> date | None:
    """Return the day whose root is to be published next, None while there is none.

    The first is the day of the first journal; days that were missed come one after the other.
    """
    last = session.scalar(select(func.max(PublishedRoot.day)))
    if last is not None:
        day = last + _DAY
    else:
        first = session.scalar(select(func.min(Journal.posted_at)))
        if first is None:
            return None
        day = first.astimezone(UTC).date()
    return day if _end(day) + GRACE <= database.now(session) else None


def publish(session: Session, day: date, seal: Seal) -> PublishedRoot:
    """Publish the root of `day`, which has to be the due one."""
    earlier = select(PublishedRoot.hash).where(PublishedRoot.day < day)
    previous = session.scalar(earlier.order_by(PublishedRoot.day.desc()).limit(1)) or FIRST_HASH
    standing = _heads(session, day)
    now = _heads_before(session, _end(day))
    # Were the clock ever set back, an account could seem to have gone back with it.
    fresh = {
        key: leaf
        for key, leaf in now.items()
        if key not in standing or standing[key].version < leaf.version
    }
    leaves = {**standing, **fresh}
    root = merkle.root([leaf.canonical() for leaf in sorted(leaves.values())]).hex()
    document = {
        "day": day.isoformat(),
        "accounts": len(leaves),
        "root": root,
        "previous": previous,
        "hash": hash_of(previous, day.isoformat(), len(leaves), root),
    }
    published = PublishedRoot(
        day=day,
        accounts=len(leaves),
        root=root,
        previous=previous,
        hash=document["hash"],
        document=seal.put(document, database.now(session)),
    )
    session.add(published)
    session.flush()
    if fresh:
        session.execute(
            insert(PublishedHead),
            [
                {"account_id": key, "day": day, "version": leaf.version, "head": leaf.head}
                for key, leaf in fresh.items()
            ],
        )
    return published


def _end(day: date) -> datetime:
    return datetime.combine(day + _DAY, time_of_day(), UTC)


def _heads_before(session: Session, moment: datetime) -> dict[int, Leaf]:
    """Return all accounts that had entries before `moment` as they were then, by id."""
    last = (
        select(ChainRow.version)
        .where(ChainRow.account_id == Account.id, ChainRow.posted_at < moment)
        .order_by(ChainRow.posted_at.desc(), ChainRow.version.desc())
        .limit(1)
        .correlate(Account)
        .scalar_subquery()
    )
    same = and_(ChainRow.account_id == Account.id, ChainRow.version == last)
    columns = Account.id, Account.union_id, Account.name, ChainRow.version, ChainRow.hash
    return _leaves(session, select(*columns).join(ChainRow, same))


def _heads(session: Session, day: date) -> dict[int, Leaf]:
    """Return the accounts as they were last published up to `day`, by id."""
    head = aliased(PublishedHead)
    # Looked up for each account in the key's order: days of long ago are not gone through.
    last = (
        select(head.day)
        .where(head.account_id == Account.id, head.day <= day)
        .order_by(head.day.desc())
        .limit(1)
        .correlate(Account)
        .scalar_subquery()
    )
    return _leaves(session, _PUBLISHED.where(PublishedHead.day == last))


def _leaves(session: Session, query: Select[int, str, str, int, str]) -> dict[int, Leaf]:
    """Return leaves by their account's id; the query gives that, union, name, version and head."""
    rows = session.execute(query)
    return {key: Leaf(union, name, version, head) for key, union, name, version, head in rows}


def latest(session: Session, before: date | None = None) -> Sequence[PublishedRoot]:
    """Return published roots, newest first, a hundred at most; those before a day if given."""
    query = select(PublishedRoot).order_by(PublishedRoot.day.desc()).limit(MOST_LISTED)
    if before is not None:
        query = query.where(PublishedRoot.day < before)
    return session.scalars(query).all()


def find(session: Session, day: date) -> PublishedRoot:
    """Return the root of a day, or raise NotFoundError."""
    found = session.get(PublishedRoot, day)
    if found is None:
        raise NotFoundError(f"no root was published for {day}")
    return found


def inclusion(session: Session, account: Account, day: date) -> dict[str, Any]:
    """Return the proof that an account is in a day's root, with that root.

    `path` are the hashes beside the way from its leaf to the root. NotFoundError where the
    account had no entries yet.
    """
    published = find(session, day)
    heads = _heads(session, day)
    if account.id not in heads:
        raise NotFoundError(f"account {account.name} had no entries on {day}")
    leaves = sorted(heads.values())
    index = leaves.index(heads[account.id])
    path = merkle.path([leaf.canonical() for leaf in leaves], index)
    return {
        **asdict(heads[account.id]),
        "index": index,
        "path": [beside.hex() for beside in path],
        "published": published.document,
    }


def broken(session: Session) -> Iterator[str]:
    """Tell where published roots and the accounts' chains disagree; nothing where they do not."""
    yield from _changed_heads(session)
    leaves: dict[int, Leaf] = {}
    previous, day, root = FIRST_HASH, None, merkle.root([]).hex()
    for published in session.scalars(select(PublishedRoot).order_by(PublishedRoot.day)):
        if day is not None and published.day != day + _DAY:
            yield f"the root of {day + _DAY} is missing"
        fresh = _leaves(session, _PUBLISHED.where(PublishedHead.day == published.day))
        if fresh:
            leaves.update(fresh)
            root = merkle.root([leaf.canonical() for leaf in sorted(leaves.values())]).hex()
        told = {
            "day": published.day.isoformat(),
            "accounts": len(leaves),
            "root": root,
            "previous": previous,
            "hash": hash_of(previous, published.day.isoformat(), len(leaves), root),
        }
        if not _tells(published, told):
            yield f"the root of {published.day} is not that of the heads published then"
        previous, day = published.hash, published.day


def _tells(published: PublishedRoot, told: Mapping[str, Any]) -> bool:
    """Tell whether a root's row and its document both say what they have to."""
    return all(
        published.document.get(name) == value
        and (name == "day" or getattr(published, name) == value)
        for name, value in told.items()
    )


def _changed_heads(session: Session) -> Iterator[str]:
    rows = session.execute(
        select(Account.name, PublishedHead.version, PublishedHead.day)
        .join(PublishedHead, PublishedHead.account_id == Account.id)
        .outerjoin(
            ChainRow,
            and_(
                ChainRow.account_id == PublishedHead.account_id,
                ChainRow.version == PublishedHead.version,
            ),
        )
        .where(func.coalesce(ChainRow.hash, "") != PublishedHead.head)
    )
    for name, version, day in rows:
        yield f"account {name}: version {version} is not what was published for {day}"
