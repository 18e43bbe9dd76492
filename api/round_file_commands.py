"""`localpay verify-round`: certificates of rounds checked from their files alone."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from api.statement_commands import read_key, tell
from clearing import certificates


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("verify-round")(verify_round)


def verify_round(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Certificates as JSON: public ones, slices of groups, full ones; of any rounds.",
        ),
    ],
    key: Annotated[
        str | None,
        typer.Option(
            help="The service's public key: a file (PEM, or its actor as JSON) or a Multikey."
        ),
    ] = None,
) -> None:
    """Check rounds from their certificates alone; fail where a row does not verify, and name it."""
    public_key = None if key is None else read_key(key)
    read = [certificates.read(str(file), file.read_bytes()) for file in files]
    tell(certificates.verify(read, public_key, datetime.now(UTC)))
