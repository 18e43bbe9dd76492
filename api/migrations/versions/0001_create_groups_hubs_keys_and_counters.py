"""Create groups, hubs, keys and counters."""

import sqlalchemy as sa
from alembic import op

from api.migrations.columns import INTEGER, MOMENT, one_of

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create groups, hubs, keys and counters."""
    _counters()
    _currencies()
    _nonces()
    _groups()
    _hub_keys()
    _hubs()


def _counters() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", INTEGER, nullable=False),
        sa.CheckConstraint("value >= 0", name=op.f("ck_counters_value_not_negative")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )


def _currencies() -> None:
    op.create_table(
        "currencies",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("uri", sa.String(length=2048), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("scale", INTEGER, nullable=False),
        sa.Column(
            "kind", one_of("currency_kind", "local", "time", "national", "crypto"), nullable=False
        ),
        sa.CheckConstraint("scale BETWEEN 0 AND 8", name=op.f("ck_currencies_scale_in_range")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_currencies")),
        sa.UniqueConstraint("uri", name=op.f("uq_currencies_uri")),
    )


def _nonces() -> None:
    op.create_table(
        "nonces",
        sa.Column("key_id", sa.String(length=2048), nullable=False),
        sa.Column("nonce", sa.String(length=128), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "nonce", name=op.f("pk_nonces")),
    )
    with op.batch_alter_table("nonces", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_nonces_expires_at"), ["expires_at"], unique=False)


def _groups() -> None:
    op.create_table(
        "groups",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("uri", sa.String(length=2048), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("summary", sa.String(length=2000), nullable=False),
        sa.Column("currency_id", INTEGER, nullable=False),
        sa.Column("place_name", sa.String(length=200), nullable=True),
        sa.Column("lat", sa.Double(), nullable=True),
        sa.Column("lon", sa.Double(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("lat BETWEEN -90 AND 90", name=op.f("ck_groups_lat_in_range")),
        sa.CheckConstraint("lon BETWEEN -180 AND 180", name=op.f("ck_groups_lon_in_range")),
        sa.ForeignKeyConstraint(
            ["currency_id"], ["currencies.id"], name=op.f("fk_groups_currency_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.UniqueConstraint("uri", name=op.f("uq_groups_uri")),
    )


def _hub_keys() -> None:
    op.create_table(
        "hub_keys",
        sa.Column("key_id", sa.String(length=2048), nullable=False),
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column(
            "algorithm", one_of("key_algorithm", "ed25519", "rsa-v1_5-sha256"), nullable=False
        ),
        sa.Column("public_key_pem", sa.String(length=4096), nullable=False),
        sa.Column("added_at", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_hub_keys_group_id")),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_hub_keys")),
    )
    with op.batch_alter_table("hub_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_hub_keys_group_id"), ["group_id"], unique=False)


def _hubs() -> None:
    op.create_table(
        "hubs",
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column(
            "state", one_of("hub_state", "registered", "admitted", "suspended"), nullable=False
        ),
        sa.Column("inbox_uri", sa.String(length=2048), nullable=False),
        sa.Column("outbox_uri", sa.String(length=2048), nullable=True),
        sa.Column("rate_wanted", sa.String(length=32), nullable=False),
        sa.Column("registered_at", MOMENT, nullable=False),
        sa.Column("admitted_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_hubs_group_id")),
        sa.PrimaryKeyConstraint("group_id", name=op.f("pk_hubs")),
    )
