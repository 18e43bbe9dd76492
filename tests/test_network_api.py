"""Figures over HTTP, for tokens alone: one table in every form, and no member in any of them."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from shutil import copyfile
from typing import Any
from xml.etree import ElementTree as ET

import httpx2
import pyarrow.parquet
import pytest
from clearing_world import GROUPS, HOUR, admit
from conftest import disposed
from every_table import everything
from figures_page import figures_page
from house import REPOSITORY
from hub_server import Json
from network_world import clock, create, day, paid, pushed
from operating import run
from paying_world import World, open_doors, problem
from sqlalchemy import Engine, update

from api import network_tables
from api.network_tables import Form, table
from clearing import rounds
from clearing.accounts import Limit, LimitKind, account_of, set_limit, set_pair_limit
from clearing.calls import Move, Verb
from clearing.network import Answer, Asked, Column
from clearing.network.figures import FIGURES, PARAMETERS, Span
from commons import tokens
from commons.database import make_engine, now, reading, transaction
from commons.errors import NotAcceptableError
from commons.groups import Group
from commons.settings import Settings
from commons.tokens import Role, Token

NAMES = ("ines", "joan", "nuria", "moss", "wren", "Bicycle", "of the heart")
PERIOD = {"from": "2025-01-01", "to": "2025-04-01"}


@dataclass
class Desk:
    """A service, and tokens for it."""

    world: World
    settings: Settings

    def token(self, role: Role = Role.ANALYST, union: str | None = None) -> str:
        with transaction(self.world.engine) as session:
            return tokens.create(session, role, "Somebody", timedelta(days=1), union)[1]

    def get(self, path: str, token: str | None = None, **more: str) -> httpx2.Response:
        query = {name.rstrip("_"): value for name, value in more.items() if name != "accept"}
        told = {"Authorization": f"Bearer {token or self.token()}"}
        if "accept" in more:
            told["Accept"] = more["accept"]
        return self.world.service.client.get(path, params=query, headers=told)

    def figure(self, name: str, **more: str) -> Json:
        answer = self.get(f"/network/{name}", **more)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found


def write_history(engine: Engine) -> None:
    """Write three months of payments, failures, limits and a round in the past; and a queue."""
    with clock() as time:
        with transaction(engine) as session:
            for group_id, terms in GROUPS.items():
                admit(session, f"{group_id}-old", terms)
            admit(session, "porto", GROUPS["leeds"], "south")
            session.execute(update(Group).values(lat=None, lon=None))
            session.execute(
                update(Group).where(Group.id == "leeds-old").values(lat=53.8, lon=-1.55)
            )
            leeds = account_of(session, "leeds-old")
            set_limit(session, leeds, LimitKind.CREDIT, Limit(50 * HOUR, 100 * HOUR))
            set_pair_limit(session, "ghent-old", "leeds-old", 40 * HOUR)
        circle = [f"{name}-old" for name in GROUPS]
        for month in (1, 2, 3):
            time.at = day(f"2025-0{month}-05")
            for n in range(8):
                for payer, payee in zip(circle, [*circle[1:], circle[0]], strict=True):
                    paid(engine, payer, payee, str(n % 3 + 1))
            for _ in range(6):
                one = create("leeds-old", "ghent-old", "1")
                pushed(engine, one)
                pushed(engine, Move(one.id, "leeds-old", Verb.CANCEL))
            with transaction(engine) as session:
                rounds.settle(session)
        time.at = day("2025-03-20")
        for _ in range(2):
            pushed(engine, create("leeds-old", "ghent-old", "9000"))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Desk]:
    """A service with a history that no test changes."""
    folder = tmp_path_factory.mktemp("network")
    copyfile(sqlite_template, folder / "localpay.sqlite")
    url = f"sqlite:///{folder}/localpay.sqlite"
    settings = Settings(data_dir=folder, base_url="http://testserver", allow_loopback=True)
    with disposed(make_engine(url)) as engine:
        write_history(engine)
        for world in open_doors(settings, engine):
            yield Desk(world, settings.model_copy(update={"database_url": url}))


def asked_of(name: str, **more: str) -> dict[str, str]:
    """Return what a figure is asked with, that the world has something to tell of."""
    own = {"at": "2025-03-25"} if FIGURES[name].span is Span.MOMENT else PERIOD
    return {**own, **more}


ALL = sorted(FIGURES)
EACH = [(name, str(by)) for name in ALL for by in FIGURES[name].grains]


@pytest.mark.parametrize("role", [Role.ANALYST, Role.OPERATOR])
def test_the_figures_are_listed_with_formula_unit_and_source(desk: Desk, role: Role) -> None:
    answer = desk.get("/network", desk.token(role))
    assert answer.headers["cache-control"] == "private, no-store"
    listed = answer.json()["figures"]
    assert [one["name"] for one in listed] == list(FIGURES)
    for one in listed:
        assert all(one[part] for part in ("title", "formula", "unit", "source", "by")), one
        assert one["takes"] == [*PARAMETERS[FIGURES[one["name"]].span], "format"]
        assert desk.get(one["url"], **asked_of(one["name"])).status_code == 200, one


@pytest.mark.parametrize(("name", "by"), EACH)
def test_csv_and_parquet_hold_what_json_holds(desk: Desk, name: str, by: str) -> None:
    query = asked_of(name, by=by)
    told = desk.figure(name, **query)
    columns = [column["name"] for column in told["columns"]]
    assert told["rows"], "a world in which there is nothing to tell"
    assert all(list(row) == columns for row in told["rows"])
    sheet = desk.get(f"/network/{name}", accept="text/csv", **query)
    assert sheet.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    lines = list(csv.reader(io.StringIO(sheet.text)))
    assert lines[0] == columns
    assert lines[1:] == [[in_csv(row[column]) for column in columns] for row in told["rows"]]
    file = desk.get(f"/network/{name}", accept="application/vnd.apache.parquet", **query)
    assert file.headers["content-type"] == "application/vnd.apache.parquet"
    read = pyarrow.parquet.read_table(io.BytesIO(file.content))
    assert read.column_names == columns
    assert [[plain(row[c]) for c in columns] for row in read.to_pylist()] == [
        [plain(in_parquet(row[c])) for c in columns] for row in told["rows"]
    ]
    head = json.loads(read.schema.metadata[b"localpay"])
    assert head == {key: told[key] for key in told if key not in {"columns", "rows"}}
    assert {column.metadata[b"unit"].decode() for column in read.schema} == {
        column["unit"] for column in told["columns"]
    }


def in_csv(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def in_parquet(value: object) -> object:
    """Return a cell of JSON as the type that it was: a decimal or a moment, else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return Decimal(value)
    except ArithmeticError:
        return datetime.fromisoformat(value) if value.endswith("Z") else value


