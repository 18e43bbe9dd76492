"""Rows written past SQLAlchemy's objects are stored as it would have stored them."""

import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

from clearing_world import open_world
from sqlalchemy import Engine, select

from clearing import bulk
from clearing.transfers import HeldTransfer, Party, ReasonCode, TransferState, Unit
from clearing.transfers.model import TABLE
from commons.database import reading, transaction

MOMENT = datetime(2026, 3, 29, 1, 30, 0, 7, tzinfo=UTC)
COLUMNS = HeldTransfer.__slots__


def filled(transfer_id: uuid.UUID) -> HeldTransfer:
    """A transfer with something in every column, and texts that no format may take for its own."""
    return HeldTransfer(
        id=transfer_id,
        union_id="main",
        state=TransferState.REJECTED,
        initiator=Party.PAYEE,
        payer_group="leeds",
        payee_group="ghent",
        payer_member="a\tb\\N",
        payee_member="\\.",
        description="Zürich\n'%s' ?1 :name 🚲",
        amount="1.00",
        unit=Unit.CLEARING,
        payer_amount=2**53 - 1,
        payee_amount=1,
        payer_clearing=2,
        payee_clearing=1,
        payer_rate="1/2",
        payee_rate="1/3",
        key=bytes(range(32)),
        request_digest="0" * 64,
        created_at=MOMENT.astimezone(timezone(timedelta(hours=2))),
        expires_at=MOMENT.replace(microsecond=0),
        levy=1,
        reverses=None,
        reversed_amount=1,
        wait=True,
        reserved=False,
        by_operator=True,
        value_date=date(2026, 2, 28),
        kept_digests={"payer_member": "é\t"},
        queued_at=MOMENT,
        ended_at=MOMENT,
        reason_code=ReasonCode.OTHER,
        reason="",
        available=-1,
    )


def stored(engine: Engine, transfer_id: uuid.UUID) -> tuple[list[Any], list[Any]]:
    """Return a row as the driver sees it and as SQLAlchemy reads it, without its id."""
    with reading(engine) as session:
        read = session.execute(select(TABLE).where(TABLE.c.id == transfer_id)).one()
        plain = session.connection().exec_driver_sql("SELECT * FROM transfers").mappings().all()
    here = next(row for row in plain if uuid.UUID(str(row["id"])) == transfer_id)
    names = [name for name in COLUMNS if name != "id"]
    return [here[name] for name in names], [read._mapping[name] for name in names]  # noqa: SLF001 (SQLAlchemy's)


def test_rows_are_stored_as_sqlalchemy_stores_them(engine: Engine) -> None:
    open_world(engine)
    ours, theirs = ([uuid.uuid4() for _ in range(5)] for _ in range(2))
    with transaction(engine) as session:
        rows = [[getattr(filled(one), name) for name in COLUMNS] for one in ours]
        bulk.insert_rows(session, TABLE, COLUMNS, rows)
        for one in theirs:
            row = {name: getattr(filled(one), name) for name in COLUMNS}
            session.connection().execute(TABLE.insert(), row)
    assert stored(engine, ours[0]) == stored(engine, theirs[0])
    change = (("ended_at", "reason", "state"), (MOMENT, "x", TransferState.CANCELLED))
    with transaction(engine) as session:
        bulk.update_rows(session, TABLE, ("id",), change[0], [(one, *change[1]) for one in ours])
        for one in theirs:
            values = dict(zip(*change, strict=True))
            session.connection().execute(TABLE.update().where(TABLE.c.id == one).values(values))
    assert stored(engine, ours[0]) == stored(engine, theirs[0])
    assert stored(engine, ours[0])[1][COLUMNS.index("reason") - 1] == "x"


def test_a_condition_of_many_values_finds_those_alone(engine: Engine) -> None:
    open_world(engine)
    ids = [uuid.uuid4() for _ in range(7)]
    with transaction(engine) as session:
        rows = [[getattr(filled(one), name) for name in COLUMNS] for one in ids]
        bulk.insert_rows(session, TABLE, COLUMNS, rows)
    wanted = {*ids[:3], uuid.uuid4()}
    sought = bulk.Sought(lambda among: select(TABLE.c.id).where(among(TABLE.c.id)))
    with reading(engine) as session:
        assert {found for (found,) in sought.rows(session, wanted)} == set(ids[:3])
        assert sought.rows(session, []) == []
