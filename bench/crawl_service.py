"""One `localpay serve` process under measurement: what it holds, what it takes, its peers."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx2
from sqlalchemy import Engine, func, select, update

from bench.crawl_hubs import BenchHub
from bench.over_http import wait_until_healthy
from commons.database import Counter, make_engine, now, reading, transaction
from commons.groups import Group, Hub, HubKey, HubState, KeyAlgorithm
from commons.signatures import public_pem
from crawler import peers
from crawler.kept import InboxMessage
from crawler.peers import Peer, PeerState
from demo.service import LOOPBACK, free_port
from marketplace.listings import COUNTER, Listing, shown

WAIT_SECONDS: Final = 900.0
POLL_SECONDS: Final = 0.05
KIB_A_MB: Final = 1_000_000 / 1024
_PROGRAM: Final = (sys.executable, "-m", "api.commands")
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Crawler:
    """A serving process with its worker, and a way of ours into its database."""

    url: str
    pid: int
    engine: Engine

    def memory_mb(self, line: str = "VmRSS") -> float:
        """Return what the process holds in memory now, with `VmHWM` what it held at most."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        told = next(each for each in status.splitlines() if each.startswith(f"{line}:"))
        return int(told.split()[1]) / KIB_A_MB

    def cpu_seconds(self) -> float:
        """Return what the process has taken of the processors so far."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        user, system = stat.split()[11:13]
        return (int(user) + int(system)) / _TICKS_A_SECOND

    def revision(self) -> int:
        """Return how many changes of listings there have been."""
        with reading(self.engine) as session:
            return session.scalar(select(Counter.value).where(Counter.name == COUNTER)) or 0

    def shown(self) -> int:
        """Return how many listings are held and may be seen."""
        with reading(self.engine) as session:
            return session.scalar(select(func.count()).select_from(Listing).where(shown())) or 0

    def waiting(self) -> int:
        """Return how many pushed activities wait to be handled."""
        with reading(self.engine) as session:
            waiting = InboxMessage.due_at.is_not(None)
            return (
                session.scalar(select(func.count()).select_from(InboxMessage).where(waiting)) or 0
            )

    def found(self) -> int:
        """Return how many listings a search finds."""
        answer = httpx2.get(f"{self.url}/listings", params={"limit": 1}, trust_env=False)
        return int(answer.raise_for_status().json()["total"])

    def add_peers(self, hubs: Sequence[BenchHub]) -> None:
        """Make hubs known that agreed and accepted our Follow; none is due to be looked at."""
        with transaction(self.engine) as session:
            moment = now(session)
            for hub in hubs:
                group_id = f"hub-{hub.number}"
                session.add(
                    Group(id=group_id, uri=hub.actor, name=group_id, summary="", created_at=moment)
                )
                session.flush()
                session.add_all(
                    (
                        Hub(
                            group_id=group_id,
                            state=HubState.ADMITTED,
                            inbox_uri=f"{hub.base}/inbox",
                            outbox_uri=f"{hub.base}/outbox",
                            registered_at=moment,
                        ),
                        HubKey(
                            key_id=hub.key_id,
                            group_id=group_id,
                            algorithm=KeyAlgorithm.ED25519,
                            public_key_pem=public_pem(hub.key.public_key()),
                            added_at=moment,
                        ),
                    )
                )
                peer = peers.discover(session, hub.actor, found_by="the bench", group_id=group_id)
                peers.consent(session, peer, {}, peers.Covers.MEMBERS)
                peers.move(session, peer.id, PeerState.CONSENTED, PeerState.FOLLOWING)
                peers.move(session, peer.id, PeerState.FOLLOWING, PeerState.LIVE)
            session.execute(update(Peer).values(due_at=None))

    def look(self, after: timedelta = timedelta()) -> None:
        """Have every peer looked at, now or later."""
        with transaction(self.engine) as session:
            session.execute(update(Peer).values(due_at=now(session) + after))


@contextmanager
def crawling(data_dir: Path, database: str | None) -> Iterator[Crawler]:
    """Serve on an empty, migrated database, as an operator would; SQLite where none is given."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    data_dir.mkdir(parents=True)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LOCALPAY_")}
    environment = inherited | {
        "LOCALPAY_BASE_URL": url,
        "LOCALPAY_DATA_DIR": str(data_dir),
        "LOCALPAY_ALLOW_LOOPBACK": "true",
        "LOCALPAY_LOG_LEVEL": "WARNING",
        **({"LOCALPAY_DATABASE_URL": database, "LOCALPAY_ALLOW_LOSS": "true"} if database else {}),
    }
    subprocess.run(  # noqa: S603 (our own program)
        [*_PROGRAM, "migrate"], check=True, env=environment, capture_output=True
    )
    engine = make_engine(database or f"sqlite:///{data_dir / 'localpay.sqlite'}")
    with (
        (data_dir / "serve.log").open("wb") as log,
        subprocess.Popen(  # noqa: S603 (our own program)
            [*_PROGRAM, "serve", "--port", str(port)], env=environment, stderr=log
        ) as server,
    ):
        try:
            wait_until_healthy(server, port)
            yield Crawler(url, server.pid, engine)
        finally:
            server.terminate()
            engine.dispose()


def wait_for(done: Callable[[], bool]) -> None:
    """Wait until something is so; TimeoutError where it does not become so."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        if time.monotonic() > deadline:
            msg = f"nothing came of it within {WAIT_SECONDS:g} s"
            raise TimeoutError(msg)
        time.sleep(POLL_SECONDS)
