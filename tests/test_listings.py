import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from commons.database import Base, make_engine, reading, transaction, violated
from commons.errors import InvalidError, TooLargeError
from commons.groups import Currency, Group
from commons.money import CurrencyKind
from marketplace.consent import Consent, ConsentBasis, Signals, decide
from marketplace.drafts import Draft, ListingType, check, plain_text
from marketplace.listings import (
    Listing,
    Outcome,
    WithdrawnReason,
    by_id,
    by_uri,
    changes_since,
    last_revision,
    upsert,
    visible,
    withdraw,
)
from marketplace.payment import Payment, PaymentMeans
from marketplace.places import Precision, blur

URI = "https://hub.example/proposals/1"
YES = Consent(allowed=True, basis=ConsentBasis.HUB, reason="the hub consents")
NO = Consent(allowed=False, basis=None, reason="nobody consented")
MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
TUESDAY, WEDNESDAY = MONDAY + timedelta(days=1), MONDAY + timedelta(days=2)
DRAFT = Draft(
    uri=URI,
    type=ListingType.OFFER,
    title="Bicycle repair",
    author_uri="https://hub.example/members/ines",
    body="<p>Brakes &amp; gears.</p>",
    lat=41.40361,
    lon=2.15612,
    payments=(Payment(PaymentMeans.LOCAL, "https://hub.example/currency", "12.50"),),
    published=MONDAY,
    updated=TUESDAY,
)


def store(engine: Engine, draft: Draft, consent: Consent = YES) -> Outcome:
    with transaction(engine) as session:
        return upsert(session, draft, consent, consented_by="https://hub.example/group")


def stored(engine: Engine, uri: str = URI) -> Listing:
    with reading(engine) as session:
        row = by_uri(session, uri)
        assert row is not None
        session.expunge(row)
        return row


def remove(engine: Engine, reason: WithdrawnReason = WithdrawnReason.DELETED) -> bool:
    with transaction(engine) as session:
        return withdraw(session, URI, reason)


def seen(engine: Engine) -> list[str]:
    with reading(engine) as session:
        rows = session.scalars(select(Listing).where(visible(datetime.now(UTC))))
        return [row.title for row in rows]


