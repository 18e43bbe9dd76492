"""The changes of limits put into one hash chain an account, those that stand there already too."""

import sqlalchemy as sa
from alembic import op

from api.migrations.columns import INTEGER
from api.migrations.triggers import guard_again
from clearing import chain
from commons.database import UtcDateTime

_CHANGES = sa.table(
    "limit_changes",
    sa.column("id", INTEGER),
    sa.column("account_id", INTEGER),
    sa.column("counterparty_id", INTEGER),
    sa.column("kind", sa.String()),
    sa.column("warn", INTEGER),
    sa.column("stop", INTEGER),
    sa.column("used", INTEGER),
    sa.column("changed_at", UtcDateTime()),
    sa.column("hash", sa.String()),
)
_ACCOUNTS = sa.table(
    "accounts",
    sa.column("id", INTEGER),
    sa.column("union_id", sa.String()),
    sa.column("name", sa.String()),
)


def limits_in_a_chain() -> None:
    """Add the chain's column and fill it, for which the guards are taken off for the while."""
    op.add_column("limit_changes", sa.Column("hash", sa.String(length=64), nullable=True))
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    if on_sqlite:
        op.execute("DROP TRIGGER limit_changes_no_update")
        op.execute("DROP TRIGGER limit_changes_no_delete")
    else:
        op.execute("ALTER TABLE limit_changes DISABLE TRIGGER USER")
    _chain_what_stands()
    with op.batch_alter_table("limit_changes", schema=None) as batch_op:
        batch_op.alter_column("hash", existing_type=sa.String(length=64), nullable=False)
    if not on_sqlite:
        op.execute("ALTER TABLE limit_changes ENABLE TRIGGER USER")
    guard_again("limit_changes")


def _chain_what_stands() -> None:
    bind = op.get_bind()
    heads = {
        account.id: chain.first_hash(account.union_id, account.name)
        for account in bind.execute(sa.select(_ACCOUNTS))
    }
    for change in bind.execute(sa.select(_CHANGES).order_by(_CHANGES.c.id)).all():
        row = {
            "account": change.account_id,
            "counterparty": change.counterparty_id,
            "kind": change.kind,
            "warn": change.warn,
            "stop": change.stop,
            "used": change.used,
            "time": chain.time_text(change.changed_at),
        }
        texts = {name: "" if value is None else str(value) for name, value in row.items()}
        heads[change.account_id] = chain.digest({"previous": heads[change.account_id], **texts})
        values = {"hash": heads[change.account_id]}
        bind.execute(sa.update(_CHANGES).where(_CHANGES.c.id == change.id).values(values))
