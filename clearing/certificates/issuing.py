"""Certificates of committed rounds, from the database: signed once, told as often as asked."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain as chained
from threading import Lock
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Integer, and_, func, select
from sqlalchemy.orm import Session

from clearing import chain
from clearing.accounts import Account
from clearing.certificates import documents
from clearing.certificates.documents import FIRST_HASH, Header
from clearing.certificates.leaves import Price, Row, amount
from clearing.merkle import Tree
from clearing.rounds.model import Amendment, Round, RoundPrice, SetOff
from clearing.rounds.rows import rows as rows_of
from clearing.rounds.table import Rows, read_rows
from clearing.sealing import Seal
from commons import database
from commons.errors import LocalPayError, NotFoundError

_AT_ONCE: Final = 65_536


class _Trees:
    """The trees of the rounds that were asked for last.

    A committed round never changes, so what was built from one holds for good; a tree of 94,000
    rows takes a second to build and 8 MB to keep.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._kept: OrderedDict[UUID, Tree] = OrderedDict()

    def get(self, round_id: UUID) -> Tree | None:
        """Return a round's tree, where it is kept."""
        with self._lock:
            if round_id in self._kept:
                self._kept.move_to_end(round_id)
            return self._kept.get(round_id)

    def keep(self, round_id: UUID, tree: Tree) -> None:
        """Keep a round's tree, and let go of the one that was asked for longest ago."""
        with self._lock:
            self._kept[round_id] = tree
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


_TREES: Final = _Trees(2)


def certify(
    session: Session, found: Round, seal: Seal, table: Rows | None = None
) -> dict[str, Any]:
    """Return the public document of a round that is committed in this very transaction, signed.

    Its rows and prices are written, its `ended_at` and totals stand; the union's lock is held, so
    that certificates chain. `table` are its rows, where the caller still has them. The caller keeps
    the document, and its `hash`, with the round. Raises LocalPayError where the prices do not prove
    the round, or its totals are not its rows'.
    """
    public = _public(session, found, *_before(session, found), table)
    for name in ("obligations_total", "net_internal_debt", "cleared", "drawn"):
        if public[name] != amount(getattr(found, name)):
            raise LocalPayError(f"round {found.id}: its {name} is not what its rows come to")
    return seal.put(public, database.now(session))


def broken(session: Session) -> Iterator[str]:
    """Tell where certificates are not those of their rounds, or do not chain; else nothing.

    Who signed them is not checked; whom they were given to does that.
    """
    certified = session.scalars(select(Round).where(Round.certificate_hash.is_not(None))).all()
    last: dict[str, tuple[int, str]] = {}
    for found in sorted(certified, key=lambda one: (one.union_id, _number(one))):
        number, previous = last.get(found.union_id, (0, FIRST_HASH))
        try:
            wanted = _public(session, found, number + 1, previous)
        except LocalPayError as error:
            yield error.detail
        else:
            told = found.certificate or {}
            wrong = [name for name, value in wanted.items() if told.get(name) != value]
            wrong += sorted(told.keys() - wanted.keys() - {"service", "proof"})
            if wrong or found.certificate_hash != wanted["hash"]:
                told_of = ", ".join(wrong) or "certificate_hash"
                yield f"round {found.id}: its certificate is another: {told_of}"
        last[found.union_id] = number + 1, str(found.certificate_hash)


def _number(found: Round) -> int:
    number = (found.certificate or {}).get("number")
    return number if isinstance(number, int) else 0


def _public(
    session: Session, found: Round, number: int, previous: str, table: Rows | None = None
) -> dict[str, Any]:
    """Return a round's public document as its rows and prices make it, not signed."""
    if found.key is None or found.ended_at is None:
        raise LocalPayError(f"round {found.id}: is not committed, or is older than certificates")
    header = Header(
        round=str(found.id),
        union=found.union_id,
        number=number,
        previous=previous,
        proposed_at=chain.time_text(found.proposed_at),
        committed_at=chain.time_text(found.ended_at),
        credit_lines=found.credit_lines,
        amended=found.amended,
        waiting=found.waiting,
        released=found.released,
        released_value=found.released_value,
        released_bound=found.released_bound,
        released_exact=found.released_exact,
    )
    rows, prices = _streamed(session, found, table), _prices(session, found)
    return documents.build(header, rows, prices, found.key)[0]


