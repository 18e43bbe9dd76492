"""`localpay token`: the tokens with which analysts and operators call over HTTP."""

from datetime import timedelta
from typing import Annotated, Any, Final

import typer

from api.terminal import operator_engine, print_json, print_table
from clearing.accounts import Union
from commons import audit_log, tokens
from commons.database import reading, transaction
from commons.errors import InvalidError
from commons.tokens import Role, Token

DEFAULT_DAYS: Final = 90

app: Final = typer.Typer(help="The tokens of analysts and operators: make, list and revoke them.")


@app.command("create")
def create(
    role: Annotated[Role, typer.Argument(help="An analyst reads; an operator acts as well.")],
    name: Annotated[str, typer.Argument(help="Whose it is, for you to know later.")],
    union: Annotated[
        str | None, typer.Option(help="The only union that it opens; without it all.")
    ] = None,
    days: Annotated[int, typer.Option(help="After how many days it ends.")] = DEFAULT_DAYS,
) -> None:
    """Make a token and print it: it is shown this once, and sent as `Authorization: Bearer`."""
    with operator_engine() as engine, transaction(engine) as session:
        if union is not None and session.get(Union, union) is None:
            raise InvalidError("union", f"there is no union {union!r}")
        token, text = tokens.create(session, role, name, timedelta(days=days), union)
        data = {"role": str(role), "union": union or "all", "expires": token.expires_at.isoformat()}
        audit_log.record(session, "operator", "token-created", token.prefix, data)
        told = {**_told(token), "token": text}
    print_json(told)


@app.command("list")
def list_tokens(
    *, json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False
) -> None:
    """List all tokens, the newest first, without their secrets, which nobody knows any more."""
    with operator_engine() as engine, reading(engine) as session:
        found = [_told(token) for token in tokens.all_tokens(session)]
    if json:
        print_json({"tokens": found})
        return
    columns = ("prefix", "role", "union", "name", "expires_at", "last_used_at", "revoked_at")
    print_table(columns, [[one[column] for column in columns] for one in found])


@app.command("revoke")
def revoke(
    prefix: Annotated[str, typer.Argument(help="The part of the token before the dot.")],
) -> None:
    """Revoke a token: it opens nothing from now on."""
    with operator_engine() as engine, transaction(engine) as session:
        told = _told(tokens.revoke(session, prefix))
        audit_log.record(session, "operator", "token-revoked", prefix)
    print_json(told)


def _told(token: Token) -> dict[str, Any]:
    return {
        "prefix": token.prefix,
        "role": token.role,
        "name": token.name,
        "union": token.union_id,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
    }
