"""Adjustments that bring a limit beyond its level of warning."""

from clearing_world import HOUR, open_world
from journal_world import A, B, C, agreed, owe, proposal, told
from sqlalchemy import Engine

from clearing.accounts import Limit, LimitKind, account_of, set_limit, set_pair
from commons.database import transaction


def test_a_hub_is_told_whose_limit_an_adjustment_brings_beyond_its_warning(
    sqlite_engine: Engine,
) -> None:
    open_world(sqlite_engine)
    warns = Limit(warn=9 * HOUR)
    with transaction(sqlite_engine) as session:
        debtor, creditor = (account_of(session, group, "main") for group in (A, B))
        set_limit(session, debtor, LimitKind.CREDIT, warns)
        set_limit(session, creditor, LimitKind.SURPLUS, warns)
        set_limit(session, debtor, LimitKind.SURPLUS, warns)
        set_pair(session, debtor, creditor, warns)
    near = {"union": "main", "used": "10.0000", "warn": "9.0000"}
    owe(sqlite_engine, A, B, "9")
    assert told(sqlite_engine, A, "limit-approached") == []
    owe(sqlite_engine, A, B, "1")
    owe(sqlite_engine, A, B, "1")  # told once, where it comes beyond
    of_a = [{"limit": name, **near} for name in ("credit_limit", "pair_limit")]
    assert told(sqlite_engine, A, "limit-approached") == of_a
    assert told(sqlite_engine, B, "limit-approached") == [{"limit": "surplus_limit", **near}]
    owe(sqlite_engine, C, A, "20")
    agreed(sqlite_engine, proposal(A, "settlement", A, B, "1"))
    assert told(sqlite_engine, A, "limit-approached")[2:] == [
        {"limit": "surplus_limit", **near, "used": "10.0000"}
    ]
