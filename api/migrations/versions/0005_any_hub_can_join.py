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
    _invitations()
    _relays()
    _refusals()
    _life_of_peers()
    _listing_claims()
    _interests()
    _deliveries()
    _pushed_listings()
    _fasp()
    _actor_keys()
    _listing_proofs()
    _inbox_messages()
    _tombstones()


def _groups() -> None:
    with op.batch_alter_table("groups", schema=None) as batch_op:
        batch_op.alter_column("currency_id", existing_type=INTEGER, nullable=True)


def _hubs() -> None:
    with op.batch_alter_table("hubs", schema=None) as batch_op:
        batch_op.alter_column("rate_wanted", existing_type=sa.String(length=32), nullable=True)


def _peer_kinds() -> sa.Enum:
    return one_of(
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


def _peers() -> None:
    kinds = _peer_kinds()
    with op.batch_alter_table("peers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", kinds, nullable=True))
        batch_op.add_column(sa.Column("found_by", sa.String(length=2048), nullable=True))
        batch_op.add_column(sa.Column("crawl_began_at", MOMENT, nullable=True))
        batch_op.add_column(sa.Column("refused_at", MOMENT, nullable=True))
        batch_op.add_column(sa.Column("blocks_us", sa.Boolean(), nullable=True))
        batch_op.alter_column("group_id", existing_type=sa.String(length=40), nullable=True)
    op.execute(
        "UPDATE peers SET kind = 'activitypub', found_by = 'its registration', "
        "blocks_us = (state = 'blocked')"
    )
    with op.batch_alter_table("peers", schema=None) as batch_op:
        batch_op.alter_column("kind", existing_type=kinds, nullable=False)
        batch_op.alter_column("found_by", existing_type=sa.String(length=2048), nullable=False)
        batch_op.alter_column("blocks_us", existing_type=sa.Boolean(), nullable=False)


def _invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("code_sha256", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=2048), nullable=False),
        sa.Column("kind", _peer_kinds(), nullable=False),
        sa.Column("evidence", sa.String(length=2000), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("code_sha256", name=op.f("uq_invitations_code_sha256")),
    )


def _relays() -> None:
    op.create_table(
        "relays",
        sa.Column("peer_id", INTEGER, nullable=False),
        sa.Column("style", one_of("relay_style", "mastodon", "litepub"), nullable=False),
        sa.Column("inbox_uri", sa.String(length=2048), nullable=False),
        sa.ForeignKeyConstraint(["peer_id"], ["peers.id"], name=op.f("fk_relays_peer_id")),
        sa.PrimaryKeyConstraint("peer_id", name=op.f("pk_relays")),
    )


