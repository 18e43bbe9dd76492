"""In which region each group is: that of the town nearest to its place."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from commons.groups import Group
from marketplace.gazetteer import gazetteer


def regions(session: Session) -> Mapping[str, str]:
    """Return the region of each group that says where it is, by its id.

    It is the country by ISO 3166, for some countries with its part: `DE`, `GB, England`.
    """
    rows = session.execute(select(Group.id, Group.lat, Group.lon))
    places = {
        group_id: (lat, lon) for group_id, lat, lon in rows if lat is not None and lon is not None
    }
    found = gazetteer().regions_near(list(places.values()))
    return {
        group_id: ", ".join(filter(None, where))
        for group_id, where in zip(places, found, strict=True)
    }