def spoil(engine: Engine, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(update(Listing).values(**values))


def test_a_draft_becomes_a_listing_with_a_blurred_place(engine: Engine) -> None:
    assert store(engine, DRAFT) is Outcome.INSERTED
    row = stored(engine)
    assert (row.title, row.revision, row.updated) == ("Bicycle repair", 1, TUESDAY)
    assert (row.lat, row.lon) == blur(41.40361, 2.15612, Precision.CELL)
    assert (row.lat, row.lon) != (DRAFT.lat, DRAFT.lon)
    assert (row.consent_basis, row.consented_by) == (ConsentBasis.HUB, "https://hub.example/group")
    assert row.payments == [
        {"means": "local", "currency": "https://hub.example/currency", "amount": "12.50"}
    ]


def test_the_same_version_again_changes_nothing(engine: Engine) -> None:
    store(engine, DRAFT)
    assert store(engine, DRAFT) is Outcome.UNCHANGED
    assert stored(engine).revision == 1


def test_a_newer_version_overwrites_and_an_older_one_does_not(engine: Engine) -> None:
    store(engine, DRAFT)
    newer = replace(DRAFT, title="Bicycle repair and sale", updated=WEDNESDAY)
    assert store(engine, newer) is Outcome.UPDATED
    assert store(engine, replace(DRAFT, title="Old")) is Outcome.OLDER
    assert seen(engine) == ["Bicycle repair and sale"]
    assert stored(engine).revision == 2


def test_a_version_from_the_future_counts_as_arrived_now(engine: Engine) -> None:
    store(engine, replace(DRAFT, updated=datetime(2999, 1, 1, tzinfo=UTC)))
    assert stored(engine).updated <= datetime.now(UTC)
    assert store(engine, replace(DRAFT, title="Later", updated=None, published=None)) is (
        Outcome.UPDATED
    )


def test_a_withdrawn_listing_stays_as_an_empty_tombstone(engine: Engine) -> None:
    store(engine, DRAFT)
    assert remove(engine)
    row = stored(engine)
    assert (row.title, row.body, row.lat, row.payments, row.author_uri) == ("", "", None, [], "")
    assert row.withdrawn_reason is WithdrawnReason.DELETED
    assert row.consent_basis is None
    assert row.revision == 2
    assert seen(engine) == []
    assert not remove(engine)


def test_a_delete_before_its_create_is_remembered(engine: Engine) -> None:
    assert remove(engine)
    assert store(engine, DRAFT) is Outcome.OLDER
    assert store(engine, replace(DRAFT, updated=None, published=None)) is Outcome.OLDER
    assert seen(engine) == []


def test_a_version_that_is_newer_than_the_deletion_brings_a_listing_back(engine: Engine) -> None:
    store(engine, DRAFT)
    with transaction(engine) as session:
        withdraw(session, URI, WithdrawnReason.DELETED, deleted_at=WEDNESDAY)
    again = replace(DRAFT, updated=WEDNESDAY + timedelta(hours=1))
    assert store(engine, again) is Outcome.UPDATED
    assert seen(engine) == ["Bicycle repair"]


def test_consent_withdrawn_hides_and_consent_given_again_shows(engine: Engine) -> None:
    store(engine, DRAFT)
    assert store(engine, DRAFT, NO) is Outcome.REFUSED
    assert seen(engine) == []
    assert stored(engine).withdrawn_reason is WithdrawnReason.CONSENT
    assert store(engine, DRAFT) is Outcome.UPDATED
    assert seen(engine) == ["Bicycle repair"]


def test_an_older_no_does_not_hide_a_newer_yes(engine: Engine) -> None:
    store(engine, replace(DRAFT, updated=WEDNESDAY))
    store(engine, replace(DRAFT, updated=MONDAY), NO)
    assert seen(engine) == ["Bicycle repair"]
    store(engine, replace(DRAFT, updated=WEDNESDAY), NO)
    assert seen(engine) == []


def test_without_consent_nothing_is_stored(engine: Engine) -> None:
    assert store(engine, DRAFT, NO) is Outcome.REFUSED
    with reading(engine) as session:
        assert by_uri(session, URI) is None


def test_a_delete_of_what_lost_its_consent_is_for_good(engine: Engine) -> None:
    store(engine, DRAFT)
    store(engine, DRAFT, NO)
    assert remove(engine)
    assert store(engine, DRAFT) is Outcome.OLDER


def test_an_expired_listing_is_not_seen(engine: Engine) -> None:
    store(engine, replace(DRAFT, expires_at=WEDNESDAY))
    assert seen(engine) == []
    with reading(engine) as session:
        assert by_id(session, stored(engine).id) is None


def test_changes_come_in_the_order_of_revisions_and_in_pieces(engine: Engine) -> None:
    for number in range(5):
        store(engine, replace(DRAFT, uri=f"https://hub.example/{number}"))
    store(engine, replace(DRAFT, uri="https://hub.example/1", title="New", updated=WEDNESDAY))
    with reading(engine) as session:
        first = [row.revision for row, _ in changes_since(session, 0, 3)]
        rest = [(row.revision, row.title) for row, _ in changes_since(session, first[-1], 9)]
        assert last_revision(session) == 6
    assert first == [1, 3, 4]
    assert rest == [(5, "Bicycle repair"), (6, "New")]


def test_every_order_of_arrival_ends_in_the_same_listing(
    sqlite_engine: Engine,
) -> None:
    def create(session: Session) -> None:
        upsert(session, replace(DRAFT, updated=None), YES, consented_by="x")

    def first_update(session: Session) -> None:
        upsert(session, replace(DRAFT, title="Second"), YES, consented_by="x")

    def last_update(session: Session) -> None:
        upsert(session, replace(DRAFT, title="Third", updated=WEDNESDAY), YES, consented_by="x")

    def delete(session: Session) -> None:
        withdraw(session, URI, WithdrawnReason.DELETED)

    def titles(steps: tuple[Callable[[Session], None], ...]) -> str:
        with Session(sqlite_engine) as session:  # never committed
            for step in steps:
                step(session)
            return session.scalars(select(Listing)).one().title

    updates = itertools.permutations([create, first_update, last_update])
    assert {titles(steps) for steps in updates} == {"Third"}
    all_four = itertools.permutations([create, first_update, last_update, delete])
    assert {titles(steps) for steps in all_four} == {""}


def test_a_place_of_the_groups_precision_is_the_groups_own(engine: Engine) -> None:
    with transaction(engine) as session:
        currency = Currency(
            uri="https://hub.example/c", code="ECO", name="Eco", scale=2, kind=CurrencyKind.LOCAL
        )
        session.add(currency)
        session.flush()
        session.add(
            Group(
                id="river",
                uri="https://hub.example/group",
                name="River",
                currency_id=currency.id,
                lat=41.0,
                lon=0.0,
                created_at=MONDAY,
            )
        )
        session.flush()
        draft = replace(DRAFT, precision=Precision.GROUP)
        upsert(session, draft, YES, consented_by="x", group_id="river")
    row = stored(engine)
    assert (row.lat, row.lon, row.group_id) == (41.0, 0.0, "river")


def test_the_database_refuses_a_shown_listing_without_consent(engine: Engine) -> None:
    store(engine, DRAFT)
    with pytest.raises(IntegrityError) as refused:
        spoil(engine, consent_basis=None)
    assert violated(refused.value) == "ck_listings_shown_has_consent"


def test_the_database_refuses_a_tombstone_that_keeps_its_text(engine: Engine) -> None:
    store(engine, DRAFT)
    with pytest.raises(IntegrityError) as refused:
        spoil(engine, withdrawn_at=MONDAY)
    assert violated(refused.value) == "ck_listings_withdrawn_is_empty"


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        (replace(DRAFT, title=""), "title"),
        (replace(DRAFT, title=" \n "), "title"),
        (replace(DRAFT, title="x" * 301), "title"),
        (replace(DRAFT, title="a\x00b"), "title"),
        (replace(DRAFT, title="a\ud800b"), "title"),
        (replace(DRAFT, body="a\x00b"), "body"),
        (replace(DRAFT, body="a\udfffb"), "body"),
        (replace(DRAFT, lat=91.0), "lat"),
        (replace(DRAFT, lat=float("nan")), "lat"),
        (replace(DRAFT, lon=float("inf")), "lon"),
        (replace(DRAFT, lon=-180.1), "lon"),
        (replace(DRAFT, lon=None), "place"),
        (replace(DRAFT, uri="javascript:alert(1)"), "uri"),
        (replace(DRAFT, uri="https://"), "uri"),
        (replace(DRAFT, uri="https://[x"), "uri"),
        (replace(DRAFT, url="ftp://hub.example/"), "url"),
        (replace(DRAFT, image="data:image/png;base64,x"), "image"),
        (replace(DRAFT, uri=URI + "x" * 2048), "uri"),
        (replace(DRAFT, categories=("a\x00",)), "categories"),
        (replace(DRAFT, payments=(Payment(PaymentMeans.LOCAL, amount="-1"),)), "payments[0]"),
        (replace(DRAFT, published=datetime(2026, 1, 1)), "published"),  # noqa: DTZ001 (the case)
    ],
)
def test_a_broken_draft_is_refused_by_field(broken: Draft, field: str) -> None:
    with pytest.raises(InvalidError) as refused:
        check(broken)
    assert refused.value.field == field


