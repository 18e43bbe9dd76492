"""`localpay database grant`: a role that can add to the ledger and cannot rewrite it."""

from typing import Annotated, Final

import typer
from sqlalchemy import Connection, text

from api.tables import metadata
from api.terminal import operator_engine, print_json
from commons.errors import ConflictError, NotFoundError

READ_ONLY: Final = ("alembic_version",)

app: Final = typer.Typer(help="The database server: what the service's own role may do.")


@app.callback()
def database() -> None:
    """Keep `grant` a command of its own beside those that may come."""


@app.command("grant")
def grant(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="A role of the PostgreSQL server.")],
) -> None:
    """Grant a PostgreSQL role what the service needs, and no more: INSERT alone on the ledger.

    Run it as the owner of the tables, again after each `localpay migrate`. What the role was
    granted on the tables before is taken from it first.
    """
    with operator_engine() as engine:
        if engine.dialect.name != "postgresql":
            raise ConflictError("roles are a matter of PostgreSQL; SQLite has none")
        with engine.begin() as connection:
            _check(connection, role)
            told = _grant(connection, engine.dialect.identifier_preparer.quote(role))
    print_json({"role": role, **told})


def _check(connection: Connection, role: str) -> None:
    query = text(
        "SELECT rolsuper, pg_has_role(oid, current_user, 'MEMBER') FROM pg_roles"
        " WHERE rolname = :role"
    )
    found = connection.execute(query, {"role": role}).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no role {role!r}; make it with CREATE ROLE … LOGIN")
    if any(found):
        raise ConflictError(f"role {role!r} is a superuser or the owner's, and would not be bound")


def _grant(connection: Connection, role: str) -> dict[str, int]:
    appended = [table.name for table in metadata.sorted_tables if "append_only" in table.info]
    changed = [table.name for table in metadata.sorted_tables if "append_only" not in table.info]
    connection.execute(text(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}"))
    for tables, rights in (
        (changed, "SELECT, INSERT, UPDATE, DELETE"),
        (appended, "SELECT, INSERT"),
        (READ_ONLY, "SELECT"),
    ):
        connection.execute(text(f"GRANT {rights} ON {', '.join(tables)} TO {role}"))
    connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {role}"))
    connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"))
    return {"append_only": len(appended), "changed": len(changed)}
