"""Pairs: the two accounts of one union that an adjustment or a dispute is about."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from clearing.accounts import DEFAULT_UNION, Account, AccountKind, AccountState
from commons.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from commons.groups import Hub, HubState


@dataclass(frozen=True)
class Pair:
    """A debtor and a creditor: accounts of groups or of the union itself."""

    debtor: Account
    creditor: Account

    @property
    def key(self) -> tuple[int, int]:
        """The ids of both, the debtor's first."""
        return self.debtor.id, self.creditor.id

    def is_side(self, caller: str | None) -> bool:
        """Tell whether the hub of group `caller` has a side here; None is the operator.

        The operator has the side of an account that belongs to the union itself.
        """
        return caller in {self.debtor.group_id, self.creditor.group_id}

    def refresh(self, session: Session) -> None:
        """Read both anew, once they are locked."""
        session.refresh(self.debtor)
        session.refresh(self.creditor)

    def require_open(self, session: Session) -> None:
        """Raise ConflictError where an account is frozen or closed, or its hub is not admitted."""
        for account in (self.debtor, self.creditor):
            if account.state is not AccountState.OPEN:
                raise ConflictError(
                    f"account {account.name} is {account.state}", reason=f"account_{account.state}"
                )
        groups = (self.debtor.group_id, self.creditor.group_id)
        hubs = session.execute(select(Hub.group_id, Hub.state).where(Hub.group_id.in_(groups)))
        for group_id, state in hubs:
            if state is not HubState.ADMITTED:
                raise ConflictError(
                    f"the hub of group {group_id} is not admitted", reason="hub_not_admitted"
                )


def find_pair(
    session: Session, caller: str | None, debtor: str, creditor: str, union: str | None
) -> Pair:
    """Return the two accounts of these names in the union that is meant.

    Without a `union` it is the only one in which both have open accounts, else the main one.
    Raises InvalidError where that is none, or where several could be meant; ForbiddenError, before
    anything tells which unions two groups share, to a hub whose group is neither of them.
    """
    if debtor == creditor:
        raise InvalidError("creditor", "must be another than the debtor")
    if caller is not None and caller not in {debtor, creditor}:
        raise ForbiddenError("only the debtor's or the creditor's hub may do this")
    rows = session.scalars(
        select(Account).where(
            Account.name.in_((debtor, creditor)), Account.kind != AccountKind.RESIDUE
        )
    )
    found: dict[str, dict[str, Account]] = {}
    for account in rows:
        found.setdefault(account.union_id, {})[account.name] = account
    both = {union_id: sides for union_id, sides in found.items() if len(sides) > 1}
    usable = [
        union_id
        for union_id, sides in both.items()
        if all(account.state is AccountState.OPEN for account in sides.values())
    ]
    chosen = union or (usable[0] if len(usable) == 1 else DEFAULT_UNION)
    if chosen not in both:
        choices = ", ".join(sorted(both)) or "none"
        raise InvalidError("union", f"must be one in which both have accounts: {choices}")
    return Pair(both[chosen][debtor], both[chosen][creditor])


def pair_of(session: Session, debtor_id: int, creditor_id: int, caller: str | None) -> Pair:
    """Return the two accounts by their ids; NotFoundError to a hub that has no side."""
    pair = Pair(session.get_one(Account, debtor_id), session.get_one(Account, creditor_id))
    if caller is not None and not pair.is_side(caller):
        raise NotFoundError("there is nothing of yours under this id")
    return pair
