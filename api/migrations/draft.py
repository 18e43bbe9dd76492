"""Drafts a migration from what the models have and the database has not.

`python -m api.migrations.draft "Listings are kept" marketplace` compares the tables of one
package (or of all, when none is named) with a database that all present migrations made. A
draft is read and corrected by a person before it is committed.
"""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from alembic import command
from alembic.operations.ops import CreateTableOp, MigrationScript
from sqlalchemy import Table

from api.migrations import config_for, upgrade_engine
from api.migrations.triggers import AppendOnly
from api.tables import metadata
from commons.database import Base, make_engine


def draft(message: str, package: str | None) -> Path | None:
    """Write the migration and return its file, or None where nothing has changed."""
    with TemporaryDirectory() as folder:
        engine = make_engine(f"sqlite:///{folder}/empty.sqlite")
        upgrade_engine(engine)
        with engine.connect() as connection:
            config = config_for(connection)
            config.attributes["include_object"] = _only(package)
            versions = Path(__file__).parent / "versions"
            number = 1 + len(list(versions.glob("[0-9]*.py")))
            script = command.revision(
                config,
                message,
                autogenerate=True,
                rev_id=f"{number:04}",
                process_revision_directives=_finish,
            )
        engine.dispose()
    if script is None or isinstance(script, list):
        return None
    path = Path(script.path)
    _tidy(path)
    path.write_text(by_table(path.read_text(encoding="utf-8")), encoding="utf-8")
    _tidy(path)
    return path


def by_table(source: str) -> str:
    """Return a migration with one function for each table that `upgrade` deals with."""
    lines = source.splitlines()
    upgrade = next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    steps: dict[str, list[str]] = {}
    for statement in upgrade.body[1:]:
        text = lines[statement.lineno - 1 : statement.end_lineno]
        steps.setdefault(_table_of(statement), []).extend(text)
    if "" in steps or not steps:
        return source
    functions = [
        "\n".join([f"def _{table}() -> None:", *step, "", ""]) for table, step in steps.items()
    ]
    head = lines[: upgrade.body[0].end_lineno]
    calls = [f"    _{table}()" for table in steps]
    return "\n".join([*head, *calls, "", "", *functions])


def _table_of(statement: ast.stmt) -> str:
    """Return the table that a step names first; empty where it names none."""
    call = statement.items[0].context_expr if isinstance(statement, ast.With) else None
    if isinstance(statement, ast.Expr):
        call = statement.value
    if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant):
        return str(call.args[0].value)
    return ""


def _tidy(path: Path) -> None:
    """Drop Alembic's comments and what is not used, and format."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "# ###" not in line), encoding="utf-8")
    for tool in (["check", "--fix", "--quiet", "--ignore", "E501"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *tool, path], check=False)  # noqa: S603 (our own tool on our own file)


def _only(package: str | None) -> Callable[..., bool]:
    owners = {
        table.name: mapper.class_.__module__.split(".")[0]
        for mapper in Base.registry.mappers
        if isinstance(table := mapper.local_table, Table)
    }

    def wanted(item: Any, name: str | None, kind: str, *_: object) -> bool:  # noqa: ANN401 (whatever Alembic compares)
        if package is None:
            return True
        table = name if kind == "table" else item.table.name
        return owners.get(str(table)) == package

    return wanted


def _finish(_context: object, _revision: object, scripts: list[MigrationScript]) -> None:
    """Drop a draft without content, and add the triggers of append-only tables."""
    script = scripts[0]
    operations = script.upgrade_ops
    if operations is None or operations.is_empty():
        scripts[:] = []
        return
    created = [op.table_name for op in operations.ops if isinstance(op, CreateTableOp)]
    # A table listens to its own creation only to be made append-only.
    guarded = [name for name in created if "append_only" in metadata.tables[name].info]
    operations.ops.extend(AppendOnly(name) for name in guarded)


if __name__ == "__main__":
    written = draft(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)  # noqa: PLR2004 (message and package)
    sys.stdout.write(f"{written or 'nothing to migrate'}\n")
