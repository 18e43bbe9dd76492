"""The accounts that a figure is about, and by what name each is told: group, region or union."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing.accounts import Account, AccountKind
from clearing.columns import Numbers
from clearing.network.answers import Asked, Cell, Column, Grain

UNKNOWN: Final = "unknown"
"""The region of a group that says of no place."""

UNION: Final = Column("union", "id", "The union.")
NAMED: Final[Mapping[Grain, tuple[Column, ...]]] = {
    Grain.UNION: (),
    Grain.REGION: (
        Column("region", "name", "Where the groups are; or the union's own account of this name."),
    ),
    Grain.GROUP: (Column("group", "id", "The group, or the union's own account of this name."),),
}
"""The columns by which a row is told besides its union."""


@dataclass(frozen=True, slots=True)
class Node:
    """An account as it is known by: its union, its group where it has one, its kind and name."""

    id: int
    union_id: str
    group_id: str | None
    kind: AccountKind
    name: str

    @property
    def is_main(self) -> bool:
        """Whether it is none that takes rounding."""
        return self.kind is not AccountKind.RESIDUE


def nodes(session: Session, asked: Asked) -> list[Node]:
    """Return the accounts of the union that is asked for, or of all, by union and name."""
    query = select(Account.id, Account.union_id, Account.group_id, Account.kind, Account.name)
    if asked.union_id is not None:
        query = query.where(Account.union_id == asked.union_id)
    rows = session.execute(query.order_by(Account.union_id, Account.name))
    return [Node(*row) for row in rows]


def label(union_id: str, group_id: str | None, name: str, asked: Asked) -> tuple[str, str]:
    """Return union and name that an account is told by.

    The union's own accounts keep theirs, since they are nowhere.
    """
    if asked.by is Grain.UNION:
        return union_id, ""
    if group_id is None:
        return union_id, name
    return union_id, asked.regions.get(group_id, UNKNOWN) if asked.by is Grain.REGION else group_id


def labels(found: Sequence[Node], asked: Asked) -> tuple[list[tuple[str, str]], Numbers]:
    """Return the labels of nodes in their order, each once, and which of them each node has."""
    each = [label(node.union_id, node.group_id, node.name, asked) for node in found]
    ordered = sorted(set(each))
    place = {key: n for n, key in enumerate(ordered)}
    return ordered, np.array([place[key] for key in each], dtype=np.int64)


def rows_of(
    keys: Sequence[tuple[str, str]], asked: Asked, cells: Iterable[Sequence[Cell]]
) -> Iterator[Sequence[Cell]]:
    """Yield rows: the columns that a label makes, then its cells."""
    for (union_id, name), own in zip(keys, cells, strict=True):
        yield (union_id, *own) if asked.by is Grain.UNION else (union_id, name, *own)
