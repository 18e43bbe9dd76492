"""What answers tell of an account's chain: its head, and the rows of a statement."""

from collections.abc import Iterator

from pydantic import ValidationError

from clearing import chain
from clearing.client.answers import Json, UntrustedAnswerError
from clearing.client.history import Head
from clearing.verifying import lines
from clearing.verifying.documents import Line, Statement, minor


def heads_of(answered: Json) -> Iterator[Head]:
    """Yield each head of an account of ours that an answer tells of.

    Heads stand in an account and a balance, in a transfer under `account`, in the outcomes of a
    batch, and at the end of each page of a statement.
    """
    if {"group", "version", "head"} <= answered.keys():
        yield _head(answered, answered)
    yield from _of_transfer(answered)
    for outcome in answered.get("outcomes", ()):
        yield from _of_transfer(outcome["transfer"] or {})
    if "closing" in answered:
        end = answered["closing"]
        yield Head(answered["union"], answered["account"], end["version"], end["head"])


def beginning(union: str, account: str) -> Head:
    """Return how an account's chain begins."""
    return Head(union, account, 0, chain.first_hash(union, account))


def _of_transfer(transfer: Json) -> Iterator[Head]:
    if isinstance(transfer.get("account"), dict):
        yield _head(transfer["account"], transfer)


def _head(account: Json, beside: Json) -> Head:
    return Head(beside["union"], account["group"], account["version"], account["head"])


def statement_of(page: Json) -> Statement:
    """Read a page of a statement, or raise UntrustedAnswerError."""
    try:
        return Statement.model_validate(page)
    except ValidationError as error:
        raise UntrustedAnswerError(f"this is no statement: {error}") from error


def verify(statement: Statement) -> None:
    """Check a statement's sums, hashes, digests and texts; UntrustedAnswerError for a wrong one."""
    for problem in lines.check(statement):
        raise UntrustedAnswerError(f"the statement does not verify: {problem}")


def row_of(account: str, line: Line) -> chain.Row:
    """Return a statement's line as it was hashed."""
    return chain.Row(
        account=account,
        version=str(line.version),
        journal=line.journal,
        kind=line.kind,
        counterparty=line.counterparty,
        amount=str(minor(line.amount)),
        balance=str(minor(line.balance)),
        time=line.time,
        digest=line.digest,
    )
