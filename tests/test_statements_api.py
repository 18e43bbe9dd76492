"""Statements, balances, roots and erasure over HTTP: each hub its own, and signed."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copyfile
from urllib.parse import quote
from uuid import UUID
from xml.etree import ElementTree as ET

import httpx2
import pytest
from conftest import disposed
from hub_server import HubServer, Json
from paying_world import World, open_doors, problem
from served import verified_by_our_key
from sqlalchemy import Engine
from test_camt import check
from test_clearing_commands import wait_for_a_lock

from api.routes.statements import CSV, JSON, chosen
from api.seals import seal_of
from clearing import roots, verifying
from clearing.calls import Move, Verb, handle
from clearing.statements import COLUMNS, camt
from commons import tokens
from commons.database import make_engine, transaction
from commons.errors import NotAcceptableError
from commons.key_formats import decode_multikey
from commons.settings import Settings
from commons.tokens import Role

ALL = "from=2026-01-01"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[World]:
    """Three payments, that no test changes."""
    folder = tmp_path_factory.mktemp("statements")
    copyfile(sqlite_template, folder / "localpay.sqlite")
    settings = Settings(data_dir=folder, base_url="http://testserver", allow_loopback=True)
    with disposed(make_engine(f"sqlite:///{folder}/localpay.sqlite")) as engine:
        for world in open_doors(settings, engine):
            for amount, description in (("1.50", "bread"), ("2.00", "=1+1"), ("0.75", "")):
                pay(world, amount, description)
            yield world


@pytest.fixture
def other_world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, engine)


def pay(world: World, amount: str, description: str = "") -> str:
    transfer_id = world.made(amount, description=description)
    assert world.move(world.leeds, transfer_id, "accept").status_code == 200
    return transfer_id


def statement(
    world: World, hub: HubServer, query: str = ALL, accept: str | None = None, group_id: str = ""
) -> httpx2.Response:
    path = f"/accounts/{group_id or hub.name}/statement?{query}"
    request = world.service.request(hub, "GET", path)
    if accept is not None:
        request.headers["Accept"] = accept
    return world.service.client.send(request)


def read(answer: httpx2.Response) -> Json:
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def bearer(world: World, path: str, role: Role) -> httpx2.Response:
    with transaction(world.engine) as session:
        _, text = tokens.create(session, role, "figures", timedelta(days=1))
    return world.service.client.get(path, headers={"Authorization": f"Bearer {text}"})


def verify(world: World, *answers: httpx2.Response, proven: Json | None = None) -> list[str]:
    method = world.service.get("/actor").json()["assertionMethod"][0]
    key = decode_multikey(method["publicKeyMultibase"])
    found = [verifying.read_statement("a.json", answer.content) for answer in answers]
    inclusions = []
    if proven is not None:
        inclusions.append(verifying.read_inclusion("root.json", json.dumps(proven).encode()))
    moment = datetime.now(UTC) + timedelta(seconds=1)
    return verifying.verify(found, inclusions, key, moment).problems  # type: ignore[arg-type] # Ed25519


def test_a_hub_reads_its_statement_and_checks_it_with_our_key(world: World) -> None:
    answers = [statement(world, hub) for hub in (world.barcelona, world.leeds)]
    for answer in answers:
        assert verified_by_our_key(world.service, answer)
    told = read(answers[0])
    assert [line["amount"] for line in told["lines"]] == ["-1.5000", "-2.0000", "-0.7500"]
    first = told["lines"][0]
    assert first["payment"]["payer"] == "barcelona/ines"
    assert first["payment"]["payee"] == "leeds/moss"
    assert first["payment"]["description"] == "bread"
    assert (
        told["closing"]["head"]
        == read(world.service.call(world.barcelona, "GET", "/accounts/barcelona"))["head"]
    )
    assert verify(world, *answers) == []


def test_pages_follow_each_other_by_link_and_cursor(world: World) -> None:
    page = statement(world, world.leeds, f"{ALL}&limit=1")
    found = [page]
    while "link" in page.headers:
        target = page.links["next"]["url"]
        assert quote(read(page)["next"]) in target
        page = world.service.call(world.leeds, "GET", target)
        found.append(page)
    assert [read(one)["page"] for one in found] == [1, 2, 3]
    assert {read(one)["to"] for one in found} == {read(found[0])["to"]}
    assert verify(world, *found) == []
    cursor = read(found[0])["next"]
    problem(statement(world, world.leeds, f"from=2026-01-02&cursor={cursor}"), 422, "invalid")


def test_the_same_lines_come_as_csv_and_camt(world: World) -> None:
    table = statement(world, world.barcelona, accept="text/csv")
    assert table.headers["content-type"].startswith("text/csv; charset=utf-8")
    rows = [row.split(",") for row in table.text.splitlines()]
    assert rows[0] == list(COLUMNS)
    kinds = [row[COLUMNS.index("kind")] for row in rows[1:]]
    assert kinds == ["opening", "payment", "payment", "payment", "closing"]
    described = [row[COLUMNS.index("description")] for row in rows[2:5]]
    assert described == ["bread", "'=1+1", ""]  # no formula for a spreadsheet
    message = statement(world, world.barcelona, accept="application/xml")
    assert message.headers["content-type"] == "application/xml"
    assert list(check(ET.fromstring(message.content))) == []  # noqa: S314 (our own)
    assert {one.headers["vary"] for one in (table, message)} == {"Accept"}


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/*", CSV),
        ("application/xml, */*;q=0.1", camt.MEDIA_TYPE),
        ("application/json;q=0.5, text/csv", CSV),
        ("application/*;q=0.2, application/json;q=0", camt.MEDIA_TYPE),
        ("TEXT/CSV", CSV),
    ],
)
def test_the_form_is_the_most_welcome_one(accept: str, media_type: str) -> None:
    assert chosen(accept) == media_type


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "text/csv;q=x"])
def test_another_form_is_not_given(accept: str) -> None:
    with pytest.raises(NotAcceptableError):
        chosen(accept)


def test_what_is_offered_is_told_where_none_of_it_is_taken(world: World) -> None:
    found = problem(statement(world, world.leeds, accept="text/html"), 406, "not-acceptable")
    assert found["offered"] == [JSON, CSV, camt.MEDIA_TYPE]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=5", "from"),
        ("from=2026-01-01T00:00:00", "from"),
        ("from=soon", "from"),
        ("from=2999-01-01", "from"),
        ("from=2026-01-01&to=2999-01-01", "to"),
        ("from=2026-01-02&to=2026-01-01", "to"),
        ("from=2026-01-01&limit=0", "limit"),
        ("from=2026-01-01&limit=1001", "limit"),
        ("from=2026-01-01&limit=ten", "limit"),
        ("from=2026-01-01&cursor=x", "cursor"),
        (f"from={'9' * 41}", "from"),
    ],
)
def test_a_bad_question_is_told_by_its_field(world: World, query: str, field: str) -> None:
    assert problem(statement(world, world.leeds, query), 422, "invalid")["field"] == field


def test_nobody_sees_another_hubs_account(world: World) -> None:
    for group_id in ("leeds", "nobody"):
        for path in ("statement?from=2026-01-01", "balance?at=2026-01-01", "roots/2026-01-01"):
            answer = world.service.call(world.ghent, "GET", f"/accounts/{group_id}/{path}")
            problem(answer, 404, "not-found")
    answer = world.service.client.get(f"/accounts/leeds/statement?{ALL}")
    problem(answer, 401, "unauthenticated")
    unknown = statement(world, world.leeds, f"{ALL}&union=other")
    problem(unknown, 404, "not-found")


@pytest.mark.parametrize("role", list(Role))
def test_a_token_reads_statements_without_names(world: World, role: Role) -> None:
    answer = bearer(world, f"/accounts/leeds/statement?{ALL}", role)
    told = read(answer)
    assert len(told["lines"]) == 3
    assert "/ines" not in answer.text
    assert "bread" not in answer.text
    assert {line["key"] for line in told["lines"]} == {None}
    assert verify(world, answer) == []


def test_a_balance_is_told_as_of_any_moment(world: World) -> None:
    lines = read(statement(world, world.leeds))["lines"]
    second = quote(lines[1]["time"])
    path = f"/accounts/leeds/balance?at={second}"
    told = read(world.service.call(world.leeds, "GET", path))
    assert (told["version"], told["balance"], told["head"]) == (1, "1.5000", lines[0]["hash"])
    before = read(world.service.call(world.leeds, "GET", "/accounts/leeds/balance?at=2026-01-01"))
    assert (before["version"], before["balance"]) == (0, "0.0000")
    for at in ("2999-01-01", "noon", ""):
        answer = world.service.call(world.leeds, "GET", f"/accounts/leeds/balance?at={at}")
        assert problem(answer, 422, "invalid")["field"] == "at"


def test_what_is_being_posted_is_waited_for(settings: Settings, postgresql_engine: Engine) -> None:
    """Its time is before the statement's end, though it is committed after it was asked for."""
    for world in open_doors(settings, postgresql_engine):
        pay(world, "1.50")
        accepted = Move(UUID(world.made("2.00")), "leeds", Verb.ACCEPT)
        with ThreadPoolExecutor(1) as pool:
            with transaction(world.engine) as session:
                assert handle(session, [accepted])[0].error is None
                asked = pool.submit(statement, world, world.leeds)
                wait_for_a_lock(world.engine)
            told = read(asked.result())
        later = read(statement(world, world.leeds, f"from={told['to']}"))
        again = read(statement(world, world.leeds, f"{ALL}&to={told['to']}"))
        path = f"/accounts/leeds/balance?at={told['to']}"
        balance = read(world.service.call(world.leeds, "GET", path))
        assert told["closing"]["version"] == 2
        assert told["closing"] == later["opening"] == again["closing"]
        assert told["closing"].items() <= balance.items()


