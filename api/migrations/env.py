"""What Alembic runs: the migrations, on the connection that it was handed."""

from typing import Any, Final, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import BigInteger, Enum

from api.tables import metadata
from commons.database import UtcDateTime

TYPES: Final = "from api.migrations.columns import INTEGER, MOMENT, one_of"


def render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:  # noqa: ANN401 (whatever Alembic renders)
    """Write our column types by what they are in the database, since migrations outlive them."""
    if kind != "type":
        return False
    written: str | None = None
    if isinstance(item, UtcDateTime):
        written = "MOMENT"
    elif isinstance(item, BigInteger):
        written = "INTEGER"
    elif isinstance(item, Enum):
        written = f"one_of({', '.join(map(repr, [item.name, *item.enums]))})"
    if written is None:
        return False
    autogen.imports.add(TYPES)
    return written


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_item=render,
    include_object=context.config.attributes.get("include_object"),
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