def test_ten_megabytes_of_text_are_too_large() -> None:
    with pytest.raises(TooLargeError):
        check(replace(DRAFT, body="x" * 10_000_000))


def test_a_long_body_is_cut_before_it_is_sanitised() -> None:
    kept = check(replace(DRAFT, body="é" * 100_000)).body
    assert len(kept.encode()) <= 64 * 1024


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("<script>alert(1)</script>fine", "fine"),
        ('<img src=x onerror="alert(1)">fine', "fine"),
        ('<a href="javascript:alert(1)">x</a>', '<a rel="noopener noreferrer">x</a>'),
        ("<p onclick=x>a</p>", "<p>a</p>"),
        ("a < b", "a &lt; b"),
    ],
)
def test_a_body_keeps_only_what_is_allowed(raw: str, kept: str) -> None:
    assert check(replace(DRAFT, body=raw)).body == kept


def test_the_words_of_a_body_are_its_text() -> None:
    body = "<p>Brakes &amp; <b>gears</b>.</p><p>1 &lt; 2</p>"
    assert plain_text(body) == "Brakes & gears. 1 < 2"


def test_a_language_is_kept_as_its_primary_tag() -> None:
    assert check(replace(DRAFT, language="pt-BR")).language == "pt"
    assert check(replace(DRAFT, language="<b>")).language is None


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_of_any_versions_the_newest_is_kept(arrivals: list[tuple[int, int]]) -> None:
    engine = make_engine("sqlite://")
    Base.metadata.create_all(engine)
    newest: dict[int, int] = {}
    for listing, day in arrivals:
        uri = f"https://hub.example/{listing}"
        moment = MONDAY + timedelta(days=day)
        store(engine, replace(DRAFT, uri=uri, title=f"Day {day}", updated=moment))
        newest[listing] = max(newest.get(listing, 0), day)
    assert sorted(seen(engine)) == sorted(f"Day {day}" for day in newest.values())
    engine.dispose()