def _refusals() -> None:
    op.create_table(
        "refusals",
        sa.Column("peer_id", INTEGER, nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("count", INTEGER, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["peer_id"], ["peers.id"], name=op.f("fk_refusals_peer_id")),
        sa.PrimaryKeyConstraint("peer_id", "reason", name=op.f("pk_refusals")),
    )


def _life_of_peers() -> None:
    with op.batch_alter_table("peers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("crawled_at", MOMENT, nullable=True))
    with op.batch_alter_table("hubs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("suspended_reason", sa.String(length=1000), nullable=True))
    with op.batch_alter_table("listings", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_listings_withdrawn_reason"), type_="check")
        batch_op.create_check_constraint(
            op.f("ck_listings_withdrawn_reason"),
            "withdrawn_reason IN ('deleted', 'consent', 'hub-gone', 'missing', 'duplicate',"
            " 'operator')",
        )
    op.create_table(
        "domain_blocks",
        sa.Column("domain", sa.String(length=253), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("added_at", MOMENT, nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_domain_blocks")),
    )


def _listing_claims() -> None:
    op.create_table(
        "listing_claims",
        sa.Column("claimed_uri", sa.String(length=2048), nullable=False),
        sa.Column("listing_uri", sa.String(length=2048), nullable=False),
        sa.PrimaryKeyConstraint("claimed_uri", "listing_uri", name=op.f("pk_listing_claims")),
    )
    op.create_index(op.f("ix_listing_claims_listing_uri"), "listing_claims", ["listing_uri"])
    op.create_index(op.f("ix_listings_url"), "listings", ["url"])


def _interests() -> None:
    op.create_table(
        "interests",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("uuid", sa.Uuid(), nullable=False),
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column("listing_id", sa.String(length=16), nullable=False),
        sa.Column("author_uri", sa.String(length=2048), nullable=False),
        sa.Column("member_uri", sa.String(length=2048), nullable=False),
        sa.Column("offer_uri", sa.String(length=2048), nullable=False),
        sa.Column("said", sa.JSON(), nullable=True),
        sa.Column("answer", sa.JSON(), nullable=True),
        sa.Column(
            "state",
            one_of("interest_state", "waiting", "delivered", "accepted", "rejected", "failed"),
            nullable=False,
        ),
        sa.Column("state_since", MOMENT, nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("last_error", sa.String(length=1000), nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name=op.f("fk_interests_group_id")),
        sa.ForeignKeyConstraint(
            ["listing_id"], ["listings.id"], name=op.f("fk_interests_listing_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_interests")),
        sa.UniqueConstraint("group_id", "offer_uri", name=op.f("uq_interests_group_id_offer_uri")),
        sa.UniqueConstraint("uuid", name=op.f("uq_interests_uuid")),
    )
    with op.batch_alter_table("interests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_interests_due_at"), ["due_at"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_interests_group_id_created_at"), ["group_id", "created_at"]
        )
        batch_op.create_index(batch_op.f("ix_interests_listing_id"), ["listing_id"], unique=False)


def _deliveries() -> None:
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.add_column(sa.Column("interest_id", INTEGER, nullable=True))
        batch_op.add_column(sa.Column("lane", sa.String(length=255), nullable=True))
        batch_op.add_column(sa.Column("about", sa.String(length=2048), nullable=True))
        batch_op.alter_column("peer_id", existing_type=INTEGER, nullable=True)
    # Of what waits already, each inbox is a lane of its own: its domain cannot be told in SQL.
    op.execute("UPDATE deliveries SET lane = substr(inbox_uri, 1, 255)")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.alter_column("lane", existing_type=sa.String(length=255), nullable=False)
        batch_op.create_foreign_key(
            batch_op.f("fk_deliveries_interest_id"),
            "interests",
            ["interest_id"],
            ["id"],
            ondelete="CASCADE",
        )
        batch_op.create_index(batch_op.f("ix_deliveries_interest_id"), ["interest_id"])
        batch_op.create_index(
            batch_op.f("ix_deliveries_lane_due_at"), ["lane", "due_at"], unique=False
        )


def _pushed_listings() -> None:
    op.create_table(
        "pushed_listings",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("group_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("uri", sa.String(length=2048), nullable=False),
        sa.Column("pushed_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("fk_pushed_listings_group_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pushed_listings")),
        sa.UniqueConstraint("group_id", "name", name=op.f("uq_pushed_listings_group_id_name")),
        sa.UniqueConstraint("uri", name=op.f("uq_pushed_listings_uri")),
    )


def _fasp() -> None:
    op.create_table(
        "fasp_servers",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("address", sa.String(length=2048), nullable=False),
        sa.Column("server_id", sa.String(length=64), nullable=False),
        sa.Column(
            "state", one_of("fasp_state", "requested", "registered", "active"), nullable=False
        ),
        sa.Column("state_since", MOMENT, nullable=False),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("base_url", sa.String(length=2048), nullable=True),
        sa.Column("fasp_id", sa.String(length=255), nullable=True),
        sa.Column("public_key", sa.String(length=64), nullable=True),
        sa.Column("completion_uri", sa.String(length=2048), nullable=True),
        sa.Column("peer_id", INTEGER, nullable=True),
        sa.Column("subscription_id", sa.String(length=255), nullable=True),
        sa.Column("backfill_id", sa.String(length=255), nullable=True),
        sa.Column("has_more", sa.Boolean(), nullable=False),
        sa.Column("continuations", INTEGER, nullable=False),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("last_error", sa.String(length=1000), nullable=True),
        sa.ForeignKeyConstraint(["peer_id"], ["peers.id"], name=op.f("fk_fasp_servers_peer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fasp_servers")),
        sa.UniqueConstraint("address", name=op.f("uq_fasp_servers_address")),
        sa.UniqueConstraint("server_id", name=op.f("uq_fasp_servers_server_id")),
    )
    op.create_index(op.f("ix_fasp_servers_due_at"), "fasp_servers", ["due_at"])
    op.create_table(
        "announced_objects",
        sa.Column("id", INTEGER, nullable=False),
        sa.Column("server_id", INTEGER, nullable=False),
        sa.Column("uri", sa.String(length=2048), nullable=False),
        sa.Column("listing_uris", sa.JSON(), nullable=False),
        sa.Column("looked_at", MOMENT, nullable=True),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("last_error", sa.String(length=1000), nullable=True),
        sa.ForeignKeyConstraint(
            ["server_id"], ["fasp_servers.id"], name=op.f("fk_announced_objects_server_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_announced_objects")),
        sa.UniqueConstraint("uri", name=op.f("uq_announced_objects_uri")),
    )
    op.create_index(op.f("ix_announced_objects_due_at"), "announced_objects", ["due_at"])
    op.create_index(
        op.f("ix_announced_objects_server_id_due_at"), "announced_objects", ["server_id", "due_at"]
    )


def _actor_keys() -> None:
    op.create_table(
        "actor_keys",
        sa.Column("key_id", sa.String(length=2048), nullable=False),
        sa.Column("origin", sa.String(length=300), nullable=False),
        sa.Column("owner_uri", sa.String(length=2048), nullable=False),
        sa.Column("public_key_pem", sa.String(length=4096), nullable=True),
        sa.Column("asserts", sa.Boolean(), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("failure", one_of("key_failure", "unreachable", "gone", "wrong"), nullable=True),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_actor_keys")),
    )
    with op.batch_alter_table("actor_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_actor_keys_asked_at"), ["asked_at"], unique=False)
        batch_op.create_index("ix_actor_keys_origin_asked_at", ["origin", "asked_at"], unique=False)


def _listing_proofs() -> None:
    op.create_table(
        "listing_proofs",
        sa.Column("listing_id", sa.String(length=16), nullable=False),
        sa.Column("document_uri", sa.String(length=2048), nullable=False),
        sa.Column("proof", sa.JSON(), nullable=False),
        sa.Column("verification_method", sa.String(length=2048), nullable=False),
        sa.Column("public_key_multibase", sa.String(length=100), nullable=False),
        sa.Column("document_sha256", sa.String(length=64), nullable=False),
        sa.Column("document", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("checked_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["listing_id"], ["listings.id"], name=op.f("fk_listing_proofs_listing_id")
        ),
        sa.PrimaryKeyConstraint("listing_id", name=op.f("pk_listing_proofs")),
    )


def _inbox_messages() -> None:
    # Until now a hub's own keys alone were taken.
    for table in ("inbox_messages", "put_aside"):
        op.add_column(table, sa.Column("is_vouched", sa.Boolean(), nullable=True))
        vouched = sa.table(table, sa.column("is_vouched", sa.Boolean()))
        op.execute(vouched.update().values(is_vouched=True))
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.alter_column("is_vouched", existing_type=sa.Boolean(), nullable=False)
    with op.batch_alter_table("inbox_messages", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_inbox_messages_backlog"))
        batch_op.create_index(
            "ix_inbox_messages_kept",
            ["received_at"],
            unique=False,
            sqlite_where=sa.text("body IS NOT NULL"),
            postgresql_where=sa.text("body IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_inbox_messages_waiting",
            ["peer_id", "due_at"],
            unique=False,
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        )


def _tombstones() -> None:
    never_shown = sa.text("withdrawn_at IS NOT NULL AND published = confirmed_at")
    op.create_index(
        "ix_listings_never_shown",
        "listings",
        ["confirmed_at"],
        unique=False,
        sqlite_where=never_shown,
        postgresql_where=never_shown,
    )
