"""A ledger that hubs can trust."""

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

from api.migrations.columns import INTEGER, MOMENT, one_of
from api.migrations.journals_beside_payments import journals_beside_payments
from api.migrations.keys_and_tokens import keys_and_tokens
from api.migrations.limits_in_a_chain import limits_in_a_chain
from api.migrations.published_roots import published_roots
from api.migrations.triggers import append_only, guard_again
from api.migrations.webhooks_and_rates import webhooks_and_rates

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make a ledger that hubs can trust."""
    _deeds()
    _event_streams()
    _events()
    _accounts()
    _journals()
    _entries()
    _chain_rows()
    _limit_changes()
    limits_in_a_chain()
    _positions()
    _transfers()
    _unions()
    _acceptance_rules()
    journals_beside_payments()
    webhooks_and_rates()
    keys_and_tokens()
    published_roots()


def _deeds() -> None:
    op.create_table(
        "deeds",
        sa.Column("number", INTEGER, autoincrement=False, nullable=False),
        sa.Column("actor", sa.String(length=60), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("done_at", MOMENT, nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_deeds")),
    )
    append_only("deeds")


def _event_streams() -> None:
    op.create_table(
        "event_streams",
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column("last", INTEGER, nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("fk_event_streams_group_id")
        ),
        sa.PrimaryKeyConstraint("group_id", name=op.f("pk_event_streams")),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column("number", INTEGER, nullable=False),
        sa.Column(
            "kind",
            one_of(
                "event_kind",
                "transfer-pending",
                "transfer-posted",
                "transfer-queued",
                "transfer-rejected",
                "transfer-cancelled",
                "transfer-expired",
                "limit-approached",
                "limit-changed",
                "account-changed",
                "rate-proposed",
                "rate-agreed",
                "rate-ended",
                "adjustment-proposed",
                "adjustment-ended",
                "dispute-changed",
                "union-changed",
                "period-closed",
                "round-changed",
            ),
            nullable=False,
        ),
        sa.Column("subject", sa.String(length=60), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("happened_at", MOMENT, nullable=False),
        sa.CheckConstraint("number > 0", name=op.f("ck_events_number_positive")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_events_group_id")),
        sa.PrimaryKeyConstraint("group_id", "number", name=op.f("pk_events")),
    )
    append_only("events")


def _accounts() -> None:
    states = one_of("account_state", "open", "frozen", "closed")
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("state", states, nullable=True))
        batch_op.add_column(sa.Column("state_reason", sa.String(length=200), nullable=True))
        batch_op.add_column(sa.Column("credit_warn", INTEGER, nullable=True))
        batch_op.add_column(sa.Column("surplus_warn", INTEGER, nullable=True))
        batch_op.alter_column("group_id", existing_type=sa.String(length=40), nullable=True)
        batch_op.drop_constraint(op.f("ck_accounts_account_kind"), type_="check")
        batch_op.create_check_constraint(
            op.f("ck_accounts_account_kind"), "kind IN ('group', 'residue', 'levy', 'commons')"
        )
        batch_op.create_check_constraint(
            op.f("ck_accounts_a_groups_or_the_unions"),
            "(kind IN ('levy', 'commons')) = (group_id IS NULL)",
        )
        for warn in ("credit_warn", "surplus_warn"):
            batch_op.create_check_constraint(
                op.f(f"ck_accounts_{warn}_not_negative"), f"{warn} >= 0"
            )
    op.execute("UPDATE accounts SET state = 'open'")
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.alter_column("state", existing_type=states, nullable=False)


def _kinds(table: str) -> None:
    """Let a table hold the new kinds of journals; SQLite makes it anew, without its triggers."""
    with op.batch_alter_table(table, schema=None) as batch_op:
        batch_op.drop_constraint(op.f(f"ck_{table}_journal_kind"), type_="check")
        batch_op.create_check_constraint(
            op.f(f"ck_{table}_journal_kind"),
            "kind IN ('payment', 'reversal', 'levy', 'set-off', 'settlement', 'assignment',"
            " 'opening', 'residue')",
        )
    guard_again(table)


def _without_keys(batch_op: BatchOperations, table: str, *columns: str) -> None:
    """Drop foreign keys whose rule is held otherwise, and cheaper (decision 30)."""
    for column in columns:
        batch_op.drop_constraint(op.f(f"fk_{table}_{column}"), type_="foreignkey")


def _journals() -> None:
    with op.batch_alter_table("journals", schema=None) as batch_op:
        _without_keys(batch_op, "journals", "union_id")
        batch_op.add_column(sa.Column("about", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("value_date", sa.Date(), nullable=True))
        batch_op.create_index(batch_op.f("ix_journals_about"), ["about"], unique=False)
    _kinds("journals")


def _entries() -> None:
    with op.batch_alter_table("entries", schema=None) as batch_op:
        _without_keys(batch_op, "entries", "journal_id", "account_id", "counterparty_id")
    guard_again("entries")


def _chain_rows() -> None:
    with op.batch_alter_table("chain_rows", schema=None) as batch_op:
        _without_keys(batch_op, "chain_rows", "journal_id")
    _kinds("chain_rows")
    with op.batch_alter_table("chain_rows", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_chain_rows_account_id_posted_at"),
            ["account_id", "posted_at"],
            unique=False,
        )


def _limit_changes() -> None:
    with op.batch_alter_table("limit_changes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("warn", INTEGER, nullable=True))


def _positions() -> None:
    with op.batch_alter_table("positions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pair_warn", INTEGER, nullable=True))
        batch_op.create_check_constraint(
            op.f("ck_positions_pair_warn_not_negative"), "pair_warn >= 0"
        )


def _transfers() -> None:
    codes = one_of(
        "reason_code",
        "unknown-member",
        "declined",
        "wrong-amount",
        "duplicate",
        "member-limit",
        "other",
    )
    with op.batch_alter_table("transfers", schema=None) as batch_op:
        _without_keys(batch_op, "transfers", "union_id", "payer_group", "payee_group")
        batch_op.add_column(sa.Column("levy", INTEGER, nullable=True))
        batch_op.add_column(sa.Column("reverses", sa.Uuid(), nullable=True))
        batch_op.add_column(sa.Column("reversed_amount", INTEGER, nullable=True))
        batch_op.add_column(sa.Column("wait", sa.Boolean(), nullable=True))
        batch_op.add_column(sa.Column("reserved", sa.Boolean(), nullable=True))
        batch_op.add_column(sa.Column("by_operator", sa.Boolean(), nullable=True))
        batch_op.add_column(sa.Column("value_date", sa.Date(), nullable=True))
        batch_op.add_column(sa.Column("kept_digests", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("queued_at", MOMENT, nullable=True))
        batch_op.add_column(sa.Column("reason_code", codes, nullable=True))
        batch_op.create_index(batch_op.f("ix_transfers_reverses"), ["reverses"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_transfers_created_at_id"), ["created_at", "id"], unique=False
        )
        batch_op.create_foreign_key(
            batch_op.f("fk_transfers_reverses"), "transfers", ["reverses"], ["id"]
        )
        batch_op.drop_constraint(op.f("ck_transfers_ended_unless_pending"), type_="check")
        batch_op.drop_constraint(op.f("ck_transfers_transfer_state"), type_="check")
    op.execute(
        "UPDATE transfers SET levy = 0, reversed_amount = 0, wait = FALSE, reserved = TRUE,"
        " by_operator = FALSE"
    )
    with op.batch_alter_table("transfers", schema=None) as batch_op:
        batch_op.alter_column("levy", existing_type=INTEGER, nullable=False)
        batch_op.alter_column("reversed_amount", existing_type=INTEGER, nullable=False)
        batch_op.alter_column("wait", existing_type=sa.Boolean(), nullable=False)
        batch_op.alter_column("reserved", existing_type=sa.Boolean(), nullable=False)
        batch_op.alter_column("by_operator", existing_type=sa.Boolean(), nullable=False)
        batch_op.create_check_constraint(
            op.f("ck_transfers_transfer_state"),
            "state IN ('refused', 'pending', 'queued', 'posted', 'rejected', 'cancelled',"
            " 'expired')",
        )
        batch_op.create_check_constraint(
            op.f("ck_transfers_ended_unless_open"),
            "(state IN ('pending', 'queued')) = (ended_at IS NULL)",
        )
        batch_op.create_check_constraint(op.f("ck_transfers_levy_not_negative"), "levy >= 0")
        batch_op.create_check_constraint(
            op.f("ck_transfers_queued_reserves_nothing"), "state <> 'queued' OR NOT reserved"
        )
        batch_op.create_check_constraint(
            op.f("ck_transfers_reversed_in_bounds"),
            "reversed_amount >= 0 AND reversed_amount <= payee_amount",
        )


def _unions() -> None:
    with op.batch_alter_table("unions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("credit_default", INTEGER, nullable=True))
        batch_op.add_column(sa.Column("surplus_default", INTEGER, nullable=True))


def _acceptance_rules() -> None:
    op.create_table(
        "acceptance_rules",
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column("initiator", one_of("party", "payer", "payee"), nullable=False),
        sa.Column("counterparty", sa.String(length=40), nullable=False),
        sa.Column("up_to", INTEGER, nullable=False),
        sa.CheckConstraint("up_to > 0", name=op.f("ck_acceptance_rules_up_to_positive")),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("fk_acceptance_rules_group_id")
        ),
        sa.PrimaryKeyConstraint(
            "group_id", "initiator", "counterparty", name=op.f("pk_acceptance_rules")
        ),
    )