def test_anybody_reads_the_roots_and_a_hub_its_proof(world: World) -> None:
    day = datetime.now(UTC).date()
    services = world.service.services
    with transaction(world.engine) as session:
        roots.publish(session, day, seal_of(services.settings, services.keys))
    listed = world.service.get("/roots").json()["roots"]
    assert [one["day"] for one in listed] == [day.isoformat()]
    assert world.service.get("/roots", before=day.isoformat()).json() == {"roots": []}
    assert world.service.get(f"/roots/{day}").json() == listed[0]
    problem(world.service.get("/roots/2026-01-01"), 404, "not-found")
    problem(world.service.get("/roots/today"), 422, "invalid")
    proven = read(world.service.call(world.leeds, "GET", f"/accounts/leeds/roots/{day}"))
    assert proven["published"] == listed[0]
    assert verify(world, statement(world, world.leeds), proven=proven) == []
    none = world.service.call(world.ghent, "GET", f"/accounts/ghent/roots/{day}")
    problem(none, 404, "not-found")


def test_a_hub_erases_its_members_name(other_world: World) -> None:
    world = other_world
    transfer_id = pay(world, "1.50", "bread")
    answer = world.service.call(world.barcelona, "POST", f"/transfers/{transfer_id}/erase")
    told = read(answer)
    assert (told["payer"], told["payee"]) == ("barcelona/", "leeds/moss")
    again = world.service.call(world.barcelona, "POST", f"/transfers/{transfer_id}/erase")
    assert read(again) == told
    first = read(statement(world, world.leeds))["lines"][0]["payment"]
    assert (
        first.items() >= {"payer": "barcelona/", "payee": "leeds/moss", "description": ""}.items()
    )
    assert verify(world, statement(world, world.leeds)) == []
    other = world.service.call(world.ghent, "POST", f"/transfers/{transfer_id}/erase")
    problem(other, 404, "not-found")
    pending = world.made("1.00")
    answer = world.service.call(world.leeds, "POST", f"/transfers/{pending}/erase")
    assert problem(answer, 409, "conflict")["state"] == "pending"
    assert world.see(world.leeds, pending)["payee"] == "leeds/moss"
