"""Routes that do nothing, served as the ledger's are: `python -m bench.empty_routes PORT [URL DB]`.

With the service's address and database it is the service's own application with a poster that
posts nothing; without them an application of FastAPI that has no other route.
"""

import sys
import tempfile
import uuid
from concurrent.futures import Future
from dataclasses import fields, replace
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI, Request, Response

from api.app import create_app
from api.transfer_bodies import EXAMPLE
from clearing.calls import Call, Head, Outcome
from clearing.poster import Poster
from clearing.transfers import View
from commons import logging
from commons.nonces import Used
from commons.settings import Settings
from demo.service import LOOPBACK

MADE: Final = 201
_TRANSFER: Final = View(**{one.name: EXAMPLE[one.name] for one in fields(View)})
_HEAD: Final = Head(**EXAMPLE["account"])


class IdlePoster(Poster):
    """Answers every call at once with the same posted transfer, and writes nothing."""

    def submit(self, call: Call, used: Used | None = None) -> "Future[Outcome]":
        """Return what is answered."""
        del used
        told: Future[Outcome] = Future()
        told.set_result(Outcome(replace(_TRANSFER, id=call.id), _HEAD, created=True))
        return told


def own(base_url: str, database_url: str, folder: Path) -> FastAPI:
    """Return the service's own application with the idle poster."""
    settings = Settings(
        base_url=base_url,
        data_dir=folder,
        database_url=database_url,
        log_level="ERROR",
        allow_loss=True,
    )
    logging.configure(settings)
    app = create_app(settings, work=False)
    services = app.state.services
    app.state.services = replace(services, poster=IdlePoster(services.engine))
    return app


def bare() -> FastAPI:
    """Return an application that reads the body and sends a few bytes back."""
    app = FastAPI()

    @app.get("/health")
    async def health() -> Response:
        return Response()

    @app.put("/transfers/{transfer_id}")
    async def put_transfer(transfer_id: uuid.UUID, request: Request) -> Response:
        await request.body()
        return Response(str(transfer_id), status_code=MADE)

    return app


def main(port: str, base_url: str = "", database_url: str = "") -> None:
    """Serve until we are ended."""
    with tempfile.TemporaryDirectory(prefix="localpay-bench-") as folder:
        app = own(base_url, database_url, Path(folder)) if base_url else bare()
        uvicorn.run(app, host=LOOPBACK, port=int(port), log_config=None, access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
