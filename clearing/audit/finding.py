"""What a check finds, and the names by which it tells of accounts."""

from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing.accounts import Account


@dataclass
class Finding:
    """What the check of one invariant found; it holds where `problems` is empty."""

    number: int
    rule: str
    checked: int = 0
    problems: list[str] = field(default_factory=list)


class Names(dict[int, str]):
    """Accounts' names by id; what points at no account has a name here too, so it can be told."""

    def __missing__(self, account_id: int) -> str:
        return f"#{account_id}"


def names_of(session: Session) -> Names:
    """Return the names of all accounts by their ids."""
    return Names(session.execute(select(Account.id, Account.name)).all())