def plain(value: object) -> object:
    return value.normalize() if isinstance(value, Decimal) else value


@pytest.mark.parametrize("name", ALL)
def test_every_figure_is_a_page_that_needs_nothing_else(desk: Desk, name: str) -> None:
    answer = desk.get(f"/network/{name}", format="html", **asked_of(name))
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    for foreign in ("<script", "src=", "href=", "style=", "url("):
        assert foreign not in answer.text
    page = ET.fromstring(answer.text.removeprefix("<!doctype html>"))  # noqa: S314 (our own)
    told = desk.figure(name, **asked_of(name))
    assert [cell.text for cell in page.iter("th")] == [one["name"] for one in told["columns"]]
    assert len(list(page.iter("tr"))) == 1 + len(told["rows"])


def test_a_series_is_drawn_as_lines_and_a_table_as_bars(desk: Desk) -> None:
    lines = desk.get("/network/positions", format="html", by="group", **PERIOD).text
    assert lines.count("<polyline") == 3 + 3 + 1
    bars = desk.get("/network/balances", format="html", at="2025-03-25").text
    assert "<polyline" not in bars
    assert bars.count("<rect") == 3


def test_no_member_stands_in_any_answer(desk: Desk) -> None:
    texts = str(everything(desk.world.engine)["transfers"])
    assert all(name in texts for name in NAMES[:5])
    for name, by in EACH:
        for form in Form:
            answer = desk.get(f"/network/{name}", format=str(form), **asked_of(name, by=by))
            content = answer.content.decode("latin-1")
            if form is Form.PARQUET:
                content = str(pyarrow.parquet.read_table(io.BytesIO(answer.content)).to_pylist())
            said = [word for word in NAMES if re.search(rf"\b{word}\b", content)]
            assert said == [], (name, form)


