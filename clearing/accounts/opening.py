"""Unions made, and the accounts that are opened in them."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from clearing import chain
from clearing.accounts.limits import set_limits
from clearing.accounts.matrix import (
    DEFAULT_UNION,
    Account,
    AccountKind,
    AccountState,
    Union,
    find_account,
)
from commons import database
from commons.errors import ConflictError, NotFoundError

OF_A_UNION: Final = frozenset({AccountKind.LEVY, AccountKind.COMMONS})


def make_union(session: Session, union_id: str) -> Union:
    """Return a union, made where there was none; two who make it at once get the same."""
    union = session.get(Union, union_id)
    if union is None:
        try:
            with session.begin_nested():
                session.add(Union(id=union_id, created_at=database.now(session)))
        except IntegrityError:  # somebody else made it just now
            session.expire_all()
        union = session.get_one(Union, union_id)
    return union


def union_of(session: Session, union_id: str) -> Union:
    """Return a union, or raise NotFoundError."""
    union = session.get(Union, union_id)
    if union is None:
        raise NotFoundError(f"there is no union {union_id!r}")
    return union


def union_account(session: Session, union_id: str, kind: AccountKind) -> Account:
    """Return the account `levy` or `commons` of a union itself, opened where there was none.

    Call it before accounts are locked: who opens one waits for whoever else does so now.
    """
    if kind not in OF_A_UNION:
        raise ValueError(f"a union has no account of the kind {kind}")
    query = select(Account).filter_by(union_id=union_id, kind=kind)
    account = session.scalar(query)
    if account is None:
        union_of(session, union_id)
        try:
            with session.begin_nested():
                session.add(_new_account(union_id, None, kind, kind.value))
        except IntegrityError:  # somebody else opened it just now
            session.expire_all()
        account = session.scalars(query).one()
    return account


def open_account(
    session: Session,
    group_id: str,
    union_id: str = DEFAULT_UNION,
    credit_limit: int | None = None,
    surplus_limit: int | None = None,
) -> Account:
    """Open the accounts of a group in a union (its own and its residue's) and return its own.

    Limits are in smallest clearing units; None means no limit. Opening again changes nothing;
    raises ConflictError for one that was closed, which is for good.
    """
    if group_id in OF_A_UNION:
        raise ConflictError(f"{group_id!r} is the name of an account of the union itself")
    make_union(session, union_id)
    existing = find_account(session, group_id, union_id)
    if existing is not None and existing.state is AccountState.CLOSED:
        raise ConflictError(
            f"the account of {group_id!r} in union {union_id!r} was closed for good"
        )
    if existing is not None:
        return existing
    account = _new_account(union_id, group_id, AccountKind.GROUP, group_id)
    residue = _new_account(union_id, group_id, AccountKind.RESIDUE, f"residue/{group_id}")
    try:
        with session.begin_nested():
            session.add_all([account, residue])
    except IntegrityError:
        session.expire_all()
        existing = find_account(session, group_id, union_id)
        if existing is None:
            raise
        return existing  # somebody else opened it just now
    return set_limits(session, group_id, credit_limit, surplus_limit, union_id)


def _new_account(union_id: str, group_id: str | None, kind: AccountKind, name: str) -> Account:
    return Account(
        union_id=union_id,
        group_id=group_id,
        kind=kind,
        state=AccountState.OPEN,
        name=name,
        balance=0,
        pending_out=0,
        pending_in=0,
        version=0,
        head=chain.first_hash(union_id, name),
    )
