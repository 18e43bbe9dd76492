"""The application: everything is put together here, and nothing happens before it is asked for."""

import os
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from api import problems
from api.caching import HeadAsGet, Unkept
from api.event_watch import EventWatch
from api.index_check import start_check
from api.middleware import Guarded, SignedAnswers, Watched
from api.purses import ClearingPurses
from api.routes import (
    accounts,
    activitypub,
    adjustments,
    categories,
    disputes,
    erasure,
    events,
    fasp,
    feeds,
    groups,
    health,
    health_of_hubs,
    hub_keys,
    hubs,
    interest,
    interest_page,
    join,
    listings,
    network,
    pages,
    proofs,
    pushed,
    quotes,
    rates,
    reconciliations,
    roots,
    round_certificates,
    round_terms,
    rounds,
    simulation,
    statements,
    suggestions,
    transfer_batches,
    transfers,
    unions,
    why,
)
from api.routes import map as listings_map
from api.seals import seal_of
from api.services import Services
from api.worker import SWITCH_SECONDS, Worker
from clearing import work as clearing_work
from clearing.poster import Poster
from commons.database import make_engine
from commons.fetch import Door
from commons.keys import load_or_create
from commons.settings import Settings
from crawler.actor import VERSION, actor_key_id, service_key_id
from crawler.blocks import Blocked
from crawler.inbox import Inbox
from marketplace.indexes import kind_of, open_index

DESCRIPTION: Final = """\
LocalPay runs what local currency groups need between groups: a marketplace that anybody may
search, and a clearing service in which their hubs pay each other and settle by netting.

Hubs sign each call by RFC 9421; answers to them are signed too. Amounts are decimal strings,
moments are ISO 8601 with a zone, errors are problem documents by RFC 9457.
"""

# Those with a fixed path before `/listings/{listing_id}`; transfers first, since they come most.
_PARTS: Final = (
    transfers,
    transfer_batches,
    feeds,
    listings_map,
    listings,
    interest,
    why,
    proofs,
    suggestions,
    categories,
    groups,
    hubs,
    hub_keys,
    health_of_hubs,
    pushed,
    fasp,
    adjustments,
    disputes,
    unions,
    statements,
    roots,
    erasure,
    accounts,
    rounds,
    round_certificates,
    round_terms,
    rates,
    quotes,
    events,
    reconciliations,
    network,
    simulation,
    activitypub,
    health,
    pages,
    interest_page,
    join,
)
_WAITING: Final = 40  # threads that wait for an index elsewhere, not for a processor
_log = structlog.get_logger(__name__)


def make_services(settings: Settings) -> Services:
    """Open what a service stands on: the database, the index, our keys, the door, the threads."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    engine = make_engine(settings.effective_database_url)
    index = open_index(settings)
    keys = load_or_create(settings.data_dir)

    def make_door() -> Door:
        return Door(settings, actor_key_id(settings), keys.actor, refuses=Blocked(engine))

    watch = EventWatch(engine)
    worker = Worker(engine, index, settings, make_door, seal_of(settings, keys))

    def committed() -> None:
        watch.ring()
        for chore in clearing_work.WOKEN_BY_POSTINGS:
            worker.wake(chore)

    return Services(
        settings=settings,
        engine=engine,
        index=index,
        purses=ClearingPurses(),
        door=make_door(),
        keys=keys,
        poster=Poster(engine, committed),
        events=watch,
        inbox=Inbox(engine),
        worker=worker,
        searchers=ThreadPoolExecutor(
            os.cpu_count() if kind_of(settings) == "embedded" else _WAITING, "searcher"
        ),
    )


def create_app(settings: Settings, *, work: bool = True) -> FastAPI:
    """Make the application on a migrated database; with `work` its lifespan runs a worker too."""
    services = make_services(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if settings.allow_loopback:
            _log.warning(
                "DEVELOPMENT ONLY: the crawler may reach plain http and this machine's own "
                "addresses (LOCALPAY_ALLOW_LOOPBACK); never set this on a public service"
            )
        if settings.allow_loss:
            _log.warning(
                "TESTS ONLY: payments that the database has confirmed may be lost in a crash "
                "(LOCALPAY_ALLOW_LOSS); never set this on a public service"
            )
        checking = start_check(services.index)
        sys.setswitchinterval(SWITCH_SECONDS)  # the poster and the event loop take turns
        services.poster.start()
        if work:
            services.worker.start()
        try:
            yield
        finally:
            await run_in_threadpool(checking.join)
            await close(services)

    app = FastAPI(
        title="LocalPay",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=problems.DESCRIBED,
        middleware=[
            Middleware(Watched),
            Middleware(Unkept),
            Middleware(
                SignedAnswers, key_id=service_key_id(settings), private_key=services.keys.service
            ),
            Middleware(Guarded, base_url=settings.base_url),
            Middleware(HeadAsGet),
        ],
    )
    app.state.services = services
    problems.install(app, settings.base_url)
    for part in _PARTS:
        app.include_router(part.router)
    static = Path(__file__).parent / "static"
    app.mount("/static", StaticFiles(directory=static), name="static")
    return app


async def close(services: Services) -> None:
    """End the threads, each after what it is doing, then give everything back."""
    await run_in_threadpool(services.searchers.shutdown)
    await run_in_threadpool(services.worker.stop)
    await run_in_threadpool(services.poster.stop)
    await services.door.aclose()
    services.index.close()
    services.engine.dispose()
