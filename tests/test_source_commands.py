"""`localpay source`: added with evidence, read daily or by hand, listed and removed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Crawling
from served import keep_keys
from source_servers import Komunitin
from test_ces import HEADER
from test_ces import title as row
from test_commands import good, refused

from api.migrations import upgrade
from commons.database import make_engine, reading
from commons.groups import Currency
from commons.settings import Settings
from crawler.peers import Peer, PeerState
from marketplace.listings import Listing

EVIDENCE = ("--evidence", "Its coordinator wrote on 1 October that it agrees.")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    keep_keys(settings)
    upgrade(settings.effective_database_url)
    return settings


@pytest.fixture
def komunitin() -> Iterator[Komunitin]:
    with Komunitin().serving() as server:
        server.add("offers", "o1")
        yield server


def add(settings: Settings, kind: str, address: str, *more: str) -> dict[str, object]:
    named = ("--group", "girona", "--name", "Girona", *EVIDENCE, *more)
    added: dict[str, object] = json.loads(good(settings, "source", "add", kind, address, *named))
    return added


def listed(settings: Settings) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(good(settings, "source", "list", "--json"))[
        "sources"
    ]
    return found


def work(settings: Settings) -> None:
    engine = make_engine(settings.effective_database_url)
    with Crawling(engine, settings) as crawling:
        crawling.work()
    engine.dispose()


def test_a_source_is_added_read_listed_and_removed(
    settings: Settings, komunitin: Komunitin
) -> None:
    added = add(settings, "komunitin", komunitin.address, "--near", "41.98, 2.82")
    assert added["state"] == PeerState.CONSENTED
    assert added["next_look_at"] is not None
    work(settings)
    (one,) = listed(settings)
    assert (one["group"], one["state"], one["listings"]) == ("girona", PeerState.LIVE, 1)
    assert "komunitin" in good(settings, "source", "list")

    removed = json.loads(good(settings, "source", "remove", "girona"))
    assert removed == {"group": "girona", "withdrawn": 1}
    (one,) = listed(settings)
    assert (one["state"], one["listings"], one["next_look_at"]) == ("discovered", 0, None)
    add(settings, "komunitin", komunitin.address)
    work(settings)
    assert listed(settings)[0]["listings"] == 1


def test_without_evidence_nothing_is_added(settings: Settings, komunitin: Komunitin) -> None:
    named = ("source", "add", "komunitin", komunitin.address, "--group", "g", "--name", "G")
    said = refused(settings, *named, "--evidence", " ", code=2)
    assert said.startswith("localpay: evidence: ")
    assert listed(settings) == []
    assert komunitin.asked == []


@pytest.mark.parametrize("near", ["here", "91,0", "0,181", "41", "1e1,2", "nan,nan"])
def test_a_place_off_the_earth_is_refused(settings: Settings, near: str) -> None:
    named = ("--group", "g", "--name", "G", *EVIDENCE, "--near", near)
    said = refused(settings, "source", "add", "ces", "https://x.example/offers.csv", *named, code=2)
    assert said.startswith("localpay: near: ")
    assert listed(settings) == []


def test_an_hour_is_a_currency_that_everybody_knows(settings: Settings) -> None:
    hour = "http://www.wikidata.org/entity/Q25235"
    add(settings, "timeoverflow", "https://bank.example/", "--by-hand", "--currency", hour)
    assert listed(settings)[0]["by_hand"] is True


@pytest.mark.parametrize("hour", ["wd:Q25235", "Q25235"])
def test_a_currency_is_given_by_the_name_of_its_item(settings: Settings, hour: str) -> None:
    add(settings, "timeoverflow", "https://bank.example/", "--by-hand", "--currency", hour)
    engine = make_engine(settings.effective_database_url)
    with reading(engine) as session:
        assert session.query(Currency).one().uri == "http://www.wikidata.org/entity/Q25235"
    engine.dispose()


def test_an_address_that_was_removed_is_added_under_another_id(
    settings: Settings, komunitin: Komunitin
) -> None:
    named = ("--name", "Girona", *EVIDENCE)
    typed = ("source", "add", "komunitin", komunitin.address, *named, "--group", "giorna")
    good(settings, *typed)
    work(settings)
    also = ("source", "add", "komunitin", komunitin.address, *named, "--group", "girona")
    refused(settings, *also, code=1)
    good(settings, "source", "remove", "giorna")
    good(settings, *also)
    work(settings)
    (one,) = listed(settings)
    assert (one["group"], one["listings"]) == ("girona", 1)
    assert "giorna" not in good(settings, "hub", "list")


def test_a_file_is_read_with_counts_and_each_refusal(settings: Settings, tmp_path: Path) -> None:
    add(settings, "ces", "https://ces.example/", "--by-hand")
    file = tmp_path / "offers.csv"
    file.write_text("\n".join([HEADER, row("Bread"), row(""), row("Secret", scope="0")]))
    said = good(settings, "source", "read", "ces", str(file), "--group", "girona")
    lines = said.splitlines()
    assert "inserted: 1" in lines
    assert "invalid: 1" in lines
    assert "withdrawn: 0" in lines
    assert lines[-2].startswith("line 3: title: must not be empty")
    assert "not public: 1" in lines
    assert lines[-1] == "line 4: scope: is not 3, which is for everybody"
    assert "Secret" not in said
    assert "unchanged: 1" in good(settings, "source", "read", "ces", str(file), "--group", "girona")

    file.write_text("\n".join([HEADER, row("Honey"), row("Old", expires="2020-01-01")]))
    read = ("source", "read", "ces", str(file), "--group", "girona", "--complete")
    lines = good(settings, *read).splitlines()
    assert {"withdrawn: 1", "inserted: 1", "expired: 1"} <= set(lines)
    assert lines[-1].startswith("expires: is over already, so it is not shown (https://ces.example")
    assert listed(settings)[0]["listings"] == 1


def test_a_komunitin_page_is_read_from_a_file(
    settings: Settings, komunitin: Komunitin, tmp_path: Path
) -> None:
    add(settings, "komunitin", komunitin.address)
    file = tmp_path / "offers.json"
    file.write_bytes(komunitin.answer("/GRP0/offers", {"include": "x"}).body)
    said = good(settings, "source", "read", "komunitin", str(file), "--group", "girona")
    assert "inserted: 1" in said


def test_a_file_of_members_is_refused_and_nothing_of_it_is_told(
    settings: Settings, tmp_path: Path
) -> None:
    add(settings, "ces", "https://ces.example/", "--by-hand")
    for name, header in (("MEMBERS.csv", HEADER), ("offers.csv", f"{HEADER},password")):
        file = tmp_path / name
        file.write_text(f"{header}\n{row('Bread')},hunter2\n")
        said = refused(settings, "source", "read", "ces", str(file), "--group", "girona", code=2)
        assert "members" in said
        assert "hunter2" not in said
    engine = make_engine(settings.effective_database_url)
    with reading(engine) as session:
        assert session.query(Listing).count() == 0
        assert session.query(Peer).one().last_heard_at is None
    engine.dispose()


def test_what_is_not_there_is_told_in_one_line(settings: Settings, tmp_path: Path) -> None:
    add(settings, "ces", "https://ces.example/", "--by-hand")
    file = tmp_path / "offers.csv"
    read = ("source", "read", "ces", str(file), "--group")
    assert "offers.csv: there is no such file" in refused(settings, *read, "girona", code=2)
    file.write_text(HEADER)
    assert "--group nobody --by-hand" in refused(settings, *read, "nobody", code=1)
    other = tmp_path / "all.csv"
    other.write_text(HEADER)
    unclear = ("source", "read", "ces", str(other), "--group", "girona")
    assert refused(settings, *unclear, code=2).startswith("localpay: file: must say by its name")
    wrong = ("source", "read", "timeoverflow", str(file), "--group", "girona")
    assert "kind" in refused(settings, *wrong, code=2)
    assert "nobody" in refused(settings, "source", "remove", "nobody", code=1)


def test_the_help_says_what_an_address_is(settings: Settings) -> None:
    said = good(settings, "source", "add", "--help")
    assert "{OFFERS,WANTS}" in said
    assert "passwords" in said
