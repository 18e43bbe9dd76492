"""Rounds that can be proven."""

import sqlalchemy as sa
from alembic import op

from api.migrations.columns import INTEGER, MOMENT
from api.migrations.triggers import append_only, guard_again

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BY_KEY = {"sqlite_with_rowid": False}


def upgrade() -> None:
    """Let rounds be proven."""
    _unions()
    _accounts()
    _positions_and_entries()
    _rounds()
    _set_offs()
    _amendments()
    _round_prices()
    _candidates()
    _opt_outs()
    _kept_back()


def _unions() -> None:
    with op.batch_alter_table("unions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("round_schedule", sa.String(length=100), nullable=True))
        batch_op.add_column(sa.Column("round_at", MOMENT, nullable=True))
        batch_op.add_column(sa.Column("round_notice_seconds", INTEGER, nullable=True))
        batch_op.add_column(sa.Column("credit_lines", sa.Boolean(), nullable=True))
    op.execute("UPDATE unions SET round_notice_seconds = 0, credit_lines = FALSE")
    with op.batch_alter_table("unions", schema=None) as batch_op:
        batch_op.alter_column("round_notice_seconds", existing_type=INTEGER, nullable=False)
        batch_op.alter_column("credit_lines", existing_type=sa.Boolean(), nullable=False)
        batch_op.create_check_constraint(
            op.f("ck_unions_round_notice_not_negative"), "round_notice_seconds >= 0"
        )
        batch_op.create_check_constraint(
            op.f("ck_unions_round_due_where_scheduled"),
            "(round_schedule IS NULL) = (round_at IS NULL)",
        )


def _accounts() -> None:
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("in_rounds", sa.Boolean(), nullable=True))
    op.execute("UPDATE accounts SET in_rounds = TRUE")
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.alter_column("in_rounds", existing_type=sa.Boolean(), nullable=False)


def _positions_and_entries() -> None:
    """Have SQLite keep them by their keys alone, since a round reads and writes millions."""
    if op.get_bind().dialect.name == "sqlite":
        for name in ("positions", "entries"):
            with op.batch_alter_table(name, recreate="always", table_kwargs=BY_KEY):
                pass
        guard_again("entries")