def test_hubs_and_strangers_see_no_figure(desk: Desk) -> None:
    before = everything(desk.world.engine)
    client = desk.world.service.client
    problem(client.get("/network"), 401, "unauthenticated")
    for name in ALL:
        problem(client.get(f"/network/{name}"), 401, "unauthenticated")
    signed = desk.world.service.call(desk.world.leeds, "GET", "/network/balances")
    problem(signed, 401, "unauthenticated")
    expired = desk.token()
    with transaction(desk.world.engine) as session:
        prefix = expired.partition(".")[0]
        ended = update(Token).where(Token.prefix == prefix).values(expires_at=now(session))
        session.execute(ended)
    for wrong in (expired, "x", f"{expired}x"):
        problem(desk.get("/network/balances", wrong), 401, "unauthenticated")
    after = everything(desk.world.engine)
    assert {key: value for key, value in after.items() if key != "tokens"} == {
        key: value for key, value in before.items() if key != "tokens"
    }


def test_a_token_of_one_union_sees_that_alone(desk: Desk) -> None:
    south = desk.token(union="south")
    for name in ALL:
        problem(desk.get(f"/network/{name}", south, union="main"), 404, "not-found")
        nowhere = problem(desk.get(f"/network/{name}", south, union="nowhere"), 404, "not-found")
        assert nowhere["detail"] == "there is no such union of yours"
        answer = desk.get(f"/network/{name}", south, **asked_of(name))
        assert answer.status_code == 200, answer.text
        assert answer.json()["union"] == "south"
        assert {row["union"] for row in answer.json()["rows"]} <= {"south"}
        assert "leeds" not in answer.text
    problem(desk.get("/network/balances", union="nowhere"), 404, "not-found")
    assert {row["union"] for row in desk.figure("positions", **PERIOD)["rows"]} == {"main", "south"}


