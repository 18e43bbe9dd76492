"""Versions of listings that are stored together end as those stored one by one."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from test_listings import DRAFT, MONDAY, NO, YES

from commons.database import Base, make_engine, reading, transaction
from marketplace.listings import Listing, Outcome, Version, upsert_many


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), max_size=10),
    st.integers(1, 10),
)
def test_versions_stored_together_end_as_those_stored_one_by_one(
    arrivals: list[tuple[int, int, bool]], together: int
) -> None:
    versions = [
        Version(
            replace(
                DRAFT,
                uri=f"https://hub.example/{listing}",
                title=f"Day {day}",
                updated=MONDAY + timedelta(days=day),
            ),
            YES if allowed else NO,
            "https://hub.example/group",
        )
        for listing, day, allowed in arrivals
    ]

    def stored_by(size: int) -> tuple[list[Outcome], list[object]]:
        engine = make_engine("sqlite://")
        Base.metadata.create_all(engine)
        outcomes: list[Outcome] = []
        for start in range(0, len(versions), size):
            with transaction(engine) as session:
                outcomes += upsert_many(session, versions[start : start + size])
        with reading(engine) as session:
            rows: list[object] = [
                (row.uri, row.title, row.updated.date(), row.withdrawn_reason, row.revision)
                for row in session.scalars(select(Listing).order_by(Listing.uri))
            ]
        engine.dispose()
        return outcomes, rows

    assert stored_by(together) == stored_by(1)
