"""Create the ledger."""

import sqlalchemy as sa
from alembic import op

from api.migrations.columns import INTEGER, MOMENT, one_of
from api.migrations.triggers import append_only

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the ledger."""
    _unions()
    _journals()
    _rounds()
    _accounts()
    _rates()
    _transfers()
    _chain_rows()
    _entries()
    _limit_changes()
    _positions()
    _set_offs()


def _unions() -> None:
    op.create_table(
        "unions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unions")),
    )


def _journals() -> None:
    op.create_table(
        "journals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("union_id", sa.String(length=40), nullable=False),
        sa.Column("kind", one_of("journal_kind", "payment", "set-off"), nullable=False),
        sa.Column("posted_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["union_id"], ["unions.id"], name=op.f("fk_journals_union_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journals")),
    )
    with op.batch_alter_table("journals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_journals_posted_at"), ["posted_at"], unique=False)
    append_only("journals")


def _rounds() -> None:
    op.create_table(
        "rounds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("union_id", sa.String(length=40), nullable=False),
        sa.Column(
            "state", one_of("round_state", "proposed", "committed", "abandoned"), nullable=False
        ),
        sa.Column("obligations_total", INTEGER, nullable=False),
        sa.Column("net_internal_debt", INTEGER, nullable=False),
        sa.Column("cleared", INTEGER, nullable=False),
        sa.Column("proposed_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "(state = 'proposed') = (ended_at IS NULL)",
            name=op.f("ck_rounds_ended_unless_proposed"),
        ),
        sa.CheckConstraint(
            "cleared >= 0 AND cleared <= obligations_total - net_internal_debt",
            name=op.f("ck_rounds_cleared_in_bounds"),
        ),
        sa.ForeignKeyConstraint(["union_id"], ["unions.id"], name=op.f("fk_rounds_union_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rounds")),
    )
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rounds_union_id"), ["union_id"], unique=False)
        batch_op.create_index(
            "uq_rounds_one_proposed",
            ["union_id"],
            unique=True,
            sqlite_where=sa.text("state = 'proposed'"),
            postgresql_where=sa.text("state = 'proposed'"),
        )


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("union_id", sa.String(length=40), nullable=False),
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column("kind", one_of("account_kind", "group", "residue"), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("balance", INTEGER, nullable=False),
        sa.Column("pending_out", INTEGER, nullable=False),
        sa.Column("pending_in", INTEGER, nullable=False),
        sa.Column("credit_limit", INTEGER, nullable=True),
        sa.Column("surplus_limit", INTEGER, nullable=True),
        sa.Column("version", INTEGER, nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.CheckConstraint("credit_limit >= 0", name=op.f("ck_accounts_credit_limit_not_negative")),
        sa.CheckConstraint("pending_in >= 0", name=op.f("ck_accounts_pending_in_not_negative")),
        sa.CheckConstraint("pending_out >= 0", name=op.f("ck_accounts_pending_out_not_negative")),
        sa.CheckConstraint(
            "surplus_limit >= 0", name=op.f("ck_accounts_surplus_limit_not_negative")
        ),
        sa.CheckConstraint("version >= 0", name=op.f("ck_accounts_version_not_negative")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_accounts_group_id")),
        sa.ForeignKeyConstraint(["union_id"], ["unions.id"], name=op.f("fk_accounts_union_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint(
            "union_id", "group_id", "kind", name=op.f("uq_accounts_union_id_group_id_kind")
        ),
        sa.UniqueConstraint("union_id", "name", name=op.f("uq_accounts_union_id_name")),
    )


def _rates() -> None:
    op.create_table(
        "rates",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column("rate", sa.String(length=32), nullable=False),
        sa.Column("valid_from", MOMENT, nullable=False),
        sa.Column("known_from", MOMENT, nullable=False),
        sa.CheckConstraint("known_from <= valid_from", name=op.f("ck_rates_known_before_valid")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_rates_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rates")),
    )
    with op.batch_alter_table("rates", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rates_group_id"), ["group_id"], unique=False)
    append_only("rates")


def _transfers() -> None:
    op.create_table(
        "transfers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("union_id", sa.String(length=40), nullable=False),
        sa.Column(
            "state",
            one_of(
                "transfer_state", "refused", "pending", "posted", "rejected", "cancelled", "expired"
            ),
            nullable=False,
        ),
        sa.Column("initiator", one_of("party", "payer", "payee"), nullable=False),
        sa.Column("payer_group", sa.String(length=40), nullable=False),
        sa.Column("payee_group", sa.String(length=40), nullable=False),
        sa.Column("payer_member", sa.String(length=100), nullable=True),
        sa.Column("payee_member", sa.String(length=100), nullable=True),
        sa.Column("description", sa.String(length=500), nullable=True),
        sa.Column("amount", sa.String(length=40), nullable=False),
        sa.Column("unit", one_of("unit", "payer", "payee", "clearing"), nullable=False),
        sa.Column("payer_amount", INTEGER, nullable=False),
        sa.Column("payee_amount", INTEGER, nullable=False),
        sa.Column("payer_clearing", INTEGER, nullable=False),
        sa.Column("payee_clearing", INTEGER, nullable=False),
        sa.Column("payer_rate", sa.String(length=32), nullable=False),
        sa.Column("payee_rate", sa.String(length=32), nullable=False),
        sa.Column("key", sa.LargeBinary(length=32), nullable=True),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("available", INTEGER, nullable=True),
        sa.CheckConstraint(
            "(state = 'pending') = (ended_at IS NULL)",
            name=op.f("ck_transfers_ended_unless_pending"),
        ),
        sa.CheckConstraint("payee_amount > 0", name=op.f("ck_transfers_payee_amount_positive")),
        sa.CheckConstraint("payee_clearing > 0", name=op.f("ck_transfers_payee_clearing_positive")),
        sa.CheckConstraint("payer_amount > 0", name=op.f("ck_transfers_payer_amount_positive")),
        sa.CheckConstraint(
            "payer_clearing >= payee_clearing", name=op.f("ck_transfers_residue_not_negative")
        ),
        sa.CheckConstraint(
            "payer_group <> payee_group", name=op.f("ck_transfers_between_two_groups")
        ),
        sa.ForeignKeyConstraint(
            ["payee_group"], ["groups.id"], name=op.f("fk_transfers_payee_group")
        ),
        sa.ForeignKeyConstraint(
            ["payer_group"], ["groups.id"], name=op.f("fk_transfers_payer_group")
        ),
        sa.ForeignKeyConstraint(["union_id"], ["unions.id"], name=op.f("fk_transfers_union_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfers")),
    )
    with op.batch_alter_table("transfers", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_transfers_payee_group_created_at"),
            ["payee_group", "created_at"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_transfers_payer_group_created_at"),
            ["payer_group", "created_at"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_transfers_state_expires_at"), ["state", "expires_at"], unique=False
        )


def _chain_rows() -> None:
    op.create_table(
        "chain_rows",
        sa.Column("account_id", INTEGER, nullable=False),
        sa.Column("version", INTEGER, nullable=False),
        sa.Column("journal_id", sa.Uuid(), nullable=False),
        sa.Column("kind", one_of("journal_kind", "payment", "set-off"), nullable=False),
        sa.Column("counterparty", sa.String(length=60), nullable=False),
        sa.Column("amount", INTEGER, nullable=False),
        sa.Column("balance", INTEGER, nullable=False),
        sa.Column("posted_at", MOMENT, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_chain_rows_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["journal_id"], ["journals.id"], name=op.f("fk_chain_rows_journal_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "version", name=op.f("pk_chain_rows")),
    )
    with op.batch_alter_table("chain_rows", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_chain_rows_journal_id"), ["journal_id"], unique=False)
    append_only("chain_rows")


def _entries() -> None:
    op.create_table(
        "entries",
        sa.Column("journal_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", INTEGER, nullable=False),
        sa.Column("counterparty_id", INTEGER, nullable=False),
        sa.Column("amount", INTEGER, nullable=False),
        sa.CheckConstraint(
            "account_id <> counterparty_id", name=op.f("ck_entries_not_towards_itself")
        ),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_entries_amount_not_zero")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_entries_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["counterparty_id"], ["accounts.id"], name=op.f("fk_entries_counterparty_id")
        ),
        sa.ForeignKeyConstraint(
            ["journal_id"], ["journals.id"], name=op.f("fk_entries_journal_id")
        ),
        sa.PrimaryKeyConstraint(
            "journal_id", "account_id", "counterparty_id", name=op.f("pk_entries")
        ),
    )
    append_only("entries")


def _limit_changes() -> None:
    op.create_table(
        "limit_changes",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("account_id", INTEGER, nullable=False),
        sa.Column("counterparty_id", INTEGER, nullable=True),
        sa.Column("kind", one_of("limit_kind", "credit", "surplus", "pair"), nullable=False),
        sa.Column("stop", INTEGER, nullable=True),
        sa.Column("used", INTEGER, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_limit_changes_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["counterparty_id"], ["accounts.id"], name=op.f("fk_limit_changes_counterparty_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_limit_changes")),
    )
    with op.batch_alter_table("limit_changes", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_limit_changes_account_id"), ["account_id"], unique=False
        )
    append_only("limit_changes")


def _positions() -> None:
    op.create_table(
        "positions",
        sa.Column("account_id", INTEGER, nullable=False),
        sa.Column("counterparty_id", INTEGER, nullable=False),
        sa.Column("amount", INTEGER, nullable=False),
        sa.Column("pending_out", INTEGER, nullable=False),
        sa.Column("given", INTEGER, nullable=False),
        sa.Column("pair_limit", INTEGER, nullable=True),
        sa.CheckConstraint(
            "account_id <> counterparty_id", name=op.f("ck_positions_not_towards_itself")
        ),
        sa.CheckConstraint("given >= 0", name=op.f("ck_positions_given_not_negative")),
        sa.CheckConstraint("pair_limit >= 0", name=op.f("ck_positions_pair_limit_not_negative")),
        sa.CheckConstraint("pending_out >= 0", name=op.f("ck_positions_pending_out_not_negative")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_positions_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["counterparty_id"], ["accounts.id"], name=op.f("fk_positions_counterparty_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "counterparty_id", name=op.f("pk_positions")),
    )
    with op.batch_alter_table("positions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_positions_counterparty_id"), ["counterparty_id"], unique=False
        )


def _set_offs() -> None:
    op.create_table(
        "set_offs",
        sa.Column("round_id", sa.Uuid(), nullable=False),
        sa.Column("debtor_id", INTEGER, nullable=False),
        sa.Column("creditor_id", INTEGER, nullable=False),
        sa.Column("obligation", INTEGER, nullable=False),
        sa.Column("amount", INTEGER, nullable=False),
        sa.CheckConstraint(
            "amount >= 0 AND amount <= obligation", name=op.f("ck_set_offs_amount_in_bounds")
        ),
        sa.ForeignKeyConstraint(
            ["creditor_id"], ["accounts.id"], name=op.f("fk_set_offs_creditor_id")
        ),
        sa.ForeignKeyConstraint(["debtor_id"], ["accounts.id"], name=op.f("fk_set_offs_debtor_id")),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_set_offs_round_id")),
        sa.PrimaryKeyConstraint("round_id", "debtor_id", "creditor_id", name=op.f("pk_set_offs")),
    )
    append_only("set_offs")
