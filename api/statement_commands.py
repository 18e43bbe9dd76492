"""`localpay statement`, `account balance`, `verify-statement` and `names erase`."""

import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import orjson
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Engine

from api.hub_commands import GroupId
from api.routes.statements import balance_view
from api.seals import seal_of
from api.terminal import FAILED, operator_engine, print_json, progress_console
from clearing import accounts, erasure, statements, verifying
from clearing.accounts import Account
from clearing.statements import Period, read_moment
from clearing.verifying import Report
from commons.database import reading, transaction
from commons.errors import InvalidError, MalformedError
from commons.json_reading import read_json
from commons.key_formats import PublicKey, decode_multikey, load_public_pem
from commons.keys import load_or_create
from commons.settings import Settings

names_app: Final = typer.Typer(help="Names of members: erasing them.")
_FROM: Final = typer.Option("--from", help="The first moment or day, in UTC.")
_TO: Final = typer.Option("--to", help="The moment or day before which it ends; else now.")
_MOST_PROBLEMS: Final = 100

InUnion = Annotated[str | None, typer.Option("--union", help="Else the only one, or main.")]


class Form(StrEnum):
    """In which form a statement is written."""

    JSON = "json"
    CSV = "csv"
    CAMT = "camt"


def register(app: typer.Typer, account_app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(names_app, name="names")
    app.command("statement")(statement)
    app.command("verify-statement")(verify_statement)
    account_app.command("balance")(balance)


def statement(
    group: GroupId,
    begins: Annotated[str, _FROM],
    ends: Annotated[str | None, _TO] = None,
    *,
    form: Annotated[Form, typer.Option("--format", help="json, csv or camt (camt.053).")] = (
        Form.JSON
    ),
    union: InUnion = None,
) -> None:
    """Print a whole statement of a group's account, without members' names and texts."""
    settings = Settings()
    start = read_moment(begins, "--from")
    end = None if ends is None else read_moment(ends, "--to")
    with operator_engine() as engine:
        account_id, now = _certain(engine, group, union)
        period = Period.asked(start, end, now)
        with reading(engine) as session:
            account = session.get_one(Account, account_id)
            found = statements.read(session, account, period, limit=None, with_names=False)
    if form is Form.CSV:
        content = statements.table(found).encode()
    elif form is Form.CAMT:
        content = statements.camt.message(found, now)
    else:
        seal = seal_of(settings, load_or_create(settings.data_dir))
        content = orjson.dumps(seal.put(statements.document(found), now))
    sys.stdout.buffer.write(content.rstrip(b"\n") + b"\n")


def balance(
    group: GroupId,
    at: Annotated[str, typer.Option("--at", help="A moment with its zone, or a day in UTC.")],
    union: InUnion = None,
) -> None:
    """Print what a group's balance was right before a moment, as JSON."""
    moment = read_moment(at, "--at")
    with operator_engine() as engine:
        account_id, now = _certain(engine, group, union)
        if moment > now:
            raise InvalidError("--at", "must not lie in the future")
        with reading(engine) as session:
            account = session.get_one(Account, account_id)
            point = statements.point_before(session, account, moment)
            print_json(balance_view(account.name, account.union_id, moment, point).model_dump())


def _certain(engine: Engine, group: str, union: str | None) -> tuple[int, datetime]:
    """Return an account's id, and until when all that is posted to it will be seen from now on."""
    with transaction(engine) as session:
        account = accounts.account_in(session, group, union)
        return account.id, statements.certain_until(session, account)


def verify_statement(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Statements as JSON: pages, consecutive periods, and those of other accounts.",
        ),
    ],
    root: Annotated[
        list[Path] | None,
        typer.Option(help="A proof that an account is in the published root of a day."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="The service's public key: a file (PEM, or its actor as JSON) or a Multikey."
        ),
    ] = None,
) -> None:
    """Check statements from their files alone; fail where a row does not verify, and name it."""
    public_key = None if key is None else read_key(key)
    read = [verifying.read_statement(str(file), file.read_bytes()) for file in files]
    inclusions = [verifying.read_inclusion(str(file), file.read_bytes()) for file in root or []]
    tell(verifying.verify(read, inclusions, public_key, datetime.now(UTC)))


def tell(report: Report) -> None:
    """Print what holds, or what does not and end with the status of that."""
    if report.problems:
        for problem in report.problems[:_MOST_PROBLEMS]:
            typer.echo(f"FAILS  {problem}")
        raise typer.Exit(FAILED)
    for sentence in report.checked:
        typer.echo(f"holds  {sentence}")


def read_key(text: str) -> Ed25519PublicKey:
    """Read the service's key from a file or as it stands; only Ed25519 ones sign documents."""
    file = Path(text)
    key = _key_in(file.read_text("utf-8")) if file.is_file() else decode_multikey(text)
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidError("--key", "must be an Ed25519 key")
    return key


def _key_in(text: str) -> PublicKey:
    if not text.lstrip().startswith("{"):
        return load_public_pem(text)
    actor = read_json(text.encode())
    methods = actor.get("assertionMethod")
    first = methods[0] if isinstance(methods, list) and methods else None
    if not isinstance(first, dict) or not isinstance(first.get("publicKeyMultibase"), str):
        raise MalformedError("the actor has no assertionMethod with a publicKeyMultibase")
    return decode_multikey(first["publicKeyMultibase"])


@names_app.command("erase")
def erase_names(
    member: Annotated[
        str | None, typer.Option(help="GROUP/MEMBER: from all transfers that have ended.")
    ] = None,
    transfer: Annotated[
        UUID | None, typer.Option(help="Both names of one transfer, and of what reverses it.")
    ] = None,
) -> None:
    """Erase names, with the texts beside them; balances and chains stay and can be checked."""
    if (member is None) == (transfer is None):
        raise InvalidError("--member", "give either this or --transfer")
    with operator_engine() as engine, transaction(engine) as session:
        if member is not None:
            erased, left = erasure.erase_member(session, member)
            print_json({"erased": erased, "still_open": left})
            if not erased and not left:
                progress_console.print(f"no transfer names {member}: there is nothing to erase")
        elif transfer is not None:
            print_json({"erased": str(erasure.erase_in_transfer(session, transfer).id)})
