"""What the ledger is measured against: a plain PL/pgSQL function, pgbench and empty routes."""

import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, make_url

from bench.over_http import wait_until_healthy
from demo.service import free_port

THREADS: Final = 8
PGBENCH_SECONDS: Final = 5

_TABLES: Final = """
CREATE TABLE peer_accounts (
    id bigint PRIMARY KEY, balance bigint NOT NULL DEFAULT 0,
    credit_limit bigint NOT NULL, surplus_limit bigint NOT NULL
);
CREATE TABLE peer_payments (
    id uuid PRIMARY KEY, payer bigint NOT NULL REFERENCES peer_accounts,
    payee bigint NOT NULL REFERENCES peer_accounts,
    amount bigint NOT NULL CHECK (amount > 0), posted_at timestamptz NOT NULL
);
CREATE TABLE peer_entries (
    payment uuid NOT NULL REFERENCES peer_payments, account bigint NOT NULL,
    amount bigint NOT NULL, balance bigint NOT NULL, PRIMARY KEY (payment, account)
);
INSERT INTO peer_accounts (id, credit_limit, surplus_limit)
    SELECT n, 1000000000000, 1000000000000 FROM generate_series(1, %(accounts)s) AS n;
"""
_FUNCTION: Final = """
CREATE FUNCTION peer_pay(said uuid, payer_id bigint, payee_id bigint, much bigint)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    payer peer_accounts; payee peer_accounts; known peer_payments;
BEGIN
    SELECT * INTO known FROM peer_payments WHERE id = said;
    IF FOUND THEN
        IF (known.payer, known.payee, known.amount) = (payer_id, payee_id, much) THEN
            RETURN 'repeated';
        END IF;
        RETURN 'conflict';
    END IF;
    PERFORM 1 FROM peer_accounts WHERE id IN (payer_id, payee_id) ORDER BY id FOR UPDATE;
    SELECT * INTO STRICT payer FROM peer_accounts WHERE id = payer_id;
    SELECT * INTO STRICT payee FROM peer_accounts WHERE id = payee_id;
    IF payer.balance - much < -payer.credit_limit THEN RETURN 'credit_limit'; END IF;
    IF payee.balance + much > payee.surplus_limit THEN RETURN 'surplus_limit'; END IF;
    INSERT INTO peer_payments VALUES (said, payer_id, payee_id, much, clock_timestamp());
    INSERT INTO peer_entries VALUES (said, payer_id, -much, payer.balance - much),
                                    (said, payee_id, much, payee.balance + much);
    UPDATE peer_accounts SET balance = balance - much WHERE id = payer_id;
    UPDATE peer_accounts SET balance = balance + much WHERE id = payee_id;
    RETURN 'posted';
END $$;
"""


class PlainFunction:
    """A double-entry function in the database, with the same duties less the chain.

    It checks the id and both limits and writes entries with the balance after them.
    """

    def __init__(self, database_url: str, accounts: int) -> None:
        self._engine = create_engine(
            database_url, isolation_level="AUTOCOMMIT", pool_size=THREADS, hide_parameters=True
        )
        with self._engine.connect() as connection:
            connection.exec_driver_sql(_TABLES, {"accounts": accounts})
            connection.exec_driver_sql(_FUNCTION)

    def per_second(self, payments: Sequence[tuple[int, int, int]]) -> float:
        """Pay one by one from 8 threads, a transaction each; accounts count from 0."""
        parts = [payments[number::THREADS] for number in range(THREADS)]
        start = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as threads:
            for _ in threads.map(self._pay, parts):
                pass
        return len(payments) / (time.perf_counter() - start)

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    def _pay(self, payments: Sequence[tuple[int, int, int]]) -> None:
        with self._engine.connect() as connection:
            cursor = connection.connection.cursor()  # the driver's, without a layer between
            for payer, payee, amount in payments:
                asked = (str(uuid.uuid4()), payer + 1, payee + 1, amount)
                cursor.execute("SELECT peer_pay(%s, %s, %s, %s)", asked)
                told = cursor.fetchone()
                if told != ("posted",):
                    raise RuntimeError(f"the plain function said {told}")
            cursor.close()


def pgbench_per_second(programs: Path, database_url: str) -> float:
    """Return the transactions a second of pgbench's simple update, by 8 clients."""
    dsn = make_url(database_url).set(drivername="postgresql")
    target = dsn.render_as_string(hide_password=False)
    pgbench = str(programs / "pgbench")
    subprocess.run(  # noqa: S603 (PostgreSQL's own)
        [pgbench, "--initialize", "--quiet", "--scale", "10", target],
        check=True,
        capture_output=True,
    )
    command = [pgbench, "--builtin", "simple-update", "--client", str(THREADS), "--jobs", "2"]
    done = subprocess.run(  # noqa: S603 (PostgreSQL's own)
        [*command, "--time", str(PGBENCH_SECONDS), "--no-vacuum", target],
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r"tps = ([0-9.]+) \(without", done.stdout)
    if found is None:
        raise RuntimeError(f"pgbench said {done.stdout!r}")
    return float(found[1])


@contextmanager
def bare_routes(count: int) -> Iterator[list[int]]:
    """Serve `PUT /transfers/{id}` by FastAPI alone, in so many processes; yield the ports."""
    with _serving([[free_port()] for _ in range(count)]) as ports:
        yield ports


@contextmanager
def empty_routes(base_url: str, database_url: str, count: int) -> Iterator[list[int]]:
    """Serve the service's own application whose poster does nothing; yield the ports.

    Signatures are checked against the keys in this database and answers are signed; a call is
    answered with one and the same transfer, and nothing is written.
    """
    with _serving([[free_port(), base_url, database_url] for _ in range(count)]) as ports:
        yield ports


@contextmanager
def _serving(arguments: Sequence[Sequence[int | str]]) -> Iterator[list[int]]:
    program = [sys.executable, "-m", "bench.empty_routes"]
    ports = [int(one[0]) for one in arguments]
    servers = [
        subprocess.Popen([*program, *map(str, one)])  # noqa: S603 (ours)
        for one in arguments
    ]
    try:
        for server, port in zip(servers, ports, strict=True):
            wait_until_healthy(server, port)
        yield ports
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()
