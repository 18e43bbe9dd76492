"""Any search can be followed by a feed reader and drawn on a map."""

from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import httpx2
import pytest
from market import NOW, VIENNA, add_groups, draft, publish
from served import Served, served
from sqlalchemy import Engine, select

from api.routes import feeds
from api.routes.feeds import FeatureCollection
from commons.database import transaction
from commons.groups import Group, Hub, HubState
from commons.settings import Settings
from marketplace.drafts import ListingType

SHARP = 'Bread & <b>"honey"</b> ]]>'
SPACES = {"atom": feeds.ATOM, "georss": feeds.GEORSS}


@pytest.fixture
def service(settings: Settings, sqlite_engine: Engine) -> Iterator[Served]:
    add_groups(sqlite_engine)
    with transaction(sqlite_engine) as session:
        group = session.scalars(select(Group).where(Group.id == "river")).one()
        group.lat, group.lon = VIENNA
        session.add(
            Hub(
                group_id="river",
                state=HubState.ADMITTED,
                inbox_uri="https://river.example/inbox",
                rate_wanted="1",
                registered_at=NOW,
            )
        )
    publish(
        sqlite_engine,
        draft("old", "Bread, old", published=NOW - timedelta(days=30), categories=("food",)),
        draft("new", "Bread, new", lat=VIENNA[0], lon=VIENNA[1], published=NOW - timedelta(days=1)),
        draft("sharp", SHARP, "<p>1 &lt; 2 &amp; 3</p>", published=NOW - timedelta(days=9)),
        draft("ladder", "A ladder", type=ListingType.WANT),
    )
    with served(settings, sqlite_engine) as service:
        service.work()
        yield service


def channel(answer: httpx2.Response) -> ET.Element:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/rss+xml")
    rss = ET.fromstring(answer.content)  # noqa: S314 (our own)
    assert (rss.tag, rss.get("version")) == ("rss", "2.0")
    found = rss.find("channel")
    assert found is not None
    return found


def texts(parent: ET.Element, path: str) -> list[str | None]:
    return [element.text for element in parent.findall(path, SPACES)]


def features(service: Served, **question: str) -> dict[str, dict[str, Any]]:
    answer = service.get("/listings.geojson", **question)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/geo+json"
    collection = answer.json()
    assert collection["type"] == "FeatureCollection"
    return {feature["properties"]["title"]: feature for feature in collection["features"]}


def test_a_feed_holds_what_the_search_finds_newest_first(service: Served) -> None:
    feed = channel(service.get("/listings.rss", q="bread"))
    assert texts(feed, "item/title") == ["Bread, new", SHARP, "Bread, old"]
    dates = [parsedate_to_datetime(str(text)) for text in texts(feed, "item/pubDate")]
    assert dates == sorted(dates, reverse=True)
    assert dates[0] == (NOW - timedelta(days=1)).replace(microsecond=0)


def test_a_feed_takes_filters_order_and_limit(service: Served) -> None:
    wanted = channel(service.get("/listings.rss", type="want"))
    assert texts(wanted, "item/title") == ["A ladder"]
    assert texts(wanted, "item/category") == ["want"]
    assert len(texts(channel(service.get("/listings.rss", limit="2")), "item")) == 2
    near = {"near": "48.2,16.4", "sort": "distance"}
    assert texts(channel(service.get("/listings.rss", **near)), "item/title") == ["Bread, new"]


def test_a_feed_says_where_it_and_its_items_are(service: Served) -> None:
    question = {"q": "bread & honey", "type": "offer"}
    answer = service.get("/listings.rss", **question)
    feed = channel(answer)
    (link,) = feed.findall("atom:link", SPACES)
    assert link.get("rel") == "self"
    assert service.client.get(str(link.get("href"))).content == answer.content
    guids, links = texts(feed, "item/guid"), texts(feed, "item/link")
    assert guids == links
    assert all(str(url).startswith(f"{service.url}/l/") for url in guids)
    assert len(set(guids)) == len(guids) == 1
    assert service.client.get(str(links[0])).status_code == 200
    assert service.client.get(str(feed.findtext("link"))).status_code == 200


def test_a_place_in_a_feed_is_blurred_and_only_where_there_is_one(service: Served) -> None:
    feed = channel(service.get("/listings.rss", q="bread"))
    (point,) = texts(feed, "item/georss:point")
    lat, lon = map(float, str(point).split())
    assert (lat, lon) == pytest.approx(VIENNA, abs=0.03)
    assert (lat, lon) != VIENNA


def test_what_xml_cannot_hold_does_not_break_a_feed(service: Served) -> None:
    feed = channel(service.client.get("/listings.rss?q=bread%01%0B%EF%BF%BE%20%3C%26"))
    assert feed.findtext("title") == "LocalPay: bread <&"


def test_geojson_has_a_point_where_there_is_a_place_and_else_null(service: Served) -> None:
    found = features(service, q="bread")
    assert set(found) == {"Bread, new", SHARP, "Bread, old"}
    lon, lat = found["Bread, new"]["geometry"]["coordinates"]
    assert (lat, lon) == pytest.approx(VIENNA, abs=0.03)
    assert found["Bread, new"]["geometry"]["type"] == "Point"
    assert found["Bread, old"]["geometry"] is None
    assert found["Bread, old"]["properties"]["categories"] == ["food"]
    assert "lat" not in found["Bread, new"]["properties"]


def test_geojson_has_pages_and_is_what_is_described(service: Served) -> None:
    first = service.get("/listings.geojson", limit="3").json()
    rest = service.get("/listings.geojson", limit="3", cursor=first["cursor"]).json()
    assert (first["total"], len(first["features"]), len(rest["features"])) == (4, 3, 1)
    assert rest["cursor"] is None
    for collection in (first, rest, feeds.GEOJSON_EXAMPLE):
        FeatureCollection.model_validate(collection)


@pytest.mark.parametrize("ending", ["rss", "geojson"])
@pytest.mark.parametrize(
    ("query", "field"),
    [("colour=red", "colour"), ("q=a&q=b", "q"), ("limit=101", "limit"), ("sort=best", "sort")],
)
def test_a_bad_question_names_its_parameter(
    service: Served, ending: str, query: str, field: str
) -> None:
    answer = service.client.get(f"/listings.{ending}?{query}")
    assert answer.status_code == 422
    assert answer.json()["field"] == field


class Alternates(HTMLParser):
    """The addresses of a page's other forms, by media type."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "link" and told.get("rel") == "alternate":
            self.found[str(told["type"])] = str(told["href"])


def test_the_page_of_a_search_links_its_feeds(service: Served) -> None:
    page = service.get("/", q="bread", place="river", radius_km="10", type="")
    found = Alternates(page.text).found
    assert set(found) == {feeds.RSS, feeds.GEOJSON}
    feed = channel(service.client.get(found[feeds.RSS]))
    assert texts(feed, "item/title") == ["Bread, new"]
    assert len(service.client.get(found[feeds.GEOJSON]).json()["features"]) == 1


def test_a_page_that_could_not_be_asked_links_no_feed(service: Served) -> None:
    assert Alternates(service.get("/", near="nowhere").text).found == {}
