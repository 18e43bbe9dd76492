"""The interface describes itself: every route with words and examples, every reference whole."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from served import keep_keys

from api.app import create_app
from api.routes import (
    accounts,
    adjustments,
    categories,
    disputes,
    events,
    groups,
    health,
    health_of_hubs,
    hubs,
    interest,
    listings,
    proofs,
    pushed,
    quotes,
    rates,
    round_terms,
    rounds,
    suggestions,
    transfers,
    unions,
    why,
)
from commons.settings import Settings

Json = dict[str, Any]


@pytest.fixture
def app(settings: Settings) -> Iterator[FastAPI]:
    keep_keys(settings)
    app = create_app(settings, work=False)
    yield app
    app.state.services.index.close()
    app.state.services.engine.dispose()


@pytest.fixture
def description(app: FastAPI) -> Json:
    return app.openapi()


def operations(description: Json) -> Iterator[tuple[str, Json]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def nodes(value: object) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from nodes(member)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


def test_the_main_job_is_described(description: Json) -> None:
    assert {
        "GET /listings",
        "GET /listings/{listing_id}",
        "GET /groups",
        "POST /hubs",
        "GET /hubs/{group_id}",
        "GET /hubs/{group_id}/health",
        "POST /hubs/{group_id}/check",
        "POST /inbox",
        "GET /actor",
        "PUT /transfers/{transfer_id}",
        "POST /transfers/{transfer_id}/accept",
        "GET /accounts/{group_id}",
        "GET /obligations",
        "GET /rounds",
        "POST /rounds/{round_id}/opt-out",
        "GET /health",
    } <= {name for name, _ in operations(description)}


def test_every_route_has_a_summary_and_a_description(description: Json) -> None:
    for name, operation in operations(description):
        assert operation.get("summary"), name
        assert operation.get("description"), name


def test_every_route_has_an_example_of_its_answer(description: Json) -> None:
    for name, operation in operations(description):
        for status, answer in operation["responses"].items():
            if status.startswith("2") and answer.get("content"):
                for content in answer["content"].values():
                    assert "example" in content, (name, status)


def test_every_answer_has_a_schema_by_a_name_of_its_own(description: Json) -> None:
    for name, operation in operations(description):
        for status, answer in operation["responses"].items():
            if status.startswith("2"):
                for content in answer.get("content", {}).values():
                    assert content.get("schema"), (name, status)
    assert [name for name in description["components"]["schemas"] if "__" in name] == []
    settings = description["paths"]["/hubs/{group_id}"]["patch"]["requestBody"]["content"]
    for member in settings["application/json"]["schema"]["properties"].values():
        assert "default" not in member  # what is left out stays as it is


def test_every_body_has_a_schema_and_an_example(description: Json) -> None:
    for name, operation in operations(description):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert content["schema"], name
            assert content["example"], name


def test_every_problem_is_described_as_one(description: Json) -> None:
    for name, operation in operations(description):
        problems = {
            status: answer
            for status, answer in operation["responses"].items()
            if not status.startswith("2")
        }
        assert problems, name
        for status, answer in problems.items():
            assert list(answer["content"]) == ["application/problem+json"], (name, status)


@pytest.mark.parametrize("route", [interest, pushed, why, proofs])
def test_what_hubs_call_tells_its_own_problems_and_has_schemas(
    description: Json, route: ModuleType
) -> None:
    for one in route.router.routes:
        operation = description["paths"][one.path][min(one.methods).lower()]
        assert any(status.startswith("4") for status in operation["responses"]), one.path
        for status in operation["responses"].keys() & {"200", "201"}:
            for content in operation["responses"][status]["content"].values():
                assert content["schema"], (one.path, status)


def test_every_reference_leads_somewhere(description: Json) -> None:
    for node in nodes(description):
        if isinstance(reference := node.get("$ref"), str):
            found: Any = description
            for part in reference.removeprefix("#/").split("/"):
                found = found[part]
            assert isinstance(found, dict)


def test_every_operation_has_its_own_id_and_all_its_path_parameters(description: Json) -> None:
    ids = [operation["operationId"] for _, operation in operations(description)]
    assert len(ids) == len(set(ids))
    for name, operation in operations(description):
        wanted = {part[1:-1] for part in name.split("/") if part.startswith("{")}
        given = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert given == wanted, name


def test_every_example_is_what_its_route_answers() -> None:
    checked = 0
    parts: tuple[ModuleType, ...] = (accounts, categories, groups, health, health_of_hubs, hubs)
    parts += (listings, round_terms, rounds, suggestions)
    parts += (adjustments, disputes, events, interest, quotes, rates, transfers, unions, why)
    for part in parts:
        for route in part.router.routes:
            assert isinstance(route, APIRoute)
            if route.response_model is None:
                continue
            reader: TypeAdapter[Any] = TypeAdapter(route.response_model)
            for status in route.responses.keys() & {200, 201}:
                example = route.responses[status]["content"]["application/json"]["example"]
                seen = reader.validate_python(example)
                assert reader.dump_python(seen, mode="json") == example, (route.path, status)
                checked += 1
    assert checked
