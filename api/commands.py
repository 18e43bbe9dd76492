"""The command line `localpay`: what an operator does with a service."""

import errno
import gc
import os
import socket
import sys
from contextlib import suppress
from typing import Annotated, Final

import typer
import uvicorn

from api import (
    account_commands,
    aside_commands,
    block_commands,
    clearing_commands,
    event_commands,
    fasp_commands,
    health_command,
    hub_commands,
    index_commands,
    journal_commands,
    key_commands,
    log_commands,
    migrations,
    network_commands,
    rate_commands,
    reconcile_command,
    round_file_commands,
    search_command,
    simulate_command,
    source_commands,
    statement_commands,
    token_commands,
    transfer_commands,
    union_commands,
)
from api.app import create_app, make_services
from api.durability import check_durability
from api.event_watch import EndingServer
from api.index_check import start_check
from api.terminal import OneLineErrors, operator_engine, progress_console
from api.worker import ending_signals
from commons import logging
from commons.errors import ConflictError
from commons.settings import Settings

app: Final = typer.Typer(
    name="localpay",
    cls=OneLineErrors,
    help="The marketplace and the clearing between local currency groups. Settings are read "
    "from LOCALPAY_… variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(hub_commands.app, name="hub")
app.add_typer(source_commands.app, name="source")
app.add_typer(fasp_commands.app, name="fasp")
app.add_typer(transfer_commands.app, name="transfer")
app.add_typer(rate_commands.app, name="rate")
app.add_typer(union_commands.app, name="union")
app.add_typer(event_commands.app, name="events")
app.add_typer(log_commands.app, name="log")
app.add_typer(token_commands.app, name="token")
hub_commands.app.add_typer(key_commands.app, name="keys")
health_command.register(hub_commands.app)
aside_commands.register(app)
block_commands.register(app, hub_commands.app)
clearing_commands.register(app)
journal_commands.register(app, union_commands.app)
reconcile_command.register(app)
round_file_commands.register(app)
statement_commands.register(app, account_commands.app)
simulate_command.register(app)
index_commands.register(app)
network_commands.register(app)
search_command.register(app)

_NOT_STARTED: Final = 3
_BACKLOG: Final = 2_048  # connections that wait to be taken


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8080,
    *,
    work: Annotated[
        bool, typer.Option("--work/--no-work", help="Run the worker in this process too.")
    ] = True,
) -> None:
    """Serve the interface and the pages, with the worker beside them."""
    settings = _ready()
    listening = _listening(host, port)
    if "base_url" not in settings.model_fields_set:  # signatures cover it, so it must be true
        settings = settings.model_copy(update={"base_url": f"http://{host}:{port}"})
    application = create_app(settings, work=work)
    progress_console.print(f"LocalPay serves {settings.base_url} on {host}:{port}; Ctrl-C ends it")
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    _settle()
    server = EndingServer(config, application.state.services.events)
    with suppress(KeyboardInterrupt):  # which the server raises again once it has ended
        server.run(listening)
    if not server.started:
        raise typer.Exit(_NOT_STARTED)


def _settle() -> None:
    """Have the collector of cycles pass over what is there to stay.

    To look at it all took 0.2 s each time, in which nobody was answered.
    """
    gc.collect()
    gc.freeze()


def _listening(host: str, port: int) -> list[socket.socket]:
    """Listen before anything is opened, so that a port that is taken is told in a sentence."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return [
            socket.create_server(address[:2], family=family, backlog=_BACKLOG)
            for family, *_, address in found
        ]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(
                f"another program listens on {host} port {port}; choose another by --port"
            ) from error
        said = (error.strerror or str(error)).lower()
        raise ConflictError(f"cannot listen on {host} port {port}: {said}") from error


@app.command()
def work() -> None:
    """Run the worker alone, beside servers that were started with --no-work."""
    services = make_services(_ready())
    _settle()
    told = ending_signals()
    progress_console.print("the worker runs; Ctrl-C ends it")
    checking = start_check(services.index)
    services.worker.run(told)
    checking.join()
    services.index.close()
    services.engine.dispose()
    if not told:
        raise typer.Exit(1)  # the worker ended by itself, and the log says why


@app.command()
def migrate() -> None:
    """Bring the database to the newest revision and print that."""
    settings = Settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(migrations.upgrade(settings.effective_database_url) + "\n")


@app.command()
def demo(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="End when done, and fail where anything is wrong.")
    ] = False,
) -> None:
    """Run the whole job on this machine, with three demo hubs, and go on serving."""
    arguments = [sys.executable, "-m", "demo", *(["--check"] if check else [])]
    os.execv(sys.executable, arguments)  # noqa: S606 (this very interpreter, in our place)


def _ready() -> Settings:
    """Read the settings, set up the log, and see that the database fits this version."""
    with operator_engine() as engine:
        settings = Settings()
        if not settings.allow_loss:
            check_durability(engine)
    logging.configure(settings)
    return settings


if __name__ == "__main__":
    app()
