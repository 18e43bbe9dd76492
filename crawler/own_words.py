"""What a member's own key may say of the listings of its server: of its own alone."""

from collections.abc import Collection

from sqlalchemy import Engine, select

from commons.database import reading
from crawler.intake import read_arrivals
from crawler.terms import Document
from marketplace.listings import Listing


def tells_of_anothers(engine: Engine, actor_uri: str, document: Document) -> bool:
    """Tell whether a document is of another author than who signs, or changes another's listing.

    One origin is no proof among members of one server: the origin is then asked.
    """
    arrivals = read_arrivals(document, None)
    if any(arrival.author_uri not in {"", actor_uri} for arrival in arrivals):
        return True
    held = authors_held(engine, {arrival.uri for arrival in arrivals})
    return any(author != actor_uri for author in held.values())


def authors_held(engine: Engine, uris: Collection[str]) -> dict[str, str]:
    """Return the authors of those listings that stand, by their URIs."""
    with reading(engine) as session:
        query = select(Listing.uri, Listing.author_uri).where(
            Listing.uri.in_(uris), Listing.withdrawn_at.is_(None)
        )
        return dict(session.execute(query).all())