def _rounds() -> None:
    """Add what rounds tell now; those of before have no certificate and no key for one."""
    counted = ("drawn", "waiting", "released", "released_value", "released_bound")
    flags = ("credit_lines", "amended", "released_exact")
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        for name in counted:
            batch_op.add_column(sa.Column(name, INTEGER, nullable=True))
        for name in flags:
            batch_op.add_column(sa.Column(name, sa.Boolean(), nullable=True))
        batch_op.add_column(sa.Column("proposed_by", sa.String(length=60), nullable=True))
        batch_op.add_column(sa.Column("commit_at", MOMENT, nullable=True))
        batch_op.add_column(sa.Column("key", sa.LargeBinary(length=32), nullable=True))
        batch_op.add_column(sa.Column("certificate", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("certificate_hash", sa.String(length=64), nullable=True))
        batch_op.drop_constraint(op.f("ck_rounds_cleared_in_bounds"), type_="check")
    op.execute(
        "UPDATE rounds SET drawn = 0, waiting = 0, released = 0, released_value = 0,"
        " released_bound = 0, credit_lines = FALSE, amended = FALSE, released_exact = TRUE,"
        " proposed_by = 'operator', commit_at = proposed_at"
    )
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        for name in counted:
            batch_op.alter_column(name, existing_type=INTEGER, nullable=False)
        for name in flags:
            batch_op.alter_column(name, existing_type=sa.Boolean(), nullable=False)
        batch_op.alter_column("proposed_by", existing_type=sa.String(length=60), nullable=False)
        batch_op.alter_column("commit_at", existing_type=MOMENT, nullable=False)
        batch_op.create_check_constraint(
            op.f("ck_rounds_cleared_in_bounds"),
            "cleared >= 0 AND cleared <= obligations_total - net_internal_debt + drawn",
        )
        batch_op.create_check_constraint(
            op.f("ck_rounds_drawn_where_allowed"), "drawn >= 0 AND (credit_lines OR drawn = 0)"
        )
        batch_op.create_check_constraint(
            op.f("ck_rounds_released_in_bounds"), "released >= 0 AND released <= waiting"
        )
        batch_op.create_check_constraint(
            op.f("ck_rounds_certificate_is_chained"),
            "(certificate IS NULL) = (certificate_hash IS NULL)",
        )


def _set_offs() -> None:
    """Add what rows tell now; those of before were capped at the whole obligation.

    There may be a million in a round: to look up for each what it names took longer than the rest.
    """
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER set_offs_append_only ON set_offs")
    else:
        op.execute("DROP TRIGGER set_offs_no_update")
    added = ("released", "least", "cap", "line", "drawn")
    with op.batch_alter_table("set_offs", schema=None) as batch_op:
        for name in added:
            batch_op.add_column(sa.Column(name, INTEGER, nullable=True))
        batch_op.drop_constraint(op.f("ck_set_offs_amount_in_bounds"), type_="check")
        for name in ("round_id", "debtor_id", "creditor_id"):
            batch_op.drop_constraint(op.f(f"fk_set_offs_{name}"), type_="foreignkey")
    op.execute("UPDATE set_offs SET released = 0, least = 0, cap = obligation, line = 0, drawn = 0")
    with op.batch_alter_table("set_offs", schema=None, table_kwargs=BY_KEY) as batch_op:
        for name in added:
            batch_op.alter_column(name, existing_type=INTEGER, nullable=False)
        batch_op.create_check_constraint(
            op.f("ck_set_offs_amount_in_bounds"),
            "least >= 0 AND least <= amount AND amount <= cap AND cap <= obligation",
        )
        batch_op.create_check_constraint(
            op.f("ck_set_offs_drawn_in_bounds"), "drawn >= 0 AND drawn <= line"
        )
    guard_again("set_offs")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION set_offs_append_only()")
        append_only("set_offs")


def _amendments() -> None:
    columns = ("obligation", "released", "least", "cap", "amount", "line", "drawn")
    op.create_table(
        "amendments",
        sa.Column("round_id", sa.Uuid(), nullable=False),
        sa.Column("debtor_id", INTEGER, nullable=False),
        sa.Column("creditor_id", INTEGER, nullable=False),
        *(sa.Column(name, INTEGER, nullable=False) for name in columns),
        sa.CheckConstraint(
            "least >= 0 AND least <= amount AND amount <= cap AND cap <= obligation",
            name=op.f("ck_amendments_amount_in_bounds"),
        ),
        sa.CheckConstraint(
            "drawn >= 0 AND drawn <= line", name=op.f("ck_amendments_drawn_in_bounds")
        ),
        sa.PrimaryKeyConstraint("round_id", "debtor_id", "creditor_id", name=op.f("pk_amendments")),
        **BY_KEY,
    )
    append_only("amendments")


def _round_prices() -> None:
    op.create_table(
        "round_prices",
        sa.Column("round_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", INTEGER, nullable=False),
        sa.Column("price", INTEGER, nullable=False),
        sa.PrimaryKeyConstraint("round_id", "account_id", name=op.f("pk_round_prices")),
        **BY_KEY,
    )
    append_only("round_prices")


def _candidates() -> None:
    op.create_table(
        "candidates",
        sa.Column("round_id", sa.Uuid(), nullable=False),
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("place", INTEGER, nullable=False),
        sa.Column("first", sa.Boolean(), nullable=False),
        sa.Column("proposed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_candidates_round_id")),
        sa.PrimaryKeyConstraint("round_id", "transfer_id", name=op.f("pk_candidates")),
    )
    op.create_index(op.f("ix_candidates_transfer_id"), "candidates", ["transfer_id"], unique=False)
    append_only("candidates")


def _opt_outs() -> None:
    op.create_table(
        "opt_outs",
        sa.Column("round_id", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column("opted_out_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_opt_outs_group_id")),
        sa.ForeignKeyConstraint(["round_id"], ["rounds.id"], name=op.f("fk_opt_outs_round_id")),
        sa.PrimaryKeyConstraint("round_id", "group_id", name=op.f("pk_opt_outs")),
    )
    append_only("opt_outs")


def _kept_back() -> None:
    op.create_table(
        "kept_back",
        sa.Column("account_id", INTEGER, nullable=False),
        sa.Column("counterparty_id", INTEGER, nullable=False),
        sa.Column("amount", INTEGER, nullable=True),
        sa.CheckConstraint("amount > 0", name=op.f("ck_kept_back_amount_positive")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_kept_back_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["counterparty_id"], ["accounts.id"], name=op.f("fk_kept_back_counterparty_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "counterparty_id", name=op.f("pk_kept_back")),
    )
