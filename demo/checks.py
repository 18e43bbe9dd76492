"""What a run of the demo measured, and whether each thing was as expected."""

import json
from dataclasses import asdict, dataclass
from decimal import Decimal

from rich.console import Console
from rich.markup import escape


@dataclass
class Summary:
    """The figures of one run, all from the service's answers; None where a run did not get.

    Obligations, cleared and balances are totals in clearing units. Those of `round_` are of the
    round among the made-up groups; `round_cleared_share` is what it cleared of what was owed.
    """

    listings_found: int | None = None
    seconds_to_searchable: float | None = None
    transfers_posted: int | None = None
    transfers_refused: int | None = None
    freed_by_round: int | None = None
    obligations_before: Decimal | None = None
    obligations_after: Decimal | None = None
    cleared: Decimal | None = None
    balances_sum: Decimal | None = None
    round_groups: int | None = None
    round_obligations: Decimal | None = None
    round_cleared: Decimal | None = None
    round_cleared_share: Decimal | None = None
    round_released: int | None = None

    def as_json(self) -> str:
        """Return one line of JSON, clearing units as decimal strings."""
        return json.dumps(asdict(self), default=lambda units: f"{units:.4f}")


@dataclass(frozen=True)
class Check:
    """One thing that was expected, what was seen instead or as expected."""

    what: str
    expected: str
    seen: str
    passed: bool


class Checks:
    """Everything that a run checks, in order."""

    def __init__(self) -> None:
        self._checks: list[Check] = []

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return all(check.passed for check in self._checks)

    def equal(self, what: str, seen: object, expected: object) -> None:
        """Expect a value."""
        self._checks.append(Check(what, str(expected), str(seen), seen == expected))

    def at_least(self, what: str, seen: int, least: int) -> None:
        """Expect a number or a higher one."""
        self._checks.append(Check(what, f"at least {least}", str(seen), seen >= least))

    def at_most(self, what: str, seen: float, most: float) -> None:
        """Expect a number or a lower one."""
        self._checks.append(Check(what, f"at most {most:g}", f"{seen:g}", seen <= most))

    def failed(self, what: str, reason: str) -> None:
        """Note that something could not be done at all."""
        self._checks.append(Check(what, "done", reason, passed=False))

    def show(self, console: Console) -> None:
        """Print all checks, one a line."""
        for check in self._checks:
            mark = "[green]ok   [/]" if check.passed else "[red]wrong[/]"
            said = f"{check.what}: {check.seen}"
            if check.seen != check.expected:
                said += f" (expected {check.expected})"
            console.print(f"  {mark} {escape(said)}")
