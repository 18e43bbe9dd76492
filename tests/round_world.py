"""Rounds of a service that is served: the short ways to propose, see and end them over HTTP."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx2
from every_table import Everything, everything
from hub_server import HubServer, Json
from paying_world import World, payment
from served import verified_by_our_key
from sqlalchemy import Engine, select, update

from clearing.rounds import OptOut, Round
from commons import tokens
from commons.audit_log import Deed
from commons.database import reading, transaction
from commons.tokens import Role


def pay(world: World, payer: HubServer, payee: HubServer, amount: str, **more: object) -> str:
    names = {"payer": f"{payer.name}/ines", "payee": f"{payee.name}/moss"}
    made = world.put(payer, payment(amount, **more) | names)
    assert made.status_code == 201, made.text
    assert world.move(payee, made.json()["id"], "accept").status_code == 200
    return str(made.json()["id"])


def pay_in_a_circle(world: World) -> None:
    """Have barcelona owe leeds 8, leeds owe ghent 9, ghent owe barcelona 7."""
    pay(world, world.barcelona, world.leeds, "8")
    pay(world, world.leeds, world.ghent, "9")
    pay(world, world.ghent, world.barcelona, "7")


def operator_token(world: World, role: Role = Role.OPERATOR, union_id: str | None = None) -> str:
    with transaction(world.engine) as session:
        return tokens.create(session, role, "Somebody", timedelta(days=1), union_id)[1]


def with_token(
    world: World, token: str, method: str, path: str, body: object = None, **headers: str
) -> httpx2.Response:
    told = {"Authorization": f"Bearer {token}", **headers}
    return world.service.client.request(method, path, json=body, headers=told)


def get(world: World, hub: HubServer, path: str) -> Json:
    answer = world.service.call(hub, "GET", path)
    assert answer.status_code == 200, answer.text
    assert verified_by_our_key(world.service, answer)
    found: Json = answer.json()
    return found


def proposed(world: World, token: str, **body: object) -> Json:
    answer = with_token(world, token, "POST", "/rounds", body)
    assert answer.status_code == 201, answer.text
    made: Json = answer.json()
    return made


def act(world: World, token: str, made: Json, verb: str) -> httpx2.Response:
    return with_token(world, token, "POST", f"/rounds/{made['id']}/{verb}")


def out(world: World, hub: HubServer, made: Json, body: object = None) -> httpx2.Response:
    return world.service.call(hub, "POST", f"/rounds/{made['id']}/opt-out", body)


def notice_over(world: World) -> None:
    """Have the notice of what is proposed be over, as if time had passed."""
    with transaction(world.engine) as session:
        late = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(Round).values(commit_at=late))


def all_but_tokens(engine: Engine) -> Everything:
    """Everything but when a token was used last."""
    return {name: rows for name, rows in everything(engine).items() if name != "tokens"}


def unchanged(world: World, *asked: Callable[[], httpx2.Response]) -> list[httpx2.Response]:
    """Ask, and see that no row of any table changed."""
    before = all_but_tokens(world.engine)
    answers = [ask() for ask in asked]
    assert all_but_tokens(world.engine) == before
    return answers


def deeds(world: World) -> list[tuple[str, str]]:
    with reading(world.engine) as session:
        rows = session.scalars(select(Deed).order_by(Deed.number))
        return [(one.actor, one.action) for one in rows if one.action.startswith("round-")]


def opted_out(world: World) -> list[str]:
    with reading(world.engine) as session:
        return list(session.scalars(select(OptOut.group_id)))
