"""Tokens of analysts and operators: what they open, what never, and that no secret is kept."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import httpx2
import pytest
from clearing_world import assert_sound, balances
from every_table import everything
from hub_server import Json
from operating import run
from paying_world import World, open_doors, payment, problem
from sqlalchemy import Engine, select, update

from api.tables import metadata
from commons import tokens
from commons.audit_log import Deed
from commons.database import now, reading, transaction
from commons.settings import Settings
from commons.tokens import Role, Token


@dataclass
class Office:
    """A service with three hubs, and the operator's command line beside it."""

    world: World
    settings: Settings

    def token(self, role: str, *more: str) -> str:
        made = run(self.settings, "token", "create", role, "Somebody", *more)
        assert made.exit_code == 0, made.output
        return str(json.loads(made.stdout)["token"])

    def call(self, token: str, method: str, path: str, body: Json | None = None) -> httpx2.Response:
        told = {"Authorization": f"Bearer {token}"}
        return self.world.service.client.request(method, path, json=body, headers=told)


@pytest.fixture
def office(settings: Settings, sqlite_engine: Engine) -> Iterator[Office]:
    url = sqlite_engine.url.render_as_string(hide_password=False)
    for world in open_doors(settings, sqlite_engine):
        yield Office(world, settings.model_copy(update={"database_url": url}))


def posted(world: World, amount: str = "12.50") -> str:
    made = world.made(amount, description="Bicycle repair")
    assert world.move(world.leeds, made, "accept").json()["state"] == "posted"
    return made


def test_an_operator_sees_every_transfer_without_names_and_texts(office: Office) -> None:
    made, token = posted(office.world), office.token("operator")
    rejected = office.world.made("1.00", description="Bicycle repair")
    office.world.move(office.world.leeds, rejected, "reject", {"reason": "moss has left"})
    for path in ("/transfers", f"/transfers/{made}", f"/transfers/{rejected}"):
        answer = office.call(token, "GET", path)
        assert answer.status_code == 200, answer.text
        assert made in answer.text or rejected in answer.text
        for word in ("ines", "moss", "Bicycle"):
            assert word not in answer.text
    problem(office.call(token, "GET", "/transfers?text=Bicycle"), 422, "invalid")
    problem(office.call(token, "GET", "/transfers?member=moss"), 422, "invalid")
    found = office.call(token, "GET", "/transfers?party=leeds&state=posted").json()
    assert [one["id"] for one in found["transfers"]] == [made]


def test_an_analyst_sees_no_transfer_and_moves_none(office: Office) -> None:
    made, token = posted(office.world), office.token("analyst")
    before = everything(office.world.engine)
    problem(office.call(token, "GET", f"/transfers/{made}"), 403, "forbidden")
    problem(office.call(token, "GET", "/transfers"), 403, "forbidden")
    asked = {"id": str(uuid.uuid4())}
    problem(office.call(token, "POST", f"/transfers/{made}/reverse", asked), 403, "forbidden")
    used = {"tokens"}  # the time of last use
    after = everything(office.world.engine)
    assert {name: after[name] for name in after.keys() - used} == {
        name: before[name] for name in before.keys() - used
    }
    assert office.call(token, "GET", "/accounts/leeds").status_code == 200


def test_an_operator_reverses_with_notice(office: Office) -> None:
    made, token = posted(office.world), office.token("operator")
    reversal = str(uuid.uuid4())
    asked = {"id": reversal, "amount": "2.50", "reason": "Posted twice by mistake"}
    done = office.call(token, "POST", f"/transfers/{made}/reverse", asked)
    assert (done.status_code, done.json()["state"]) == (201, "posted"), done.text
    assert balances(office.world.engine) == {"barcelona": -100_000, "leeds": 100_000}
    again = office.call(token, "POST", f"/transfers/{made}/reverse", asked)
    assert (again.status_code, again.json()["id"]) == (200, reversal)
    with reading(office.world.engine) as session:
        rows = [(deed.action, deed.subject, deed.actor) for deed in session.scalars(select(Deed))]
    prefix = token.partition(".")[0]
    assert [row for row in rows if row[0] == "transfer-reversed"] == [
        ("transfer-reversed", made, f"token:{prefix}")
    ]
    before = everything(office.world.engine)
    much = {"id": str(uuid.uuid4()), "amount": "10.01"}
    refused = office.call(token, "POST", f"/transfers/{made}/reverse", much)
    assert refused.status_code in {409, 422}, refused.text
    assert everything(office.world.engine) == before
    assert_sound(office.world.engine)