PUBLIC = ("as:Public",)
FOLLOWERS = ("https://hub.example/followers",)


@pytest.mark.parametrize(
    ("signals", "basis"),
    [
        (Signals(), None),
        (Signals(hub_consented=True), ConsentBasis.HUB),
        (Signals(actor_indexable=True), ConsentBasis.ACTOR_INDEXABLE),
        (Signals(actor_indexable=True, hub_consented=True), ConsentBasis.ACTOR_INDEXABLE),
        (Signals(actor_indexable=False, hub_consented=True), None),
        (Signals(actor_searchable_by=PUBLIC), ConsentBasis.ACTOR_SEARCHABLE),
        (Signals(actor_searchable_by=PUBLIC, actor_indexable=False), None),
        (Signals(actor_searchable_by=FOLLOWERS, actor_indexable=True), None),
        (Signals(actor_searchable_by=(), hub_consented=True), None),
        (Signals(object_searchable_by=PUBLIC), ConsentBasis.OBJECT_SEARCHABLE),
        (
            Signals(object_searchable_by=PUBLIC, actor_searchable_by=FOLLOWERS),
            ConsentBasis.OBJECT_SEARCHABLE,
        ),
        (Signals(object_searchable_by=FOLLOWERS, actor_searchable_by=PUBLIC), None),
        (Signals(object_searchable_by=PUBLIC, actor_indexable=False), None),
        (Signals(to=PUBLIC, hub_consented=True), ConsentBasis.HUB),
        (
            Signals(to=("https://www.w3.org/ns/activitystreams#Public",), hub_consented=True),
            ConsentBasis.HUB,
        ),
        (Signals(to=FOLLOWERS, hub_consented=True), None),
        (Signals(to=(), object_searchable_by=PUBLIC), None),
        (Signals(noindex=True, object_searchable_by=PUBLIC), None),
        (Signals(suspended=True, object_searchable_by=PUBLIC), None),
        (Signals(blocked=True, object_searchable_by=PUBLIC), None),
    ],
)
def test_any_no_wins_and_the_first_yes_is_the_basis(
    signals: Signals, basis: ConsentBasis | None
) -> None:
    consent = decide(signals)
    assert consent.basis is basis
    assert consent.allowed is (basis is not None)
    assert consent.reason
