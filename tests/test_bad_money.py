"""What is wrong with a payment is told, alone and in a batch, and changes nothing."""

import json
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from conftest import disposed
from every_table import everything
from hub_server import Json
from paying_world import World, open_doors, payment, problem

from commons.database import make_engine
from commons.settings import Settings

KNOWN: Final = str(uuid.uuid4())
"""A transfer of Barcelona to Leeds that is pending."""

BAD_AMOUNTS: Final[list[object]] = [
    5, 5.5, 1e2, True, None, [], {}, 2**63 - 1, "5e1", "1E2", "1_000", "1,000", "-5", "+5", "05",
    " 5", "5 ", "5.", ".5", "0", "0.00", "", "NaN", "Infinity", "-Infinity", "0x10", "5.001",
    "\u0665", "\uff15", str(2**63), "9" * 17, "9" * 41,
]  # fmt: skip


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def create(**change: Any) -> Json:  # noqa: ANN401 (bad values are of any type)
    return {"do": "create", "id": str(uuid.uuid4()), **payment(), **change}


def move(verb: str, **more: Any) -> Json:  # noqa: ANN401 (bad values are of any type)
    return {"do": verb, "id": KNOWN, **more}


def reverse(**more: Any) -> Json:  # noqa: ANN401 (bad values are of any type)
    return {"do": "reverse", "id": str(uuid.uuid4()), "transfer": KNOWN, **more}


BAD: Final[list[tuple[Json, int, str | None]]] = [
    *((create(amount=amount), 422, "amount") for amount in BAD_AMOUNTS),
    (create(amount="90071992547409.93"), 422, "amount"),
    (create(unit="hours"), 422, "unit"),
    (create(unit=None), 422, "unit"),
    (create(payer="barcelona"), 422, "payer"),
    (create(payer="BARCELONA/ines"), 422, "payer"),
    (create(payer="barcelona/a/b"), 422, "payer"),
    (create(payer="barcelona/x\u0007"), 422, "payer"),
    (create(payee="leeds/"), 422, "payee"),
    (create(payee="barcelona/joan"), 422, "payee"),
    (create(payee="barcelona/ines"), 422, "payee"),
    (create(payee="turin/moss"), 422, "payee"),
    (create(payee=["leeds/moss"]), 422, "payee"),
    (create(payee="leeds/" + "x" * 300), 422, "payee"),
    (create(payer="ghent/lot"), 403, None),
    (create(description="x" * 501), 422, "description"),
    (create(description=7), 422, "description"),
    (create(expires_at="tomorrow"), 422, "expires_at"),
    (create(expires_at=1_900_000_000), 422, "expires_at"),
    (create(expires_at="1900000000"), 422, "expires_at"),
    (create(expires_at="2030-01-01T00:00:00"), 422, "expires_at"),
    (create(expires_at=in_days(-1)), 422, "expires_at"),
    (create(expires_at=in_days(91)), 422, "expires_at"),
    (create(expires_at="9999-12-31T23:59:59-14:00"), 422, "expires_at"),
    (create(union="nowhere"), 422, "union"),
    (create(union=""), 422, "union"),
    (create(wait="yes"), 422, "wait"),
    (create(wait=1), 422, "wait"),
    (create(value_date="20 November"), 422, "value_date"),
    (create(value_date=20261120), 422, "value_date"),
    (create(state="posted"), 422, "state"),
    (create(payer_rate="1/1"), 422, "payer_rate"),
    (move("accept", wait="yes"), 422, "wait"),
    (move("accept", reason="no"), 422, "reason"),
    (move("accept"), 403, None),
    (move("reject"), 422, "reason"),
    (move("reject", reason=""), 422, "reason"),
    (move("reject", reason="x" * 201), 422, "reason"),
    (move("reject", reason="no", code="because"), 422, "code"),
    (move("reject", reason="no", code=None), 422, "code"),
    (reverse(amount=1), 422, "amount"),
    (reverse(reason="x" * 501), 422, "reason"),
    (reverse(transfer=str(uuid.uuid4())), 404, None),
    (reverse(), 409, None),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[World]:
    """One world for all, since nothing of it may leave a trace."""
    folder = tmp_path_factory.mktemp("bad-money")
    shutil.copyfile(sqlite_template, folder / "localpay.sqlite")
    settings = Settings(data_dir=folder, base_url="http://testserver", allow_loopback=True)
    with disposed(make_engine(f"sqlite:///{folder}/localpay.sqlite")) as engine:
        for world in open_doors(settings, engine):
            assert world.put(world.barcelona, payment(), KNOWN).status_code == 201
            yield world


def alone(world: World, call: Json, *, raw: bytes | None = None) -> Any:  # noqa: ANN401 (JSON)
    """Send a call by its own route and return its problem."""
    body = {name: value for name, value in call.items() if name not in {"do", "id", "transfer"}}
    path, method = f"/transfers/{call['id']}", "PUT"
    if call["do"] == "reverse":
        path, method = f"/transfers/{call['transfer']}/reverse", "POST"
        body["id"] = call["id"]
    elif call["do"] != "create":
        path, method = f"{path}/{call['do']}", "POST"
    sent = body if raw is None else raw
    return world.service.call(world.barcelona, method, path, sent).json()


def batch(world: World, *calls: object, **more: object) -> Json:
    answer = world.service.call(
        world.barcelona, "POST", "/transfers/batch", {"calls": list(calls), **more}
    )
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


# Ids without what differs each time: processes that test side by side have to agree on them.
@pytest.mark.parametrize(
    ("call", "status", "field"),
    BAD,
    ids=[f"{at}-{call['do']}-{field}" for at, (call, _, field) in enumerate(BAD)],
)
def test_a_bad_call_is_told_its_field_and_rule_alone_and_in_a_batch(
    world: World, call: Json, status: int, field: str | None
) -> None:
    before = everything(world.engine)
    told = alone(world, call)
    assert told["status"] == status, told
    assert told.get("field") == field
    assert field is None or told["rule"]
    outcome = batch(world, call)["outcomes"][0]
    assert outcome["problem"] == told
    assert (outcome["status"], outcome["transfer"]) == (status, None)
    assert everything(world.engine) == before


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (None, "call"),
        (7, "call"),
        ([], "call"),
        ({}, "do"),
        ({"do": "steal", "id": KNOWN}, "do"),
        ({"do": "cancel"}, "id"),
        ({"do": "cancel", "id": "seven"}, "id"),
        ({"do": "cancel", "id": 7}, "id"),
        ({"do": "cancel", "id": KNOWN, "more": 1}, "more"),
        ({"do": "reverse", "id": KNOWN}, "transfer"),
    ],
)
def test_what_is_no_call_is_told_and_spoils_no_other(
    world: World, item: object, field: str
) -> None:
    before = everything(world.engine)
    told = batch(world, item, {"do": "cancel", "id": str(uuid.uuid4())})
    assert [one["status"] for one in told["outcomes"]] == [422, 404]
    assert told["failed"] == 2
    problem = told["outcomes"][0]["problem"]
    assert problem["field"] == field
    assert problem["rule"].startswith("must ") or field == "more"
    assert everything(world.engine) == before


