"""What stands around the ledger: guards, events, and the audit log with what it says."""

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from clearing import participation
from clearing.accounts import Account, AccountKind, AccountState
from clearing.audit.finding import Finding
from clearing.events import Event, EventStream
from commons import audit_log
from commons.audit_log import Deed
from commons.database import Base


def kept(session: Session) -> Finding:
    """Check that the triggers of append-only tables are there and on."""
    found = Finding(10, "the database refuses to change or delete what is append-only")
    sqlite = session.get_bind().dialect.name == "sqlite"
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        if sqlite
        else "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')"
    )
    there = set(session.scalars(text(query)))
    guarded = [one.name for one in Base.metadata.sorted_tables if "append_only" in one.info]
    for table in guarded:
        found.checked += 1
        guards = (
            {f"{table}_no_update", f"{table}_no_delete"} if sqlite else {f"{table}_append_only"}
        )
        if not guards <= there:
            found.problems.append(f"table {table}: its guarding trigger is missing or off")
    return found


def told(session: Session) -> Finding:
    """Check that no hub's events have a gap."""
    found = Finding(13, "the events of each hub are numbered without gaps")
    last: dict[str, int] = dict(
        session.execute(select(EventStream.group_id, EventStream.last)).all()
    )
    counts = select(Event.group_id, func.count(), func.max(Event.number)).group_by(Event.group_id)
    for group_id, count, newest in session.execute(counts):
        found.checked += count
        if (count, newest) != (last.get(group_id, 0),) * 2:
            found.problems.append(f"hub {group_id}: {count} events, the last is {newest}")
        last.pop(group_id, None)
    found.problems += [
        f"hub {group_id}: {number} events are missing"
        for group_id, number in last.items()
        if number
    ]
    return found


def logged(session: Session) -> Finding:
    """Check the chain of the audit log, and that accounts stand as it says."""
    found = Finding(14, "the audit log verifies, and accounts are open or not as it says")
    found.problems += audit_log.broken(session)
    said: dict[str, tuple[str, str]] = {}
    changes = select(Deed).filter_by(action=participation.ACTION).order_by(Deed.number)
    for deed in session.scalars(changes):
        said[deed.subject] = (deed.data["state"], deed.data["reason"])
    for account in session.scalars(select(Account)):
        found.checked += 1
        owner = account.name if account.kind is not AccountKind.RESIDUE else account.group_id
        expected = said.get(f"{account.union_id}/{owner}", (AccountState.OPEN, ""))
        if (account.state, account.state_reason or "") != expected:
            found.problems.append(f"account {account.name}: is {account.state}, not {expected[0]}")
    return found
