"""Verifying statements and published roots from files alone: no server, no database."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clearing.verifying import inclusion, lines, pairs
from clearing.verifying.documents import (
    Inclusion,
    Line,
    Read,
    Statement,
    read_inclusion,
    read_statement,
)
from clearing.verifying.pairs import History
from commons import proofs
from commons.errors import UnauthenticatedError

__all__ = ["Report", "check_origin", "read_inclusion", "read_statement", "verify"]


@dataclass
class Report:
    """What was checked, in sentences, and what does not verify; all is well without problems."""

    checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def verify(
    statements: Sequence[Read[Statement]],
    inclusions: Sequence[Read[Inclusion]],
    key: Ed25519PublicKey | None,
    now: datetime,
) -> Report:
    """Check statements, that those of one account chain, two accounts' against each other, roots.

    With the service's public key their origin is checked too. `now` is when no signature may be
    made after.
    """
    report = Report()
    for one in statements:
        report.problems += lines.check(one.document)
        report.checked.append(_told(one.document))
        report.checked += _unchecked(one.document)
    histories = [_joined(report, chained) for chained in _by_account(statements)]
    report.problems += pairs.check(histories)
    if len(histories) > 1:
        found = pairs.shared(histories)
        report.checked.append(f"{found} journals that stand in two statements are opposite")
    _check_roots(report, statements, inclusions)
    signed: list[tuple[str, Mapping[str, Any]]] = [(one.file, one.raw) for one in statements]
    signed += [(one.file, one.raw["published"]) for one in inclusions]
    check_origin(report, signed, key, now)
    return report


def _told(statement: Statement) -> str:
    return (
        f"account {statement.account} of {statement.union}: {len(statement.lines)} versions after "
        f"{statement.opening.version}, {statement.opening.balance} and lines make "
        f"{statement.closing.balance} at version {statement.closing.version}"
    )


def _unchecked(statement: Statement) -> Iterator[str]:
    """Say of how many lines the texts cannot be checked, their key being erased or not told."""
    hidden = [line for line in statement.lines if line.key is None and lines.texts(line)]
    if hidden:
        yield f"the texts of {len(hidden)} of them come without a key and were not checked"


def _by_account(statements: Sequence[Read[Statement]]) -> list[list[Statement]]:
    found: dict[tuple[str, str], list[Statement]] = defaultdict(list)
    for one in statements:
        found[one.document.union, one.document.account].append(one.document)
    return [
        sorted(chained, key=lambda one: (one.opening.version, one.closing.version, one.start))
        for chained in found.values()
    ]


def _joined(report: Report, chained: Sequence[Statement]) -> History:
    """Check that statements of one account follow each other, and return them as one."""
    first = chained[0]
    for earlier, later in pairwise(chained):
        if later.opening != earlier.closing:
            report.problems.append(
                f"account {first.account}: version {later.opening.version}: a statement begins "
                f"here, and the one before ends with version {earlier.closing.version}"
            )
        if later.service != earlier.service:
            report.problems.append(f"account {first.account}: statements of two services")
    known: dict[str, Line] = {}
    for one in chained:
        own = {line.journal: line for line in one.lines}
        report.problems += [
            f"account {first.account}: version {own[journal].version}: journal {journal} stands in "
            "a statement before"
            for journal in own
            if journal in known
        ]
        known |= own
    return History(
        first.account,
        first.union,
        min(one.start for one in chained),
        max(_end(one) for one in chained),
        known,
    )


def _end(statement: Statement) -> str:
    """Return before when a statement tells all; a page with another one after it ends early."""
    if statement.next is None or not statement.lines:
        return statement.end
    return statement.lines[-1].time


def _check_roots(
    report: Report,
    statements: Sequence[Read[Statement]],
    inclusions: Sequence[Read[Inclusion]],
) -> None:
    heads: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for one in statements:
        told = heads[one.document.union, one.document.account]
        told[one.document.opening.version] = one.document.opening.head
        told |= {line.version: line.hash for line in one.document.lines}
    for proof in inclusions:
        report.problems += inclusion.check(proof.document, heads)
        document = proof.document
        report.checked.append(
            f"account {document.account}: version {document.version} is in the root that was "
            f"published for {document.published.day}, {document.published.hash}"
        )
    report.problems += inclusion.check_together([one.document.published for one in inclusions])


def check_origin(
    report: Report,
    signed: Sequence[tuple[str, Mapping[str, Any]]],
    key: Ed25519PublicKey | None,
    now: datetime,
) -> None:
    """Check that the service signed documents, each given with the file that it is from."""
    if key is None:
        report.checked.append("without --key it was not checked that the service signed this")
        return
    for file, raw in signed:
        proof = proofs.read(raw)
        if proof is None:
            report.problems.append(f"{file}: there is no signature of the service")
            continue
        try:
            proofs.verify(proof, key, now=now)
        except UnauthenticatedError as error:
            report.problems.append(f"{file}: {error.detail}")
        else:
            made = f"{proof.created:%Y-%m-%d %H:%M:%SZ}"
            report.checked.append(f"{file}: signed by {raw['service']}, {made}")
