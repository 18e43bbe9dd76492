"""The command line `localpay`: what an operator does with a service."""

import os
import signal
import sys
from typing import Annotated, Final

import typer
import uvicorn

from api import (
    aside_commands,
    block_commands,
    clearing_commands,
    fasp_commands,
    health_command,
    hub_commands,
    index_commands,
    migrations,
    search_command,
    source_commands,
)
from api.app import create_app, make_services
from api.index_check import start_check
from api.terminal import OneLineErrors, operator_engine, progress_console
from commons import logging
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
health_command.register(hub_commands.app)
aside_commands.register(app)
block_commands.register(app, hub_commands.app)
clearing_commands.register(app)
index_commands.register(app)
search_command.register(app)


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
    if "base_url" not in settings.model_fields_set:  # signatures cover it, so it must be true
        settings = settings.model_copy(update={"base_url": f"http://{host}:{port}"})
    application = create_app(settings, work=work)
    progress_console.print(f"LocalPay serves {settings.base_url} on {host}:{port}; Ctrl-C ends it")
    uvicorn.run(
        application,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )


@app.command()
def work() -> None:
    """Run the worker alone, beside servers that were started with --no-work."""
    services = make_services(_ready())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress_console.print("the worker runs; Ctrl-C ends it")
    checking = start_check(services.index)
    services.worker.run()
    checking.join()
    services.index.close()
    services.engine.dispose()


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
    with operator_engine():
        settings = Settings()
    logging.configure(settings)
    return settings


if __name__ == "__main__":
    app()
