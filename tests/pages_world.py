"""A service with some listings, and what stands on its pages."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

from market import HOURS, NOW, VIENNA, add_groups, draft, publish
from served import Served, served
from sqlalchemy import Engine, select

from commons.database import transaction
from commons.groups import Group, Hub, HubState
from commons.settings import Settings
from marketplace.payment import Payment, PaymentMeans

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def admitted(group_id: str) -> Hub:
    return Hub(
        group_id=group_id,
        state=HubState.ADMITTED,
        inbox_uri=f"https://{group_id}.example/inbox",
        rate_wanted="1/10",
        registered_at=NOW,
    )


@contextmanager
def open_pages(settings: Settings, engine: Engine) -> Iterator[Served]:
    """Serve a group `river` in Vienna with bicycles, a lesson, tricks and thirty jams."""
    add_groups(engine)
    with transaction(engine) as session:
        group = session.scalars(select(Group).where(Group.id == "river")).one()
        group.lat, group.lon = VIENNA
        group.place_name, group.summary = "Wien", HOSTILE
        session.add(admitted("river"))
    publish(
        engine,
        draft(
            "bikes",
            "Bicycle repair",
            "<p>I mend your <b>bicycle</b></p>" + HOSTILE,
            lat=VIENNA[0],
            lon=VIENNA[1],
            language="en",
            payments=(Payment(PaymentMeans.LOCAL, "https://river.example/currency", "12.50"),),
        ),
        draft("hours", "Piano lessons", payments=(Payment(PaymentMeans.TIME, HOURS, "1"),)),
        draft("hostile", f"Tricks {HOSTILE}", payments=(Payment(PaymentMeans.TIME, None, "2"),)),
        *(draft(f"jam{number}", f"Jam of the kind {number}") for number in range(30)),
        group_id="river",
    )
    with served(settings, engine) as service:
        service.work()
        yield service


class Outline(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(service: Served, path: str, status: int = 200, **question: Any) -> str:  # noqa: ANN401 (fields of the form)
    answer = service.get(path, **question)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


def address(text: str, words: str) -> str:
    """Return where the first link that holds the words leads."""
    links = re.findall(r'<a [^>]*href="([^"]+)"[^>]*>(.*?)</a>', text, re.DOTALL)
    return unescape(next(href for href, inside in links if words in inside))


def questions(link: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(link).query)


def titles(text: str) -> list[str]:
    return re.findall(r'<h2[^>]*><a href="/l/[^"]+">([^<]+)</a>', text)
