"""The tables of webhooks and of proposed rates, made by migration 0006."""

import sqlalchemy as sa
from alembic import op

from api.migrations.columns import INTEGER, MOMENT, one_of


def webhooks_and_rates() -> None:
    """Make the tables of webhooks and of proposed rates."""
    _webhooks()
    _rate_proposals()


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column("url", sa.String(length=2048), nullable=True),
        sa.Column("delivered", INTEGER, nullable=False),
        sa.Column("delivered_at", MOMENT, nullable=True),
        sa.Column("stopped_at", MOMENT, nullable=True),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("last_error", sa.String(length=1000), nullable=True),
        sa.CheckConstraint("delivered >= 0", name=op.f("ck_webhooks_delivered_not_negative")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_webhooks_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
        sa.UniqueConstraint("group_id", name=op.f("uq_webhooks_group_id")),
    )
    op.create_index(op.f("ix_webhooks_due_at"), "webhooks", ["due_at"])


def _rate_proposals() -> None:
    op.create_table(
        "rate_proposals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column("side", one_of("rate_side", "hub", "operator"), nullable=False),
        sa.Column(
            "state",
            one_of("proposal_state", "proposed", "agreed", "declined", "withdrawn"),
            nullable=False,
        ),
        sa.Column("rate", sa.String(length=32), nullable=False),
        sa.Column("wanted_from", MOMENT, nullable=True),
        sa.Column("proposed_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("valid_from", MOMENT, nullable=True),
        sa.CheckConstraint(
            "(state = 'proposed') = (ended_at IS NULL)",
            name=op.f("ck_rate_proposals_ended_unless_proposed"),
        ),
        sa.CheckConstraint(
            "(state = 'agreed') = (valid_from IS NOT NULL)",
            name=op.f("ck_rate_proposals_valid_if_agreed"),
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("fk_rate_proposals_group_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rate_proposals")),
    )
    op.create_index(op.f("ix_rate_proposals_group_id"), "rate_proposals", ["group_id"])
    op.create_index(
        "uq_rate_proposals_one_proposed",
        "rate_proposals",
        ["group_id"],
        unique=True,
        sqlite_where=sa.text("state = 'proposed'"),
        postgresql_where=sa.text("state = 'proposed'"),
    )
