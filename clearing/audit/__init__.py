"""The audit: every invariant of the ledger, checked from the rows alone.

The numbers are those under which the invariants are documented in `docs/clearing.md`.
"""

from collections.abc import Callable

from sqlalchemy.orm import Session

from clearing.audit import chains, endings, guards, limits, matrix, rounds, statements, terms
from clearing.audit.finding import Finding

__all__ = ["Finding", "audit"]


def audit(session: Session, tick: Callable[[str], None] = lambda _rule: None) -> list[Finding]:
    """Check every invariant over one snapshot; `tick` is told the rule of each check as it ends.

    Call it with a reading session, so that all checks see the same moment.
    """
    findings = []
    for check in (
        matrix.sums,
        matrix.journals,
        matrix.caches,
        limits.limits,
        endings.once,
        endings.ended,
        rounds.rounds,
        chains.chains,
        statements.statements,
        guards.kept,
        matrix.replayed,
        endings.taken_back,
        guards.told,
        guards.logged,
        terms.terms,
    ):
        finding = check(session)
        tick(finding.rule)
        findings.append(finding)
    return findings
