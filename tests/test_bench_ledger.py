"""The bench of the ledger: its past is a sound ledger, and its peer keeps the same rules."""

from clearing_world import assert_sound, counted
from sqlalchemy import Engine, text

from bench.ledger_history import fill, payments
from bench.ledger_peers import PlainFunction
from bench.paying_hubs import admit_hubs
from clearing.ledger import Entry
from commons.database import reading

HUBS = 30


def test_a_past_that_was_made_up_is_a_sound_ledger(engine: Engine) -> None:
    hubs = admit_hubs(engine, HUBS, credit=10**12, surplus=10**12)
    fill(engine, hubs, 400)
    assert counted(engine, Entry) == 400
    assert_sound(engine)


def test_the_plain_function_keeps_sums_and_balances(postgresql_engine: Engine) -> None:
    url = postgresql_engine.url.render_as_string(hide_password=False)
    plain = PlainFunction(url, HUBS)
    assert plain.per_second(list(payments(HUBS, 100, seed=1))) > 0
    plain.close()
    asked = (
        "SELECT sum(balance), (SELECT count(*) FROM peer_payments), "
        "(SELECT sum(amount) FROM peer_entries), "
        "(SELECT count(*) FROM peer_accounts a WHERE balance <> "
        "(SELECT coalesce(sum(amount), 0) FROM peer_entries e WHERE e.account = a.id)) "
        "FROM peer_accounts"
    )
    with reading(postgresql_engine) as session:
        assert tuple(session.execute(text(asked)).one()) == (0, 100, 0, 0)


def test_the_plain_function_refuses_beyond_a_limit_and_takes_an_id_once(
    postgresql_engine: Engine,
) -> None:
    url = postgresql_engine.url.render_as_string(hide_password=False)
    PlainFunction(url, HUBS).close()
    pay = text("SELECT peer_pay(:id, :payer, :payee, :amount)")
    known = {"id": "6f1c0e7e-3a51-4c3e-9d0a-2f8f6f1b7c11", "payer": 1, "payee": 2, "amount": 5}
    other = {**known, "id": "0f6e2c1a-94b5-4d58-9a43-7a52c1d3e8b7", "amount": 10**12}
    with postgresql_engine.begin() as connection:
        said = [
            connection.scalar(pay, asked) for asked in (known, known, {**known, "amount": 6}, other)
        ]
    assert said == ["posted", "repeated", "conflict", "credit_limit"]
