"""`localpay settle` and `localpay round`: rounds proposed, shown, committed and abandoned."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
import typer
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.hub_commands import AsJson
from api.round_page import page_csv, page_html
from api.round_views import (
    PageView,
    group_view,
    page_view,
    part_document,
    round_view,
    units,
)
from api.routes.round_certificates import CertificateForm
from api.seals import seal_of
from api.terminal import operator_engine, print_json, print_table, working
from clearing import accounts, certificates, rounds
from clearing.accounts import DEFAULT_UNION
from clearing.rounds import Round, pages, scheduling
from clearing.rounds.rows import Part, Queued
from clearing.sealing import Seal
from commons.database import reading, transaction
from commons.errors import InvalidError
from commons.keys import load_or_create
from commons.settings import Settings

OPERATOR: Final = "operator"
SECONDS_AN_HOUR: Final = 3_600

app: Final = typer.Typer(help="Rounds: what is set off, when, and what proves it.")

RoundId = Annotated[UUID, typer.Argument(metavar="ROUND", help="The round's id.")]
InUnion = Annotated[str, typer.Option("--union", help="The union whose groups settle.")]


class Form(StrEnum):
    """In which form a round is shown."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


def register(root: typer.Typer) -> None:
    """Add these commands to the command line."""
    root.command("settle")(settle)
    root.add_typer(app, name="round")


def settle(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what a round would do; change nothing.")
    ] = False,
    union: InUnion = DEFAULT_UNION,
    json: AsJson = False,
) -> None:
    """Run a netting round: propose the optimal set-off and commit it; print what it did.

    A round that was left proposed, and that nobody may opt out of any more, is committed instead.
    """
    with operator_engine() as engine, working("Settling"):
        result = _previewed(engine, union) if dry_run else _settled(engine, union)
    if json:
        print_json(result)
    else:
        _show(result)


def _settled(engine: Engine, union: str) -> dict[str, Any]:
    seal = _seal()
    with transaction(engine) as session:
        done = rounds.settle(session, union, seal, proposed_by=OPERATOR)
        round_id = done.id
        rounds.log(session, done, OPERATOR)
    with reading(engine) as session:
        done = rounds.find(session, round_id)
        queued = rounds.candidates(session, round_id)
        effect = _effect(session, done.union_id, rounds.rows(session, done), queued)
    return {"round": str(round_id), "state": str(done.state)} | effect


def _previewed(engine: Engine, union: str) -> dict[str, Any]:
    with reading(engine) as session:
        if union != DEFAULT_UNION:  # which is there from the first admission on
            accounts.union_of(session, union)
        plan = rounds.preview(session, union)
        effect = _effect(session, union, plan.rows(), plan.queued)
    return {"round": None, "state": "dry run"} | effect


def _effect(
    session: Session, union: str, parts: Sequence[Part], queued: Sequence[Queued]
) -> dict[str, Any]:
    """Return a round's totals, its rows, and what it does to each group, in clearing units."""
    before = sum(part.obligation for part in parts)
    groups = pages.parts_of_groups(session, union, parts, queued)
    return {
        "union": union,
        "obligations_before": units(before),
        "cleared": units(sum(part.amount for part in parts)),
        "drawn": units(sum(part.drawn for part in parts)),
        "obligations_after": units(sum(part.remaining for part in parts)),
        "waiting": len(queued),
        "released": sum(one.proposed for one in queued),
        "set_offs": [part_document(part) for part in parts],
        "groups": [group_view(one).model_dump() for one in groups],
    }


def _show(result: dict[str, Any]) -> None:
    """Print what is set off as a table, then each group's part, and what that comes to."""
    if result["set_offs"]:
        _print_parts(result["set_offs"])
        typer.echo()
        _print_groups(result["groups"])
    done = f"round {result['round']} is {result['state']}" if result["round"] else result["state"]
    typer.echo(
        f"{done}: of {result['obligations_before']} owed in union {result['union']} "
        f"{result['cleared']} are set off, {result['obligations_after']} remain"
    )
    if result["waiting"]:
        typer.echo(f"{result['released']} of {result['waiting']} queued payments are released")


def _print_parts(parts: Sequence[dict[str, str]]) -> None:
    names = ["debtor", "creditor", "obligation", "set_off", "remaining"]
    rows = [[one[name] for name in names] for one in parts]
    print_table([name.replace("_", " ") for name in names], rows)


def _print_groups(groups: Sequence[dict[str, Any]]) -> None:
    names = ["group", "owes_before", "is_owed_before", "set_off", "owes_after", "is_owed_after"]
    rows = [
        [*(one[name] for name in names), sum(payment["proposed"] for payment in one["payments"])]
        for one in groups
    ]
    print_table([*(name.replace("_", " ") for name in names), "released"], rows)


@app.command("list")
def list_rounds(*, union: InUnion = DEFAULT_UNION, json: AsJson = False) -> None:
    """List the last rounds of a union, the newest first."""
    with operator_engine() as engine, reading(engine) as session:
        accounts.union_of(session, union)
        found = [round_view(one) for one in rounds.latest(session, union_id=union)]
    if json:
        print_json({"rounds": [one.model_dump() for one in found]})
        return
    columns = ["id", "state", "cleared", "obligations_total", "proposed_by", "proposed_at"]
    columns += ["commit_at", "ended_at"]
    rows = [[getattr(one, column) for column in columns] for one in found]
    print_table([column.replace("_", " ") for column in columns], rows)