def public(found: Round) -> dict[str, Any]:
    """Return a round's public document as it was signed; NotFoundError where it has none."""
    return _certified(found)[0]


def slice_of(session: Session, found: Round, group_id: str) -> dict[str, Any]:
    """Return what proves a round to a group: its rows, and what they are proven with.

    Raises NotFoundError where the round has no certificate or nothing in it is the group's.
    """
    public, key = _certified(found)
    tree = _tree(session, found, public, key)
    rows = _rows(session, found, group_id)
    if not rows:
        raise NotFoundError(f"group {group_id!r} has no part in round {found.id}")
    names = {name for row in rows for name in (row.debtor, row.creditor)}
    prices = [price for price in _prices(session, found) if price.account in names]
    return documents.slice_document(public, group_id, [*rows, *prices], key, tree)


def _tree(session: Session, found: Round, public: Mapping[str, Any], key: bytes) -> Tree:
    tree = _TREES.get(found.id)
    if tree is None:
        leaves: Iterator[Row | Price] = chained(_streamed(session, found), _prices(session, found))
        tree = documents.tree(str(found.id), leaves, key)
        if tree.root.hex() != public["root"]:
            raise LocalPayError(f"round {found.id}: its rows are not those of its root")
        _TREES.keep(found.id, tree)
    return tree


def full(session: Session, found: Round) -> dict[str, Any]:
    """Return everything that proves a round, or raise NotFoundError where it has no certificate."""
    public, key = _certified(found)
    return documents.full_document(public, [*_rows(session, found), *_prices(session, found)], key)


def _certified(found: Round) -> tuple[dict[str, Any], bytes]:
    if found.certificate is None or found.key is None:
        raise NotFoundError(f"round {found.id} has no certificate")
    return found.certificate, found.key


def _before(session: Session, found: Round) -> tuple[int, str]:
    """Return the number of the union's next certificate and the hash of the last one.

    By their numbers, not by time, which a clock that was set back would put out of order.
    """
    number = func.cast(Round.certificate["number"].as_string(), Integer)
    earlier = select(number, Round.certificate_hash).where(
        Round.union_id == found.union_id, Round.certificate_hash.is_not(None), Round.id != found.id
    )
    last = session.execute(earlier.order_by(number.desc()).limit(1)).first()
    if last is None:
        return 1, FIRST_HASH
    return last[0] + 1, str(last[1])


def _streamed(session: Session, found: Round, table: Rows | None = None) -> Iterator[Row]:
    """Return a round's rows one after the other, in no order; they are read where not given."""
    accounts = select(Account.id, Account.name).where(Account.union_id == found.union_id)
    name = dict(session.execute(accounts).all()).__getitem__
    if table is None:
        table = read_rows(session, Amendment if found.amended else SetOff, found.id)
    columns = list(table.columns().values())
    for start in range(0, len(columns[0]), _AT_ONCE):
        debtor, creditor, *amounts = (one[start : start + _AT_ONCE].tolist() for one in columns)
        yield from map(Row, map(name, debtor), map(name, creditor), *amounts)


def _rows(session: Session, found: Round, group_id: str | None = None) -> list[Row]:
    return [Row._make(part) for part in rows_of(session, found, group_id)]


def _prices(session: Session, found: Round) -> Sequence[Price]:
    same = and_(Account.id == RoundPrice.account_id, RoundPrice.round_id == found.id)
    query = select(Account.name, RoundPrice.price).join(RoundPrice, same)
    return [Price(*row) for row in session.execute(query.order_by(Account.id))]
