"""Pushes of no sound JSON, of another media type, or of odd letters: kept out, or harmless."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
from conftest import disposed
from hub_server import HubServer, Json
from served import ACTIVITY, Served, served
from sqlalchemy import Engine, func, select

from commons.database import make_engine, reading
from commons.settings import Settings
from crawler.kept import InboxMessage, PutAside
from marketplace.listings import Listing, shown


def opened(settings: Settings, engine: Engine) -> Iterator[tuple[Served, HubServer]]:
    with served(settings, engine) as service, HubServer().serving() as hub:
        service.register(hub)
        service.admit(hub.name)
        hub.member()
        for _ in range(2):
            service.work()
        yield service, hub


@pytest.fixture(scope="module")
def world(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, HubServer]]:
    """A service and a hub; shared by the tests that store nothing."""
    folder = tmp_path_factory.mktemp("documents")
    path = folder / "localpay.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    settings = Settings(data_dir=folder / "data", base_url="http://testserver", allow_loopback=True)
    settings.data_dir.mkdir()
    with disposed(make_engine(f"sqlite:///{path}")) as engine:
        yield from opened(settings, engine)


def kept(service: Served) -> list[int]:
    with reading(service.services.engine) as session:
        return [
            session.scalar(select(func.count()).select_from(table)) or 0
            for table in (InboxMessage, PutAside, Listing)
        ]


def sent(service: Served, hub: HubServer, body: bytes, media_type: str = ACTIVITY) -> int:
    """Send a body as it is, signed as it is."""
    return service.call(hub, "POST", "/inbox", body, media_type=media_type).status_code


MEDIA_TYPES: Final[dict[str, bool]] = {
    "application/activity+json": True,
    "APPLICATION/ACTIVITY+JSON;charset=UTF-8": True,
    'application/ld+json; profile="https://www.w3.org/ns/activitystreams"': True,
    "application/json": False,
    "application/ld+json": False,
    'application/ld+json; profile="https://www.w3.org/ns/activitystreams/"': False,
    'application/ld+json; profile="HTTPS://WWW.W3.ORG/NS/ACTIVITYSTREAMS"': False,
    "application/ld+json; x=https://www.w3.org/ns/activitystreams": False,
    "application/activity+xml": False,
    "application/jrd+json": False,
    "application/x-www-form-urlencoded": False,
    "multipart/form-data; boundary=application/activity+json": False,
    "multipart/mixed; application/activity+json": False,
    "text/plain": False,
    "text/html": False,
    "text/html; charset=application/activity+json": False,
    "text/html, application/activity+json": False,
    'text/html; profile="https://www.w3.org/ns/activitystreams"': False,
    'application/json; profile="https://www.w3.org/ns/activitystreams"': False,
    "application/activity+json, text/html": False,
    "application / activity+json": False,
    "image/png": False,
    "*/*": False,
    "application/*": False,
    ";application/activity+json": False,
    "profile*=utf-8''application/activity+json": False,
    "application/ld+json; profile*0*=utf-8'; profile*x=": False,
    'application/ld+json; profile="': False,
    "": False,
}


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_only_what_is_activitypub_by_its_media_type_is_taken(
    world: tuple[Served, HubServer], media_type: str
) -> None:
    service, hub = world
    body = json.dumps(hub.activity("Dance", hub.actor_uri)).encode()
    before = kept(service)
    status = sent(service, hub, body, media_type)
    taken = MEDIA_TYPES[media_type]
    assert status == (202 if taken else 415)
    assert kept(service) == [before[0] + taken, *before[1:]]


def raw(hub: HubServer, **members: bytes) -> bytes:
    """A whole Create in which members stand as they are written here."""
    told = json.dumps(hub.activity("Create", hub.proposal(1)), ensure_ascii=False).encode()
    for name, value in members.items():
        told = told[:-1] + b', "' + name.encode() + b'": ' + value + b"}"
    return told


BROKEN: Final[dict[str, Any]] = {
    "nothing": lambda _: b"",
    "blanks": lambda _: b"   ",
    "a text": lambda _: b'"Create"',
    "a number": lambda _: b"7",
    "null": lambda _: b"null",
    "a list": lambda hub: b"[" + raw(hub) + b"]",
    "two documents": lambda hub: raw(hub) + raw(hub),
    "cut short": lambda hub: raw(hub)[:-10],
    "a comma too many": lambda hub: raw(hub)[:-1] + b",}",
    "single quotes": lambda hub: raw(hub).replace(b'"', b"'"),
    "a comment": lambda hub: raw(hub) + b"// good",
    "a byte order mark": lambda hub: b"\xef\xbb\xbf" + raw(hub),
    "UTF-16": lambda hub: raw(hub).decode().encode("utf-16"),
    "UTF-16 without a mark": lambda hub: raw(hub).decode().encode("utf-16-be"),
    "UTF-32": lambda hub: raw(hub).decode().encode("utf-32"),
    "Latin-1": lambda hub: raw(hub, x='"é"'.encode("latin-1")),
    "overlong letters": lambda hub: raw(hub, x=b'"\xc0\xaf"'),
    "surrogates in UTF-8": lambda hub: raw(hub, x=b'"\xed\xa0\x80"'),
    "beyond Unicode": lambda hub: raw(hub, x=b'"\xf5\x80\x80\x80"'),
    "half a pair": lambda hub: raw(hub, x=b'"\\ud83d"'),
    "the other half": lambda hub: raw(hub, x=b'"\\ude00 x"'),
    "a pair the wrong way round": lambda hub: raw(hub, x=b'"\\ude00\\ud83d"'),
    "NUL": lambda hub: raw(hub, x=b'"a\\u0000b"'),
    "NUL in a name": lambda hub: raw(hub)[:-1] + b', "\\u0000": 1}',
    "a bare NUL": lambda hub: raw(hub, x=b'"\0"'),
    "a bare newline in a text": lambda hub: raw(hub, x=b'"\n"'),
    "a bare escape in a text": lambda hub: raw(hub, x=b'"\x1b"'),
    "an escape that is none": lambda hub: raw(hub, x=b'"\\x41"'),
    "NaN": lambda hub: raw(hub, x=b"NaN"),
    "infinity": lambda hub: raw(hub, x=b"-Infinity"),
    "1e999": lambda hub: raw(hub, x=b"1e999"),
    "-1e999": lambda hub: raw(hub, x=b"[-1e999]"),
    "a number with a plus": lambda hub: raw(hub, x=b"+1"),
    "a number with noughts before": lambda hub: raw(hub, x=b"007"),
    "a number in hex": lambda hub: raw(hub, x=b"0x7f"),
    "2 to the 63rd": lambda hub: raw(hub, x=b"9223372036854775808"),
    "five thousand digits": lambda hub: raw(hub, x=b"9" * 5_000),
    "twice the same id": lambda hub: raw(hub, id=b'"http://127.0.0.1/x"'),
    "twice the same type": lambda hub: raw(hub, type=b'"Delete"'),
    "twice the same, written otherwise": lambda hub: raw(hub)[:-1] + b', "\\u0069d": "x"}',
    "twice the same, deep": lambda hub: raw(hub, x=b'[{"a": [{"b": 1, "b": 1}]}]'),
    "too deep": lambda hub: raw(hub, x=b"[" * 101 + b"]" * 101),
    "much too deep": lambda hub: raw(hub, x=b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "too wide": lambda hub: raw(hub, x=b"[" + b"{}," * 100_000 + b"1]"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_sound_json_is_malformed_and_stores_nothing(
    world: tuple[Served, HubServer], kind: str
) -> None:
    service, hub = world
    before = kept(service)
    assert sent(service, hub, BROKEN[kind](hub)) == 400
    service.work()
    assert kept(service) == before


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 3 * 1024 * 1024])
def test_more_than_a_mebibyte_is_refused(world: tuple[Served, HubServer], size: int) -> None:
    service, hub = world
    before = kept(service)
    assert sent(service, hub, raw(hub, x=b'"' + b"x" * size + b'"')) == 413
    assert kept(service) == before


# What JSON may say, however odd.
LETTERS: Final[dict[str, Json]] = {
    "emoji": {"name": "Bread 🍞👩‍🌾"},
    "letters taken apart": {"name": "Cafe\u0301"},
    "another script": {"name": "خبز"},
    "NEL and line separators": {"name": "a\u0085b\u2028c"},
    "right to left, overridden": {"name": "\u202edaerb\u202c"},
    "nothing but marks": {"name": "\u0301" * 50},
    "nothing but what is not seen": {"name": "\u200b\u200d\ufeff"},
    "a bell": {"name": "bell\a"},
    "an escape": {"name": "\x1b[31mred"},
    "tags": {"name": "<b>Bread</b>"},
    "too long": {"name": "x" * 10_000},
    "letters of one's own": {"name": "\ue000\U000f0000"},
    "no letter at all": {"name": "\uffff"},
    "a number": {"name": 7},
    "a truth": {"name": True},
    "a list": {"name": ["Bread", "Butter"]},
    "an object": {"name": {"@value": "Bread"}},
    "minus nought": {"name": "Bread", "location": {"latitude": -0.0, "longitude": -0.0}},
    "a whole number of 64 bits": {"name": "Bread", "x": 2**63 - 1},
    "hardly any number": {"name": "Bread", "x": 5e-324},
    "a date before all time": {"updated": "0000-00-00T00:00:00Z"},
    "a date after all time": {"updated": "9999-12-31T23:59:59-23:59"},
    "a date in seconds": {"name": "Bread", "updated": 1_790_000_000},
    "a date of no number": {"updated": "soon"},
    "an odd price": {"reciprocal": {"resourceQuantity": {"hasNumericalValue": "1e400"}}},
}  # fmt: skip


def shown_and_put_aside(service: Served) -> tuple[dict[str, str], set[str]]:
    with reading(service.services.engine) as session:
        titles = session.execute(select(Listing.uri, Listing.title).where(shown())).all()
        return dict(titles), set(session.scalars(select(PutAside.uri)))


_NUMBERS: Final = count(10)


@pytest.mark.parametrize("kind", LETTERS)
def test_odd_letters_and_numbers_stop_nothing(world: tuple[Served, HubServer], kind: str) -> None:
    """Whatever becomes of the odd one, the next is there, and every page and feed can be read."""
    service, hub = world
    odd, plain = hub.proposal(next(_NUMBERS), **LETTERS[kind]), hub.proposal(next(_NUMBERS))
    for proposal in (odd, plain):
        assert service.push(hub, hub.activity("Create", proposal)).status_code == 202
    service.work()
    titles, aside = shown_and_put_aside(service)
    assert plain["id"] in titles
    assert (odd["id"] in titles) != (odd["id"] in aside)
    assert not {"\u202e", "\u202c", "\0"} & set(titles.get(odd["id"], ""))
    for path in ("/", "/listings", "/listings.geojson"):
        assert service.client.get(path).status_code == 200
    feed = service.client.get("/listings.rss")
    assert feed.status_code == 200
    ET.fromstring(feed.content)  # noqa: S314 (our own, and it must be well-formed)


def test_an_id_of_letters_taken_apart_is_another_id(world: tuple[Served, HubServer]) -> None:
    service, hub = world
    start = f"{hub.base}/proposals/"
    for letters in ("caf\u00e9", "cafe\u0301", "CAF\u00c9"):
        push = hub.activity("Create", hub.proposal(1, id=start + letters, name=letters))
        assert service.push(hub, push).status_code == 202
    service.work()
    gone = hub.delete(hub.proposal(1, id=f"{start}caf\u00e9"), hours=5)
    assert service.push(hub, gone).status_code == 202
    service.work()
    titles, _ = shown_and_put_aside(service)
    assert {uri.removeprefix(start) for uri in titles} >= {"cafe\u0301", "CAF\u00c9"}
    assert f"{start}caf\u00e9" not in titles