@pytest.mark.parametrize(
    ("name", "query", "field"),
    [
        ("balances", {"at": "yesterday"}, "at"),
        ("balances", {"at": "2025-03-01T00:00:00"}, "at"),
        ("balances", {"at": "9999-12-31T23:59:59Z"}, "at"),
        ("balances", {"at": "9999-12-31T23:59:59-23:00"}, "at"),
        ("balances", {"at": "0001-01-01T00:00:00+23:00"}, "at"),
        ("balances", {"at": "2025-03-01" * 1_000}, "at"),
        ("balances", {"at": "1e9"}, "at"),
        ("balances", {"from": "2025-03-01"}, "from"),
        ("balances", {"every": "day"}, "every"),
        ("balances", {"by": "member"}, "by"),
        ("balances", {"format": "xlsx"}, "format"),
        ("balances", {"group": "leeds"}, "group"),
        ("balances", {"union": "a\0b"}, "union"),
        ("balances", {"union": ["main", "other"]}, "union"),
        ("velocity", {"by": "group"}, "by"),
        ("positions", {"every": "hour"}, "every"),
        ("positions", {"from": "0001-01-01"}, "every"),
        ("positions", {"from": "2025-03-01", "to": "2025-02-01"}, "to"),
        ("positions", {"to": "2999-01-01"}, "to"),
        ("positions", {"from": "2999-01-01"}, "from"),
        ("failures", {"from": "2025-01-15", "to": "2025-02-15"}, "from"),
        ("failures", {"from": "", "to": "2025-02-01"}, "from"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    desk: Desk, name: str, query: dict[str, Any], field: str
) -> None:
    told = problem(desk.get(f"/network/{name}", **query), 422, "invalid")
    assert told["field"] == field, told


def test_the_first_year_and_the_whole_of_time_are_told(desk: Desk) -> None:
    for at in ("0001-01-01", "0001-01-02T00:00:00Z", "1970-01-01"):
        for name in ("balances", "limits"):
            assert desk.figure(name, at=at)["rows"] == []
    rounds_told = desk.figure("rounds", **{"from": "0001-01-01", "to": "2025-04-01"})
    assert rounds_told["totals"]["rounds"] == 3
    assert desk.figure("positions", **{"from": "2025-01-01", "to": "2025-01-01"})["rows"]


def test_what_is_not_accepted_is_told_what_there_is(desk: Desk) -> None:
    answer = desk.get("/network/balances", accept="image/png")
    told = problem(answer, 406, "not-acceptable")
    assert told["offered"] == list(network_tables.MEDIA_TYPES.values())
    assert desk.get("/network/balances", accept="image/png", format="csv").status_code == 200
    browser = "text/html,application/xhtml+xml,*/*;q=0.8"
    assert desk.get("/network/balances", accept=browser).text.startswith("<!doctype html>")
    plain_answer = desk.get("/network/balances", accept="*/*")
    assert plain_answer.headers["content-type"] == "application/json"
    assert plain_answer.headers["cache-control"] == "private, no-store"
    assert plain_answer.headers["vary"] == "Accept"


def test_without_pyarrow_parquet_names_what_to_install(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:  # noqa: ANN401 (a module)
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(network_tables, "import_module", missing)
    told = problem(desk.get("/network/balances", format="parquet"), 406, "not-acceptable")
    assert "localpay[parquet]" in told["detail"]
    assert "application/vnd.apache.parquet" not in told["offered"]
    assert desk.get("/network/balances", format="csv").status_code == 200
    with pytest.raises(NotAcceptableError):
        network_tables.parquet(Answer("balances", asked(), (), ()))


def asked() -> Asked:
    return Asked(None, day("2025-01-01"), day("2025-01-01"))


def test_a_text_that_a_spreadsheet_would_compute_is_led_by_an_apostrophe() -> None:
    cells = ("=1+1", "+1", "-1", "@sum", "\tx", "leeds", 'a "quoted", one')
    columns = (Column("group", "id", "The group."), Column("balance", "clearing units", "It."))
    rows = [(cell, Decimal("-1.5000")) for cell in cells]
    written = table(Answer("balances", asked(), columns, rows))
    read = list(csv.reader(io.StringIO(written)))[1:]
    assert [row[0] for row in read] == [*(f"'{cell}" for cell in cells[:5]), *cells[5:]]
    assert {row[1] for row in read} == {"-1.5000"}


def test_a_group_is_in_the_region_of_the_nearest_town(desk: Desk) -> None:
    told = desk.figure("balances", by="region", at="2025-03-25")
    assert {row["region"]: row["accounts"] for row in told["rows"]} == {
        "GB, England": 1,
        "unknown": 2,
    }


@pytest.mark.parametrize("name", ["balances", "positions", "limits"])
def test_what_is_told_of_a_moment_is_the_same_ever_after(
    settings: Settings, engine: Engine, name: str
) -> None:
    write_history(engine)
    for world in open_doors(settings, engine):
        office = Desk(world, settings)
        token = office.token()
        moment = latest(engine)
        own = {"at": moment} if FIGURES[name].span is Span.MOMENT else {"to": moment}
        before = office.get(f"/network/{name}", token, **own)
        assert before.status_code == 200, before.text
        made = world.made("2.50")
        assert world.move(world.leeds, made, "accept").json()["state"] == "posted"
        assert office.get(f"/network/{name}", token, **own).json() == before.json()
        later = {} if FIGURES[name].span is Span.MOMENT else {"to": latest(engine)}
        assert (
            office.get(f"/network/{name}", token, **later).json()["rows"] != before.json()["rows"]
        )


def latest(engine: Engine) -> str:
    with reading(engine) as session:
        return now(session).isoformat()


def test_the_command_prints_what_the_interface_tells(desk: Desk) -> None:
    listed = run(desk.settings, "network", "list")
    assert all(name in listed.stdout for name in FIGURES)
    words = ("network", "balances", "--at", "2025-03-25", "--format")
    printed = json.loads(run(desk.settings, *words, "json").stdout)
    assert printed == desk.figure("balances", at="2025-03-25")
    assert run(desk.settings, *words, "csv").stdout_bytes == (
        desk.get("/network/balances", format="csv", at="2025-03-25").content
    )
    shown = run(desk.settings, "network", "positions", "--from", "2025-01-01", "--to", "2025-04-01")
    assert "net_internal_debt" in shown.stdout
    assert "total_owed: " in shown.stderr
    for wrong, code in (
        (("nothing",), 1),
        (("limits", "--every", "day"), 2),
        (("limits", "--union", "nowhere"), 1),
        (("limits", "--at", "soon"), 2),
    ):
        assert run(desk.settings, "network", *wrong).exit_code == code, wrong


def test_the_page_of_figures_is_what_the_registry_says() -> None:
    page = (REPOSITORY / "docs" / "network.md").read_text(encoding="utf-8")
    assert page == figures_page(), "run: python tests/figures_page.py > docs/network.md"
    for figure in FIGURES.values():
        assert f"GET /network/{figure.name}?" in page
        assert all(figure.told(part) for part in ("Formula", "Unit", "Source"))
