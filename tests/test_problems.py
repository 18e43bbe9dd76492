"""Every refusal is a problem document that names the rule and tells nothing of the inside."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, Query
from fastapi.testclient import TestClient
from pydantic import Field
from starlette.middleware import Middleware

from api import problems
from api.bodies import StrictBody, body_of
from api.middleware import MOST_BODY_BYTES, Guarded, Watched
from commons.errors import (
    ConflictError,
    FetchError,
    InvalidError,
    LocalPayError,
    RefusedError,
    TooManyError,
    UnauthenticatedError,
    UnavailableError,
)

BASE = "http://testserver"


class Parcel(StrictBody):
    weight: int
    words: list[str] = Field(default_factory=list)


ERRORS: dict[str, Exception] = {
    "refused": RefusedError("over the limit", reason="pair_limit", available="12.0000"),
    "too-many": TooManyError("slower", retry_after_seconds=7),
    "unavailable": UnavailableError("the index sleeps", retry_after_seconds=9),
    "unauthenticated": UnauthenticatedError("no signature"),
    "unreachable": FetchError("no answer"),
    "unfetchable": FetchError("gone", final=True),
    "invalid": InvalidError("rate", "must be a fraction"),
    "hostile": ConflictError("\ud800 half a pair", type="https://evil.example", status=200),
    "bug": RuntimeError("the password is swordfish"),
}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = FastAPI(
        middleware=[Middleware(Watched), Middleware(Guarded, base_url=BASE)],
        redirect_slashes=False,
    )
    problems.install(app, BASE)

    @app.get("/fails/{name}")
    def fails(name: str) -> None:
        raise ERRORS[name]

    @app.get("/counts")
    def counts(limit: Annotated[int, Query(le=10)]) -> int:
        return limit

    @app.post("/parcels")
    async def parcels(parcel: Annotated[Parcel, Depends(body_of(Parcel))]) -> int:
        return parcel.weight

    with TestClient(app) as client:
        yield client


def tree(root: type[LocalPayError]) -> Iterator[type[LocalPayError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def post(
    client: TestClient, body: bytes | str, media_type: str = "application/json"
) -> httpx2.Response:
    return client.post("/parcels", content=body, headers={"Content-Type": media_type})


def document(answer: httpx2.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["title"]
    assert found["detail"]
    assert found["type"].startswith(f"{BASE}/problems/")
    return found


def test_the_table_covers_the_error_tree() -> None:
    assert set(tree(LocalPayError)) == set(problems.KINDS)


def test_every_kind_of_problem_has_its_own_name() -> None:
    kinds = [*problems.KINDS.values(), problems.NOT_ALLOWED, problems.UNFETCHABLE]
    assert len({kind.name for kind in kinds}) == len(kinds)


def test_a_refused_payment_tells_why_and_what_is_available(client: TestClient) -> None:
    found = document(client.get("/fails/refused"), 409)
    assert found["type"] == f"{BASE}/problems/refused"
    assert found["reason"] == "pair_limit"
    assert found["available"] == "12.0000"


@pytest.mark.parametrize(
    ("name", "status", "seconds"),
    [("too-many", 429, "7"), ("unavailable", 503, "9"), ("unreachable", 503, "60")],
)
def test_who_shall_come_back_is_told_when(
    client: TestClient, name: str, status: int, seconds: str
) -> None:
    answer = client.get(f"/fails/{name}")
    document(answer, status)
    assert answer.headers["retry-after"] == seconds


def test_a_document_that_is_gone_for_good_is_the_callers_mistake(client: TestClient) -> None:
    answer = client.get("/fails/unfetchable")
    document(answer, 422)
    assert "retry-after" not in answer.headers


def test_an_unknown_caller_is_told_how_to_prove_itself(client: TestClient) -> None:
    assert client.get("/fails/unauthenticated").headers["www-authenticate"] == "Signature, Bearer"


def test_an_invalid_value_is_named_by_field_and_rule(client: TestClient) -> None:
    found = document(client.get("/fails/invalid"), 422)
    assert (found["field"], found["rule"]) == ("rate", "must be a fraction")


def test_what_an_error_carries_never_replaces_the_standards_members(client: TestClient) -> None:
    found = document(client.get("/fails/hostile"), 409)
    assert found["type"] == f"{BASE}/problems/conflict"


def test_an_unforeseen_error_tells_nothing_of_the_inside(client: TestClient) -> None:
    answer = client.get("/fails/bug")
    found = document(answer, 500)
    assert found["type"] == f"{BASE}/problems/internal"
    assert "swordfish" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"weight": NaN}', 400),
        ('{"weight": 1e999}', 400),
        ('{"weight": 1, "weight": 2}', 400),
        ('{"weight": 1, "words": ["\\ud800"]}', 400),
        ('{"weight": 1, "words": ["\\u0000"]}', 400),
        ("[" * 5000, 400),
        (b"\xff\xfe", 400),
        ("", 400),
        ('{"weight": "12"}', 422),
        ('{"weight": 1.5}', 422),
        ('{"weight": true}', 422),
        ('{"weight": 99999999999999999999999999}', 400),
        ("[]", 422),
        ("null", 422),
        ('{"weight": 1, "colour": "red"}', 422),
        ("{}", 422),
    ],
)
def test_a_broken_body_is_never_an_error_of_ours(
    client: TestClient, body: bytes | str, status: int
) -> None:
    document(post(client, body), status)


def test_a_broken_rule_is_named_and_what_was_sent_is_not_echoed(client: TestClient) -> None:
    answer = post(client, json.dumps({"weight": "swordfish", "words": [1]}))
    found = document(answer, 422)
    assert found["field"] == "weight"
    assert [error["field"] for error in found["errors"]] == ["weight", "words.0"]
    assert "swordfish" not in answer.text


def test_a_broken_parameter_is_named(client: TestClient) -> None:
    found = document(client.get("/counts", params={"limit": "many"}), 422)
    assert found["field"] == "limit"
    assert "many" not in json.dumps(found["errors"])


def test_another_media_type_is_not_read(client: TestClient) -> None:
    document(post(client, '{"weight": 1}', "text/plain"), 415)


def test_a_good_body_is_read(client: TestClient) -> None:
    assert post(client, '{"weight": 3}', "application/json; charset=utf-8").json() == 3


def test_an_announced_large_body_is_refused_without_reading(client: TestClient) -> None:
    document(post(client, b" " * (MOST_BODY_BYTES + 1)), 413)


def test_a_large_body_that_was_not_announced_is_refused_too(client: TestClient) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * (MOST_BODY_BYTES // 10)

    document(
        client.post("/parcels", content=parts(), headers={"Content-Type": "application/json"}), 413
    )


def test_an_unknown_address_is_a_problem(client: TestClient) -> None:
    assert document(client.get("/nowhere"), 404)["type"] == f"{BASE}/problems/not-found"


def test_a_wrong_method_is_told_the_right_ones(client: TestClient) -> None:
    answer = client.delete("/counts")
    assert document(answer, 405)["type"] == f"{BASE}/problems/method-not-allowed"
    assert answer.headers["allow"] == "GET"


def test_every_answer_has_an_id_and_the_security_headers(client: TestClient) -> None:
    first, second = client.get("/counts?limit=1"), client.get("/counts?limit=1")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert "unsafe-inline" not in first.headers["content-security-policy"]
    assert first.headers["referrer-policy"] == "strict-origin-when-cross-origin"
