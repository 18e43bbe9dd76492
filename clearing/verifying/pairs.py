"""Two hubs' statements beside each other: what one gave, the other got (invariant 9)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from clearing.verifying.documents import Line, minor


@dataclass(frozen=True)
class History:
    """What consecutive statements tell of one account, from `start` on and before `end`.

    Moments are text that sorts as they do; lines are by journal.
    """

    account: str
    union: str
    start: str
    end: str
    lines: Mapping[str, Line]


def check(histories: Sequence[History]) -> Iterator[str]:
    """Tell where two accounts of a union do not tell the same of what was between them."""
    for ours in histories:
        for theirs in histories:
            if ours.union == theirs.union and ours.account != theirs.account:
                yield from _check(ours, theirs)


def shared(histories: Sequence[History]) -> int:
    """Return how many journals stand in two statements."""
    seen: dict[str, int] = {}
    for history in histories:
        for journal in history.lines:
            seen[journal] = seen.get(journal, 0) + 1
    return sum(1 for times in seen.values() if times > 1)


def _check(ours: History, theirs: History) -> Iterator[str]:
    start, end = max(ours.start, theirs.start), min(ours.end, theirs.end)
    for journal, line in ours.lines.items():
        other = theirs.lines.get(journal)
        place = f"account {ours.account}: version {line.version}"
        if other is None:
            if start <= line.time < end and _towards(line, theirs.account):
                yield f"{place}: is missing in the statement of {theirs.account}"
        elif (line.time, line.kind) != (other.time, other.kind):
            yield f"{place}: {theirs.account} was told another time or kind"
        elif not isinstance(line.content, list):
            if line.digest != other.digest:
                yield f"{place}: {theirs.account} was told another content"
            elif not _opposite(line, other, ours.account, theirs.account):
                yield f"{place}: the amount is not the opposite of that of {theirs.account}"
        elif _set_off(line, theirs.account) != -_set_off(other, ours.account):
            yield f"{place}: the set-off is not the opposite of that of {theirs.account}"


def _towards(line: Line, account: str) -> bool:
    if isinstance(line.content, list):
        return any(name == account for name, _ in line.content)
    return line.counterparty == account


def _set_off(line: Line, account: str) -> int:
    if not isinstance(line.content, list):
        return 0
    return sum(int(amount) for name, amount in line.content if name == account)


def _opposite(line: Line, other: Line, account: str, counterparty: str) -> bool:
    """Tell whether both amounts are opposite, but for a payment's residue.

    Where a journal is not between the two alone, as when a residue was given back, there is
    nothing to compare.
    """
    if line.counterparty != counterparty or other.counterparty != account:
        return True
    content = line.content if isinstance(line.content, dict) else {}
    residue = int(content.get("payer_clearing", "0")) - int(content.get("payee_clearing", "0"))
    return abs(minor(line.amount) + minor(other.amount)) == residue
