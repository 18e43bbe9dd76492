"""Migration 0006: the roots that are published each day, and the heads in them."""

import sqlalchemy as sa
from alembic import op

from api.migrations.columns import INTEGER
from api.migrations.triggers import append_only


def published_roots() -> None:
    """Make the tables of published roots and heads."""
    op.create_table(
        "published_roots",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("accounts", INTEGER, nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.CheckConstraint("accounts >= 0", name=op.f("ck_published_roots_accounts_not_negative")),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_published_roots")),
    )
    append_only("published_roots")
    op.create_table(
        "published_heads",
        sa.Column("account_id", INTEGER, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("version", INTEGER, nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_published_heads_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["day"], ["published_roots.day"], name=op.f("fk_published_heads_day")
        ),
        sa.PrimaryKeyConstraint("account_id", "day", name=op.f("pk_published_heads")),
    )
    append_only("published_heads")
