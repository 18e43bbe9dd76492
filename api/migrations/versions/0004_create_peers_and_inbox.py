"""Create peers and inbox."""

import sqlalchemy as sa
from alembic import op

from api.migrations.columns import INTEGER, MOMENT, one_of

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create peers and inbox."""
    _authors()
    _peers()
    _crawled_pages()
    _deliveries()
    _inbox_messages()
    _put_aside()


def _authors() -> None:
    op.create_table(
        "authors",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("uri", sa.String(length=2048), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("indexable", sa.Boolean(), nullable=True),
        sa.Column("searchable_by", sa.JSON(), nullable=True),
        sa.Column("noindex", sa.Boolean(), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("last_error", sa.String(length=1000), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authors")),
        sa.UniqueConstraint("uri", name=op.f("uq_authors_uri")),
    )
    with op.batch_alter_table("authors", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_authors_due_at"), ["due_at"], unique=False)


def _peers() -> None:
    op.create_table(
        "peers",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("actor_uri", sa.String(length=2048), nullable=False),
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column(
            "state",
            one_of(
                "peer_state",
                "discovered",
                "consented",
                "following",
                "live",
                "stale",
                "gone",
                "blocked",
            ),
            nullable=False,
        ),
        sa.Column("state_since", MOMENT, nullable=False),
        sa.Column("consented_at", MOMENT, nullable=True),
        sa.Column("consent_evidence", sa.JSON(), nullable=True),
        sa.Column("follow_uri", sa.String(length=2048), nullable=True),
        sa.Column("last_heard_at", MOMENT, nullable=True),
        sa.Column("last_looked_at", MOMENT, nullable=True),
        sa.Column("keys_fetched_at", MOMENT, nullable=True),
        sa.Column("crawl_page", sa.String(length=2048), nullable=True),
        sa.Column("crawl_offset", INTEGER, nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("last_error", sa.String(length=1000), nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_peers_group_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_peers")),
        sa.UniqueConstraint("actor_uri", name=op.f("uq_peers_actor_uri")),
        sa.UniqueConstraint("group_id", name=op.f("uq_peers_group_id")),
    )
    with op.batch_alter_table("peers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_peers_due_at"), ["due_at"], unique=False)


def _crawled_pages() -> None:
    op.create_table(
        "crawled_pages",
        sa.Column("peer_id", INTEGER, nullable=False),
        sa.Column("page_uri", sa.String(length=2048), nullable=False),
        sa.ForeignKeyConstraint(["peer_id"], ["peers.id"], name=op.f("fk_crawled_pages_peer_id")),
        sa.PrimaryKeyConstraint("peer_id", "page_uri", name=op.f("pk_crawled_pages")),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("peer_id", INTEGER, nullable=False),
        sa.Column("inbox_uri", sa.String(length=2048), nullable=False),
        sa.Column("activity", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("delivered_at", MOMENT, nullable=True),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("last_error", sa.String(length=1000), nullable=True),
        sa.ForeignKeyConstraint(["peer_id"], ["peers.id"], name=op.f("fk_deliveries_peer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_deliveries_due_at"), ["due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_deliveries_peer_id"), ["peer_id"], unique=False)


def _inbox_messages() -> None:
    op.create_table(
        "inbox_messages",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("peer_id", INTEGER, nullable=False),
        sa.Column("key_id", sa.String(length=2048), nullable=False),
        sa.Column("activity_id", sa.String(length=2048), nullable=False),
        sa.Column("activity_type", sa.String(length=100), nullable=False),
        sa.Column("actor_uri", sa.String(length=2048), nullable=False),
        sa.Column("object_uri", sa.String(length=2048), nullable=False),
        sa.Column("author_uri", sa.String(length=2048), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("last_error", sa.String(length=1000), nullable=True),
        sa.ForeignKeyConstraint(["peer_id"], ["peers.id"], name=op.f("fk_inbox_messages_peer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox_messages")),
        sa.UniqueConstraint(
            "peer_id", "activity_id", name=op.f("uq_inbox_messages_peer_id_activity_id")
        ),
    )
    with op.batch_alter_table("inbox_messages", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_inbox_messages_author_uri"), ["author_uri"], unique=False
        )
        batch_op.create_index("ix_inbox_messages_backlog", ["peer_id", "due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_inbox_messages_due_at"), ["due_at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_inbox_messages_object_uri"), ["object_uri"], unique=False
        )


def _put_aside() -> None:
    op.create_table(
        "put_aside",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("peer_id", INTEGER, nullable=False),
        sa.Column("uri", sa.String(length=2048), nullable=False),
        sa.Column("author_uri", sa.String(length=2048), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("document", sa.Text(), nullable=True),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("last_error", sa.String(length=1000), nullable=True),
        sa.ForeignKeyConstraint(["peer_id"], ["peers.id"], name=op.f("fk_put_aside_peer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_put_aside")),
        sa.UniqueConstraint("peer_id", "uri", name=op.f("uq_put_aside_peer_id_uri")),
    )
    with op.batch_alter_table("put_aside", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_put_aside_author_uri"), ["author_uri"], unique=False)
        batch_op.create_index(batch_op.f("ix_put_aside_due_at"), ["due_at"], unique=False)