@app.command("show")
def show(
    round_id: RoundId,
    *,
    group: Annotated[str | None, typer.Option(help="Only this group's own page.")] = None,
    form: Annotated[Form, typer.Option("--format", help="How to write it.")] = Form.TABLE,
) -> None:
    """Show a round, or a group's page of it, which csv and html are made of."""
    if group is None and form in {Form.CSV, Form.HTML}:
        raise InvalidError("--group", f"is needed for {form}: it is a group's page")
    with operator_engine() as engine, reading(engine) as session:
        found = rounds.find(session, round_id)
        if group is None:
            _show_round(session, found, form)
            return
        account = accounts.account_of(session, group, found.union_id)
        page = page_view(pages.page_of(session, found, account))
    if form is Form.TABLE:
        _show_page(page)
    else:
        writers = {Form.CSV: page_csv, Form.HTML: page_html, Form.JSON: _page_json}
        sys.stdout.buffer.write(writers[form](page).encode())


def _page_json(page: PageView) -> str:
    return page.model_dump_json(indent=2) + "\n"


def _show_round(session: Session, found: Round, form: Form) -> None:
    told = round_view(found).model_dump()
    parts = [part_document(part) for part in rounds.rows(session, found)]
    if form is Form.JSON:
        print_json({**told, "parts": parts})
        return
    queue = told.pop("queue")
    told |= {f"queue_{name}": value for name, value in queue.items()}
    print_table(["what", "value"], [[name.replace("_", " "), one] for name, one in told.items()])
    if parts:
        typer.echo()
        _print_parts(parts)


def _show_page(page: PageView) -> None:
    columns = ["counterparty", "before", "released", "set_off", "drawn", "after", "now"]
    columns += ["room_before", "room_after"]
    rows = [[getattr(one, column) for column in columns] for one in page.pairs]
    print_table([column.replace("_", " ") for column in columns], rows)
    if page.payments:
        typer.echo()
        told = [
            [p.transfer, p.payer, p.payee, p.amount, p.proposed, p.released] for p in page.payments
        ]
        print_table(["transfer", "payer", "payee", "amount", "proposed", "released"], told)
    typer.echo(
        f"{page.group} owed {page.owes_before} and was owed {page.is_owed_before}; "
        f"{page.set_off} are set off on either side; round {page.round.id} is {page.round.state}"
    )


@app.command("propose")
def propose(
    *,
    union: InUnion = DEFAULT_UNION,
    notice: Annotated[
        int | None,
        typer.Option(metavar="HOURS", help="How long groups may opt out; else as the union's."),
    ] = None,
) -> None:
    """Propose a round and reserve what it sets off; print it as JSON."""
    given = None
    if notice is not None:
        given = timedelta(seconds=scheduling.checked_notice(notice * SECONDS_AN_HOUR))
    with operator_engine() as engine, working("Proposing"), transaction(engine) as session:
        accounts.union_of(session, union)
        made = rounds.propose(session, union, proposed_by=OPERATOR, notice=given)
        told = round_view(made)
        rounds.log(session, made, OPERATOR)
    print_json(told.model_dump())


@app.command("commit")
def commit(round_id: RoundId) -> None:
    """Commit a proposed round that nobody may opt out of any more; print it as JSON."""
    seal = _seal()
    with operator_engine() as engine, working("Committing"), transaction(engine) as session:
        done = rounds.commit(session, round_id, seal)
        told = round_view(done)
        rounds.log(session, done, OPERATOR)
    print_json(told.model_dump())


@app.command("abandon")
def abandon(round_id: RoundId) -> None:
    """End a proposed round without effect; what it reserved is free again."""
    with operator_engine() as engine, transaction(engine) as session:
        done = rounds.abandon(session, round_id)
        told = round_view(done)
        rounds.log(session, done, OPERATOR)
    print_json(told.model_dump())


@app.command("certificate")
def certificate(
    round_id: RoundId,
    *,
    form: Annotated[
        CertificateForm,
        typer.Option(help="public, a group's slice, or full, which names everybody."),
    ] = CertificateForm.PUBLIC,
    group: Annotated[str | None, typer.Option(help="Whose slice.")] = None,
) -> None:
    """Print what proves a committed round, as JSON; `localpay verify-round` checks it."""
    if (form is CertificateForm.SLICE) != (group is not None):
        raise InvalidError("--group", "is needed for a slice, and for nothing else")
    with operator_engine() as engine, reading(engine) as session:
        found = rounds.find(session, round_id)
        if group is not None:
            document = certificates.slice_of(session, found, group)
        elif form is CertificateForm.FULL:
            document = certificates.full(session, found)
        else:
            document = certificates.public(found)
    sys.stdout.buffer.write(orjson.dumps(document) + b"\n")


def _seal() -> Seal:
    settings = Settings()
    return seal_of(settings, load_or_create(settings.data_dir))
