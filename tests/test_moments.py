"""Moments and days at the ends of the calendar are answered or refused, and nothing else."""

import uuid
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from clearing_world import ledger
from operating import run
from paying_world import World, open_doors, payment, problem
from sqlalchemy import Engine

from commons.settings import Settings

BEYOND = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")
"""Moments with their zone that have no day in UTC."""

WITHIN = ("0001-01-01T00:00:00Z", "0001-01-01", "9999-12-31T23:59:59.999999Z", "9999-12-31")


@pytest.fixture
def world(settings: Settings, engine: Engine) -> Iterator[World]:
    yield from open_doors(settings, engine)


READ = (
    "/transfers?{from}",
    "/transfers?{to}",
    "/accounts/leeds/statement?{from}",
    "/accounts/leeds/statement?from=2026-01-01&{to}",
    "/accounts/leeds/balance?{at}",
    "/roots?{before}",
)
DAYS = ("/roots/{day}", "/accounts/leeds/roots/{day}")


def test_what_is_read_by_a_moment_is_answered_or_refused(world: World) -> None:
    world.made()
    for moment in (*BEYOND, *WITHIN):
        said = {name: urlencode({name: moment}) for name in ("from", "to", "at", "before")}
        for path in READ:
            answer = world.service.call(world.leeds, "GET", path.format_map(said))
            assert answer.status_code in {200, 422}, (path, moment, answer.text)
            if moment in BEYOND and "before" not in path:
                problem(answer, 422, "invalid")
        for path in DAYS:
            answer = world.service.call(world.leeds, "GET", path.format(day=moment[:10]))
            problem(answer, 404, "not-found")
    rows = f"id,date\n{uuid.uuid4()},2026-11-20\n"
    for moment in (*BEYOND, *WITHIN):
        for name in ("from", "to"):
            path = "/reconciliations?" + urlencode({name: moment})
            answer = world.service.call(
                world.leeds, "POST", path, rows.encode(), media_type="text/csv"
            )
            assert answer.status_code in {200, 422}, (path, answer.text)
        book = f"id,date\n{uuid.uuid4()},{moment}\n".encode()
        answer = world.service.call(
            world.leeds, "POST", "/reconciliations", book, media_type="text/csv"
        )
        assert answer.status_code in {200, 422}, (moment, answer.text)


def test_what_is_made_with_a_moment_beyond_the_calendar_is_not_made(world: World) -> None:
    posted = world.made()
    assert world.move(world.leeds, posted, "accept").status_code == 200
    before = ledger(world.engine)
    for moment in BEYOND:
        asked = payment("1.00", expires_at=moment)
        problem(world.put(world.barcelona, asked), 422, "invalid")
        batch = {"calls": [{"do": "create", "id": str(uuid.uuid4()), **asked}]}
        answer = world.service.call(world.barcelona, "POST", "/transfers/batch", batch)
        assert answer.status_code in {200, 422}, answer.text
        back = {"id": str(uuid.uuid4()), "expires_at": moment}
        path = f"/transfers/{posted}/reverse"
        problem(world.service.call(world.barcelona, "POST", path, back), 422, "invalid")
        rate = {"rate": "1/3", "valid_from": moment}
        path = f"/rates/{uuid.uuid4()}"
        problem(world.service.call(world.barcelona, "PUT", path, rate), 422, "invalid")
    for day in ("0001-01-01", "9999-12-31"):
        dated = payment("1.00", value_date=day)
        assert world.put(world.barcelona, dated).status_code in {409, 422}
    assert ledger(world.engine) == before


def test_commands_refuse_what_no_calendar_has(settings: Settings, world: World) -> None:
    url = world.engine.url.render_as_string(hide_password=False)
    operator = settings.model_copy(update={"database_url": url})
    before = ledger(world.engine)
    for moment in (*BEYOND, *WITHIN):
        for command in (
            ("rate", "propose", "leeds", "1/3", "--valid-from", moment),
            ("statement", "leeds", "--from", moment, "--to", "2026-01-01"),
            ("statement", "leeds", "--from", "2026-01-01", "--to", moment),
            ("account", "balance", "leeds", "--at", moment),
            ("period", "close", "main", "--until", moment, "--dry-run"),
        ):
            told = run(operator, *command)
            assert isinstance(told.exception, SystemExit | None), (command, told.output)
            assert told.exit_code == 2 or moment in WITHIN, (command, told.output)
    assert ledger(world.engine) == before