TEXTS: Final[list[tuple[str, str, int]]] = [
    ('"amount": "1.00"', '"amount": NaN', 400),
    ('"amount": "1.00"', '"amount": 1e999', 400),
    ('"amount": "1.00"', '"amount": 9223372036854775808', 400),
    ('"amount": "1.00"', '"amount": 1' + "0" * 5_000, 400),
    ('"amount": "1.00"', '"amount": "1.00", "amount": "2.00"', 400),
    ('"amount": "1.00"', '"amount": "1.00", "\\u0061mount": "2.00"', 400),
    ('"amount": "1.00"', '"amount": "1.00", "description": "a\\u0000b"', 400),
    ('"amount": "1.00"', '"amount": "1.00", "description": "\\ud800"', 400),
    ('"amount": "1.00"', '"amount": "1.00", "description": "\\udc00\\ud800"', 400),
    ('"amount": "1.00"', '"amount": "1.00", "description": ' + "[" * 200 + "]" * 200, 400),
    ('"amount": "1.00"', '"amount": "1.00",', 400),
    ('"amount": "1.00"', "\"amount\": '1.00'", 400),
]


@pytest.mark.parametrize(("good", "bad", "status"), TEXTS, ids=[bad[:60] for _, bad, _ in TEXTS])
def test_what_is_no_json_is_refused_alone_and_in_a_batch(
    world: World, good: str, bad: str, status: int
) -> None:
    before = everything(world.engine)
    text = json.dumps(payment("1.00")).replace(good, bad)
    path = f"/transfers/{uuid.uuid4()}"
    problem(world.service.call(world.barcelona, "PUT", path, text.encode()), status, "malformed")
    many = f'{{"calls": [{json.dumps(create())}, {text}]}}'.encode()
    answer = world.service.call(world.barcelona, "POST", "/transfers/batch", many)
    problem(answer, status, "malformed")
    assert everything(world.engine) == before


@pytest.mark.parametrize(
    ("body", "how", "status", "kind"),
    [
        (b"", {}, 400, "malformed"),
        (b"[]", {}, 422, "invalid"),
        (b"{}", {}, 422, "invalid"),
        (b'{"calls": []}', {}, 422, "invalid"),
        (b'{"calls": {}}', {}, 422, "invalid"),
        (b'{"calls": [{}], "atomic": "yes"}', {}, 422, "invalid"),
        (b'{"calls": [{}], "more": 1}', {}, 422, "invalid"),
        (b'{"calls": [' + b"{}," * 8_000 + b"{}]}", {}, 422, "invalid"),
        (b'{"calls": [' + b"{}," * 90_000 + b"{}]}", {}, 400, "malformed"),
        (b'{"calls": ["' + b"x" * 8 * 1024 * 1024 + b'"]}', {}, 413, "too-large"),
        (b'{"calls": [{}]}', {"media_type": "text/csv"}, 415, "unsupported-media"),
        (b"\xff\xfe", {}, 400, "malformed"),
    ],
)
def test_what_is_no_batch_is_refused(
    world: World, body: bytes, how: Json, status: int, kind: str
) -> None:
    before = everything(world.engine)
    answer = world.service.call(world.barcelona, "POST", "/transfers/batch", body, **how)
    problem(answer, status, kind)
    assert everything(world.engine) == before


@pytest.mark.parametrize("name", ["token", "access_token", "to%6Ben", "%61ccess_token"])
def test_a_token_in_an_address_is_refused(world: World, name: str) -> None:
    answer = world.service.client.get(f"/transfers?limit=3&{name}=abc.def")
    told = problem(answer, 400, "malformed")
    assert "Authorization" in told["detail"]
    assert "abc" not in answer.text