def test_a_token_does_none_of_what_only_hubs_do(office: Office) -> None:
    pending, token = office.world.made(), office.token("operator")
    office.call(token, "GET", "/transfers")  # its time of last use is noted
    before = everything(office.world.engine)
    for method, path, body in (
        ("PUT", f"/transfers/{uuid.uuid4()}", payment()),
        ("POST", f"/transfers/{pending}/accept", None),
        ("POST", f"/transfers/{pending}/cancel", None),
        ("POST", "/transfers/batch", {"calls": [{"do": "accept", "id": pending}]}),
        ("PATCH", "/hubs/leeds", {"webhook": None}),
        ("POST", "/hubs/leeds/keys", {"key_id": "https://hub.example/key"}),
    ):
        told = problem(office.call(token, method, path, body), 403, "forbidden")
        assert "no token opens it" in told["detail"]
        problem(office.call("0.wrong", method, path, body), 401, "unauthenticated")
    assert everything(office.world.engine) == before


def test_a_wrong_revoked_or_expired_token_opens_nothing(office: Office) -> None:
    token = office.token("operator")
    prefix, _, secret = token.partition(".")
    assert office.call(token, "GET", "/transfers").status_code == 200
    for wrong in (
        f"{prefix}.{secret[:-1]}", f"{prefix}.", prefix, secret, f"{prefix}.{secret}x", ".",
        f"{'0' * 12}.{secret}", f"{prefix}.{secret[::-1]}", "x" * 5_000,
    ):  # fmt: skip
        answer = office.call(wrong, "GET", "/transfers")
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Signature, Bearer"
    basic = {"Authorization": f"Basic {token}"}
    answer = office.world.service.client.get("/transfers", headers=basic)
    problem(answer, 401, "unauthenticated")
    with transaction(office.world.engine) as session:
        session.execute(update(Token).values(created_at=Token.created_at, expires_at=now(session)))
    problem(office.call(token, "GET", "/transfers"), 401, "unauthenticated")
    other = office.token("operator")
    assert run(office.settings, "token", "revoke", other.partition(".")[0]).exit_code == 0
    problem(office.call(other, "GET", "/transfers"), 401, "unauthenticated")


def test_a_signature_and_a_token_at_once_are_refused(office: Office) -> None:
    world = office.world
    request = world.service.request(world.leeds, "GET", "/transfers")
    request.headers["Authorization"] = f"Bearer {office.token('operator')}"
    problem(world.service.client.send(request), 400, "malformed")


def test_a_token_of_one_union_opens_no_other(office: Office) -> None:
    made = posted(office.world)
    assert run(office.settings, "token", "create", "operator", "x", "--union", "no").exit_code == 2
    token = office.token("operator", "--union", "main")
    assert office.call(token, "GET", f"/transfers/{made}").status_code == 200
    problem(office.call(token, "GET", "/transfers?union=other"), 403, "forbidden")
    with transaction(office.world.engine) as session:
        session.execute(update(Token).values(union_id="other"))
    problem(office.call(token, "GET", f"/transfers/{made}"), 404, "not-found")
    assert office.call(token, "GET", "/transfers").json()["transfers"] == []
    asked = {"id": str(uuid.uuid4())}
    problem(office.call(token, "POST", f"/transfers/{made}/reverse", asked), 404, "not-found")


def test_no_secret_is_kept_or_shown_again(office: Office) -> None:
    token = office.token("analyst")
    office.call(token, "GET", "/accounts/leeds")
    secret = token.partition(".")[2]
    assert len(secret) >= 43  # 256 bits
    kept = "".join(row for rows in everything(office.world.engine).values() for row in rows)
    listed = run(office.settings, "token", "list", "--json").stdout
    assert token.partition(".")[0] in listed
    assert secret not in kept + listed
    assert "tokens" in metadata.tables


def test_the_time_of_last_use_is_written_once_an_hour(sqlite_engine: Engine) -> None:
    with transaction(sqlite_engine) as session:
        _, text = tokens.create(session, Role.ANALYST, "Figures", timedelta(days=1))
        bearer, is_due = tokens.read(session, text)
        assert is_due
        tokens.note_use(session, bearer.prefix)
        session.expire_all()
        assert tokens.read(session, text) == (bearer, False)
        session.execute(update(Token).values(last_used_at=now(session) - timedelta(hours=1)))
        session.expire_all()
        assert tokens.read(session, text) == (bearer, True)


@pytest.mark.parametrize(
    "words",
    [
        ["visitor", "x"],
        ["analyst", " "],
        ["analyst", "x" * 101],
        ["analyst", "x", "--days", "0"],
        ["analyst", "x", "--days", "400"],
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_a_token_that_breaks_a_rule_is_not_made(office: Office, words: list[str]) -> None:
    assert run(office.settings, "token", "create", *words).exit_code == 2
    assert json.loads(run(office.settings, "token", "list", "--json").stdout) == {"tokens": []}
