"""All that a database holds, to be compared before and after what must have no effect."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Engine

from api.tables import metadata
from commons.database import reading

NOT_COMPARED: Final = frozenset({"nonces"})
"""A signed call uses its nonce up, whatever else it is refused for."""

Everything = Mapping[str, list[str]]


def everything(engine: Engine) -> Everything:
    """Return every row of every table, but for what a refused call may leave."""
    tables = [table for table in metadata.sorted_tables if table.name not in NOT_COMPARED]
    with reading(engine) as session:
        return {
            table.name: sorted(repr(tuple(row)) for row in session.execute(table.select()))
            for table in tables
        }
