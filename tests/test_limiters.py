"""Every limit on how often something may be asked fires, whoever the asker says that it is."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx2
import pytest
from conftest import disposed
from hub_server import HubServer
from pushing_world import StaticHub
from served import ACTIVITY, Served, served

from api.allowances import Allowance, Allowances
from commons.database import make_engine
from commons.settings import Settings
from commons.signatures import generate_ed25519
from crawler import inbox
from crawler.fasp import registering
from crawler.interest import asking, home
from marketplace.drafts import listing_id

FORGED: Final = (
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-For", "127.0.0.1, 198.51.100.7"),
    ("Forwarded", "for=203.0.113.7;proto=https"),
    ("X-Real-IP", "203.0.113.8"),
    ("CF-Connecting-IP", "203.0.113.9"),
    ("True-Client-IP", "203.0.113.10"),
    ("X-Client-IP", "203.0.113.11"),
    ("Via", "1.1 203.0.113.12"),
)


@dataclass
class World:
    """A service with a hub that it follows, one that pushes, and one whose members ask."""

    service: Served
    hub: HubServer
    static: StaticHub
    payer: HubServer
    numbers: Iterator[int]

    def join(self) -> httpx2.Request:
        form = {"address": f"hub{next(self.numbers)}"}
        return self.service.client.build_request("POST", "/join", data=form)

    def share(self) -> httpx2.Request:
        asked = {"server": f"https://fedi{next(self.numbers)}.example"}
        return self.service.client.build_request("POST", "/fasp/registration", json=asked)

    def check(self) -> httpx2.Request:
        return self.service.client.build_request("POST", f"/hubs/{self.hub.name}/check")

    def put(self) -> httpx2.Request:
        path = f"/hubs/{self.static.name}/listings/{next(self.numbers)}"
        told = {"type": "offer", "title": "Bread"}
        return self.service.request(self.static, "PUT", path, told)

    def delete(self) -> httpx2.Request:
        return self.service.request(self.static, "DELETE", f"/hubs/{self.static.name}/listings/1")

    def put_many(self) -> httpx2.Request:
        path = f"/hubs/{self.static.name}/listings"
        return self.service.request(self.static, "POST", path, {"listings": []})

    def push(self) -> httpx2.Request:
        activity = self.hub.activity("Dance", self.hub.actor_uri)
        return self.service.request(self.hub, "POST", "/inbox", activity, media_type=ACTIVITY)

    def interest(self) -> httpx2.Request:
        path = f"/listings/{listing_id(self.hub.base + '/proposals/1')}/interest"
        told = {"id": str(uuid4()), "member": f"{self.hub.base}/members/ines", "message": "Yes"}
        return self.service.request(self.hub, "POST", path, told)

    def register(self) -> httpx2.Request:
        return self.service.request(self.hub, "POST", "/hubs", self.hub.registration())

    def forge(self) -> httpx2.Request:
        path = f"/transfers/{uuid4()}"
        return self.service.request(self.hub, "PUT", path, payment(), key=generate_ed25519())

    def pay(self) -> httpx2.Request:
        return self.service.request(self.payer, "PUT", f"/transfers/{uuid4()}", payment())

    def pay_many(self) -> httpx2.Request:
        told = {"calls": [{"do": "create", "id": str(uuid4()), **payment()}]}
        return self.service.request(self.payer, "POST", "/transfers/batch", told)

    def look(self) -> httpx2.Request:
        return self.service.request(self.payer, "GET", "/transfers")

    def guess(self) -> httpx2.Request:
        told = {"Authorization": f"Bearer {next(self.numbers)}.secret"}
        return self.service.client.build_request("GET", "/transfers", headers=told)

    def find_home(self) -> httpx2.Request:
        page = f"/l/{listing_id(self.hub.base + '/proposals/1')}/interest"
        asked = {"hub": f"bob@127.0.0.{next(self.numbers) % 200 + 2}:9"}
        return self.service.client.build_request("GET", page, params=asked)


@pytest.fixture(scope="module")
def world(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("limits")
    path = folder / "localpay.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    settings = Settings(data_dir=folder / "data", base_url="http://testserver", allow_loopback=True)
    settings.data_dir.mkdir()
    with ExitStack() as stack:
        engine = stack.enter_context(disposed(make_engine(f"sqlite:///{path}")))
        service = stack.enter_context(served(settings, engine))
        hub = stack.enter_context(HubServer("leeds").serving())
        static = stack.enter_context(StaticHub("bath").serving())
        assert service.register(hub).status_code == 201
        assert service.register(static).status_code == 201
        for _ in range(3):
            service.work()
        service.push(hub, hub.activity("Accept", hub.taken[-1]["id"]))
        service.push(hub, hub.activity("Create", hub.serve(hub.proposal(1))))
        for _ in range(2):
            service.work()
        payer = stack.enter_context(HubServer("ghent").serving())
        assert service.register(payer).status_code == 201
        service.admit("ghent")
        yield World(service, hub, static, payer, count(1))


Ask = Callable[[World], httpx2.Request]
OF_ALLOWANCES: Final[tuple[tuple[str, Ask], ...]] = (
    ("joins_by_client", World.join),
    ("joins_by_client", World.share),
    ("joins", World.join),
    ("joins", World.share),
    ("checks_of_hub", World.check),
    ("checks", World.check),
    ("pushes", World.put),
    ("pushes", World.delete),
    ("bulk_pushes", World.put_many),
    ("homes_by_client", World.find_home),
    ("homes", World.find_home),
    ("registrations_by_client", World.register),
    ("registrations", World.register),
    ("calls", World.pay),
    ("calls", World.look),
    ("batches", World.pay_many),
)


OF_WRONG: Final[tuple[tuple[str, Ask], ...]] = (
    ("wrong_signatures", World.forge),
    ("wrong_tokens", World.guess),
)


def payment() -> dict[str, str]:
    return {"payer": "ghent/lot", "payee": "leeds/moss", "amount": "1.00"}


def assert_refused(world: World, ask: Ask) -> None:
    """Ask as everybody that one can claim to be; each is told to come back, and when."""
    for name, value in (("Accept", "*/*"), *FORGED):
        request = ask(world)
        request.headers[name] = value
        answer = world.service.client.send(request)
        assert answer.status_code == 429, (name, answer.text)
        if answer.headers["content-type"] == "application/problem+json":
            assert int(answer.headers["retry-after"]) >= 1


def test_every_allowance_is_tried() -> None:
    assert {name for name, _ in OF_ALLOWANCES + OF_WRONG} == {
        one.name for one in fields(Allowances)
    }


@pytest.mark.parametrize(
    ("name", "ask"), OF_ALLOWANCES, ids=[f"{name} {ask.__name__}" for name, ask in OF_ALLOWANCES]
)
def test_an_allowance_that_is_used_up_refuses_and_does_nothing(
    world: World, name: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in fields(Allowances):
        most = 1 if one.name == name else 1_000
        monkeypatch.setattr(world.service.services.allowances, one.name, Allowance(most, 3600.0))
    first = world.service.client.send(ask(world))
    assert first.status_code != 429
    world.hub.asked.clear()
    assert_refused(world, ask)
    assert world.hub.asked == []


@pytest.mark.parametrize(("name", "ask"), OF_WRONG, ids=[name for name, _ in OF_WRONG])
def test_what_proves_nothing_is_refused_and_who_proves_it_is_not(
    world: World, name: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in fields(Allowances):
        most = 1 if one.name == name else 1_000
        monkeypatch.setattr(world.service.services.allowances, one.name, Allowance(most, 3600.0))
    assert world.service.client.send(ask(world)).status_code == 401
    assert_refused(world, ask)
    assert world.service.client.send(world.look()).status_code == 200
    assert world.service.client.send(world.pay()).status_code == 422  # nobody to pay there


OF_MODULES: Final[tuple[tuple[object, str, int, Ask], ...]] = (
    (inbox, "BACKLOG_MAX", 1, World.push),
    (registering, "REQUESTS_MOST", 1, World.share),
    (asking, "LISTING_MOST", 1, World.interest),
    (asking, "HUB_MOST", 1, World.interest),
    (home, "AT_ONCE", 0, World.find_home),
)


@pytest.mark.parametrize(
    ("module", "name", "most", "ask"),
    OF_MODULES,
    ids=[name for _, name, _, _ in OF_MODULES],
)
def test_a_limit_that_is_reached_refuses_whoever_asks(  # noqa: PLR0913, PLR0917 (which, and who)
    world: World, module: object, name: str, most: int, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in fields(Allowances):
        monkeypatch.setattr(world.service.services.allowances, one.name, Allowance(1_000, 60.0))
    monkeypatch.setattr(module, name, most)
    for _ in range(most):
        world.service.client.send(ask(world))
    world.hub.asked.clear()
    assert_refused(world, ask)
    assert world.hub.asked == []
