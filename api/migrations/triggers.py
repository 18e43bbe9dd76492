"""Append-only tables in migrations: how they are made and how a draft writes them down."""

from dataclasses import dataclass

from alembic import op
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrateOperation

from commons.database import append_only_ddl


def append_only(table_name: str) -> None:
    """Have the database refuse UPDATE and DELETE on the table, in the migration that makes it."""
    for statement in append_only_ddl(table_name, op.get_bind().dialect.name):
        op.execute(statement)


def guard_again(table_name: str) -> None:
    """Guard a table that SQLite made anew for a change: its triggers went with the old one."""
    if op.get_bind().dialect.name == "sqlite":
        append_only(table_name)


@dataclass
class AppendOnly(MigrateOperation):
    """The step of a draft that makes a table append-only."""

    table_name: str


@renderers.dispatch_for(AppendOnly)
def _render(autogen: AutogenContext, step: AppendOnly) -> str:
    autogen.imports.add("from api.migrations.triggers import append_only")
    return f'append_only("{step.table_name}")'
