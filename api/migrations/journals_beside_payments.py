"""The tables of what is posted beside payments, made by migration 0006."""

import sqlalchemy as sa
from alembic import op

from api.migrations.columns import INTEGER, MOMENT, one_of
from api.migrations.triggers import append_only


def journals_beside_payments() -> None:
    """Make the tables of adjustments, disputes, levies and periods."""
    _adjustments()
    _disputes()
    _levy_changes()
    _period_ends()


def _levy_changes() -> None:
    op.create_table(
        "levy_changes",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("union_id", sa.String(length=40), nullable=False),
        sa.Column("share", sa.String(length=32), nullable=True),
        sa.Column("valid_from", MOMENT, nullable=False),
        sa.Column("known_from", MOMENT, nullable=False),
        sa.CheckConstraint(
            "known_from <= valid_from", name=op.f("ck_levy_changes_known_before_valid")
        ),
        sa.ForeignKeyConstraint(["union_id"], ["unions.id"], name=op.f("fk_levy_changes_union_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_levy_changes")),
    )
    op.create_index(op.f("ix_levy_changes_union_id"), "levy_changes", ["union_id"])
    append_only("levy_changes")


def _period_ends() -> None:
    op.create_table(
        "period_ends",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("union_id", sa.String(length=40), nullable=False),
        sa.Column("until", sa.Date(), nullable=False),
        sa.Column("closed_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["union_id"], ["unions.id"], name=op.f("fk_period_ends_union_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_period_ends")),
        sa.UniqueConstraint("union_id", "until", name=op.f("uq_period_ends_union_id_until")),
    )
    append_only("period_ends")


def _adjustments() -> None:
    op.create_table(
        "adjustments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("union_id", sa.String(length=40), nullable=False),
        sa.Column(
            "kind",
            one_of("adjustment_kind", "settlement", "assignment", "opening"),
            nullable=False,
        ),
        sa.Column(
            "state",
            one_of("adjustment_state", "proposed", "posted", "declined", "cancelled", "expired"),
            nullable=False,
        ),
        sa.Column("debtor_id", INTEGER, nullable=False),
        sa.Column("creditor_id", INTEGER, nullable=False),
        sa.Column("proposed_by", sa.String(length=40), nullable=True),
        sa.Column("amount", INTEGER, nullable=False),
        sa.Column("value_date", sa.Date(), nullable=True),
        sa.Column("note", sa.String(length=500), nullable=True),
        sa.Column("debtor_agreed_at", MOMENT, nullable=True),
        sa.Column("creditor_agreed_at", MOMENT, nullable=True),
        sa.Column("key", sa.LargeBinary(length=32), nullable=True),
        sa.Column("kept_digests", sa.JSON(), nullable=True),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "debtor_id <> creditor_id", name=op.f("ck_adjustments_between_two_accounts")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_adjustments_amount_positive")),
        sa.CheckConstraint(
            "(state = 'proposed') = (ended_at IS NULL)",
            name=op.f("ck_adjustments_ended_unless_proposed"),
        ),
        sa.CheckConstraint(
            "state <> 'posted' OR (debtor_agreed_at IS NOT NULL"
            " AND creditor_agreed_at IS NOT NULL)",
            name=op.f("ck_adjustments_posted_if_both_agreed"),
        ),
        *_between_accounts("adjustments", "proposed_by"),
    )
    for columns in (["debtor_id"], ["creditor_id"], ["state", "expires_at"]):
        op.create_index(op.f(f"ix_adjustments_{'_'.join(columns)}"), "adjustments", columns)


def _disputes() -> None:
    op.create_table(
        "disputes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("union_id", sa.String(length=40), nullable=False),
        sa.Column("state", one_of("dispute_state", "standing", "lifted"), nullable=False),
        sa.Column("debtor_id", INTEGER, nullable=False),
        sa.Column("creditor_id", INTEGER, nullable=False),
        sa.Column("marked_by", sa.String(length=40), nullable=False),
        sa.Column("amount", INTEGER, nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("marked_at", MOMENT, nullable=False),
        sa.Column("lifted_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "debtor_id <> creditor_id", name=op.f("ck_disputes_between_two_accounts")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_disputes_amount_positive")),
        sa.CheckConstraint(
            "(state = 'standing') = (lifted_at IS NULL)",
            name=op.f("ck_disputes_lifted_unless_standing"),
        ),
        *_between_accounts("disputes", "marked_by"),
    )
    for columns in (["debtor_id", "creditor_id"], ["creditor_id"]):
        op.create_index(op.f(f"ix_disputes_{'_'.join(columns)}"), "disputes", columns)


def _between_accounts(table: str, by: str) -> list[sa.schema.Constraint]:
    """Return the keys of a table of what stands between two accounts, said by a group."""
    targets = {
        "union_id": "unions.id",
        "debtor_id": "accounts.id",
        "creditor_id": "accounts.id",
        by: "groups.id",
    }
    return [
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        *(
            sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_{table}_{column}"))
            for column, target in targets.items()
        ),
    ]
