"""Migration 0006: keys that wait for the operator, and the tokens of analysts and operators."""

import sqlalchemy as sa
from alembic import op

from api.migrations.columns import MOMENT, one_of


def keys_and_tokens() -> None:
    """Let keys wait; those that are there are confirmed, and the actor revoked the revoked."""
    with op.batch_alter_table("hub_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("confirmed_at", MOMENT, nullable=True))
        batch_op.add_column(sa.Column("revoked_by", sa.String(length=60), nullable=True))
    op.execute("UPDATE hub_keys SET confirmed_at = added_at")
    op.execute("UPDATE hub_keys SET revoked_by = 'actor' WHERE revoked_at IS NOT NULL")
    op.create_table(
        "tokens",
        sa.Column("prefix", sa.String(length=12), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("role", one_of("role", "analyst", "operator"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("union_id", sa.String(length=40), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("last_used_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_tokens_expires_later")),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_tokens")),
    )
