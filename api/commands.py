"""The command line `localpay`: what an operator does with a service."""

import os
import signal
import sys
from typing import Annotated, Final

import typer
import uvicorn
from rich.console import Console

from api import clearing_commands, hub_commands, index_commands, migrations
from api.app import create_app, make_services
from api.index_check import start_check
from api.routes.pages import payment_words
from api.terminal import (
    OneLineErrors,
    operator_engine,
    prepared,
    print_json,
    progress_console,
)
from commons import logging
from commons.settings import Settings
from marketplace.indexes import open_index
from marketplace.query import Hit, read_query

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
clearing_commands.register(app)
index_commands.register(app)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


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


@app.command()
def search(  # noqa: PLR0913, PLR0917 (each is an option, by name)
    words: Annotated[list[str] | None, typer.Argument(help="Words to look for.")] = None,
    near: Annotated[str | None, typer.Option(help="lat,lon in degrees, or a place's name.")] = None,
    radius_km: Annotated[str | None, typer.Option(help="How far from there.")] = None,
    pay: Annotated[list[str] | None, typer.Option(help="Means of payment, repeatable.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="offer or want.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Group, repeatable.")] = None,
    limit: Annotated[str, typer.Option(help="Hits at most.")] = "20",
    *,
    json: AsJson = False,
) -> None:
    """Search the index of this machine."""
    settings = prepared(Settings())
    asked = [
        ("q", " ".join(words or [])),
        ("near", near),
        ("radius_km", radius_km),
        ("type", type_),
        ("limit", limit),
        *(("pay", value) for value in pay or []),
        *(("group", value) for value in group or []),
    ]
    query = read_query((name, value) for name, value in asked if value is not None)
    index = open_index(settings)
    page = index.search(query)
    index.close()
    if json:
        print_json(page)
        return
    console = Console(markup=False, highlight=False)
    for hit in page.hits:
        console.print(_line(hit))
    progress_console.print(f"{page.total} found, {len(page.hits)} shown, {page.took_ms:.1f} ms")


def _ready() -> Settings:
    """Read the settings, set up the log, and see that the database fits this version."""
    with operator_engine():
        settings = Settings()
    logging.configure(settings)
    return settings


def _line(hit: Hit) -> str:
    parts = [
        f"{hit.type:5}",
        hit.title,
        ", ".join(payment_words(payment, {}) for payment in hit.payments),
        None if hit.distance_km is None else f"{hit.distance_km:g} km",
        hit.group,
        hit.url,
    ]
    return " · ".join(part for part in parts if part)


if __name__ == "__main__":
    app()
