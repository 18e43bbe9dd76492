"""Create listings."""

import sqlalchemy as sa
from alembic import op

from api.migrations.columns import INTEGER, MOMENT, one_of

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create listings."""
    _listings()


def _listings() -> None:
    op.create_table(
        "listings",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("uri", sa.String(length=2048), nullable=False),
        sa.Column("same_as", sa.JSON(), nullable=False),
        sa.Column("group_id", sa.String(length=40), nullable=True),
        sa.Column("author_uri", sa.String(length=2048), nullable=False),
        sa.Column("type", one_of("listing_type", "offer", "want"), nullable=False),
        sa.Column("title", sa.String(length=300), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("language", sa.String(length=3), nullable=True),
        sa.Column("categories", sa.JSON(), nullable=False),
        sa.Column("image", sa.String(length=2048), nullable=True),
        sa.Column("url", sa.String(length=2048), nullable=True),
        sa.Column("place_name", sa.String(length=200), nullable=True),
        sa.Column("lat", sa.Double(), nullable=True),
        sa.Column("lon", sa.Double(), nullable=True),
        sa.Column(
            "precision", one_of("precision", "cell", "group", "none", "exact"), nullable=False
        ),
        sa.Column("remote", sa.Boolean(), nullable=False),
        sa.Column("payments", sa.JSON(), nullable=False),
        sa.Column("published", MOMENT, nullable=False),
        sa.Column("updated", MOMENT, nullable=False),
        sa.Column("confirmed_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column(
            "consent_basis",
            one_of(
                "consent_basis",
                "object-searchable-by",
                "actor-searchable-by",
                "actor-indexable",
                "hub",
            ),
            nullable=True,
        ),
        sa.Column("consent_at", MOMENT, nullable=True),
        sa.Column("consented_by", sa.String(length=2048), nullable=True),
        sa.Column("revision", INTEGER, nullable=False),
        sa.Column("withdrawn_at", MOMENT, nullable=True),
        sa.Column(
            "withdrawn_reason",
            one_of("withdrawn_reason", "deleted", "consent", "hub-gone"),
            nullable=True,
        ),
        sa.CheckConstraint(
            "withdrawn_at IS NOT NULL OR (title <> '' AND consent_basis IS NOT NULL)",
            name=op.f("ck_listings_shown_has_consent"),
        ),
        sa.CheckConstraint(
            "withdrawn_at IS NULL OR (title = '' AND body = '' AND lat IS NULL)",
            name=op.f("ck_listings_withdrawn_is_empty"),
        ),
        sa.CheckConstraint(
            "(lat IS NULL) = (lon IS NULL)", name=op.f("ck_listings_place_is_whole")
        ),
        sa.CheckConstraint("lat BETWEEN -90 AND 90", name=op.f("ck_listings_lat_in_range")),
        sa.CheckConstraint("lon BETWEEN -180 AND 180", name=op.f("ck_listings_lon_in_range")),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_listings_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_listings")),
        sa.UniqueConstraint("revision", name=op.f("uq_listings_revision")),
        sa.UniqueConstraint("uri", name=op.f("uq_listings_uri")),
    )
    with op.batch_alter_table("listings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_listings_author_uri"), ["author_uri"], unique=False)
        batch_op.create_index(batch_op.f("ix_listings_group_id"), ["group_id"], unique=False)
