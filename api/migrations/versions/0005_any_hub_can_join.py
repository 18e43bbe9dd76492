"""Any hub can join."""

import sqlalchemy as sa
from alembic import op

from api.migrations.columns import INTEGER, MOMENT, one_of

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Any hub can join."""
    _groups()
    _hubs()
    _peers()


def _groups() -> None:
    with op.batch_alter_table("groups", schema=None) as batch_op:
        batch_op.alter_column("currency_id", existing_type=INTEGER, nullable=True)


def _hubs() -> None:
    with op.batch_alter_table("hubs", schema=None) as batch_op:
        batch_op.alter_column("rate_wanted", existing_type=sa.String(length=32), nullable=True)


def _peers() -> None:
    kinds = one_of(
        "peer_kind",
        "activitypub",
        "instance",
        "relay",
        "komunitin",
        "murmurations",
        "ces",
        "timeoverflow",
        "fasp",
        "push",
    )
    with op.batch_alter_table("peers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", kinds, nullable=True))
        batch_op.add_column(sa.Column("found_by", sa.String(length=2048), nullable=True))
        batch_op.add_column(sa.Column("crawl_began_at", MOMENT, nullable=True))
        batch_op.alter_column("group_id", existing_type=sa.String(length=40), nullable=True)
    op.execute("UPDATE peers SET kind = 'activitypub', found_by = 'its registration'")
    with op.batch_alter_table("peers", schema=None) as batch_op:
        batch_op.alter_column("kind", existing_type=kinds, nullable=False)
        batch_op.alter_column("found_by", existing_type=sa.String(length=2048), nullable=False)
