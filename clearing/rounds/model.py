"""Rounds in the database: what was seen, proposed, opted out of, kept back and committed."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from clearing import chain
from commons import database
from commons.database import Base, enum_column


class RoundState(StrEnum):
    """Where a round stands."""

    PROPOSED = "proposed"
    COMMITTED = "committed"
    ABANDONED = "abandoned"


TRANSITIONS: Final[dict[RoundState, frozenset[RoundState]]] = {
    RoundState.PROPOSED: frozenset({RoundState.COMMITTED, RoundState.ABANDONED}),
}


class Round(Base):
    """One netting run; amounts in smallest clearing units.

    `obligations_total` is the sum of what groups owed each other at the snapshot, the payments
    that the round releases counted; `net_internal_debt` what no netting can remove of that.
    `cleared` is the sum of the round's set-offs and `drawn` of what is owed anew over spare credit
    lines (`credit_lines` says whether these were used): as proposed, and once it is committed as
    it came to be, which is less where it had to be solved again (`amended`).

    `waiting`, `released` and `released_value` tell how many queued payments there were to choose
    from, how many are released and what they come to; `released_bound` is what the linear
    relaxation says they could come to at most, and `released_exact` whether no better choice
    exists for certain.

    Until `commit_at` groups may opt out; then it is committed. `proposed_by` is who did, as the
    audit log names them, or `schedule`. `key` salts the leaves of its `certificate`, the public
    one as it was signed when the round was committed; `certificate_hash` chains it. Rounds of
    before there were certificates have neither.
    """

    __tablename__ = "rounds"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    union_id: Mapped[str] = mapped_column(ForeignKey("unions.id"), index=True)
    state: Mapped[RoundState] = mapped_column(enum_column(RoundState))
    obligations_total: Mapped[int]
    net_internal_debt: Mapped[int]
    cleared: Mapped[int]
    drawn: Mapped[int] = mapped_column(default=0)
    credit_lines: Mapped[bool] = mapped_column(default=False)
    amended: Mapped[bool] = mapped_column(default=False)
    waiting: Mapped[int] = mapped_column(default=0)
    released: Mapped[int] = mapped_column(default=0)
    released_value: Mapped[int] = mapped_column(default=0)
    released_bound: Mapped[int] = mapped_column(default=0)
    released_exact: Mapped[bool] = mapped_column(default=True)
    proposed_by: Mapped[str] = mapped_column(String(60))
    proposed_at: Mapped[datetime]
    commit_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    key: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    certificate: Mapped[dict[str, Any] | None]
    certificate_hash: Mapped[str | None] = mapped_column(String(chain.DIGEST_HEX_LENGTH))

    __table_args__ = (
        CheckConstraint(
            "cleared >= 0 AND cleared <= obligations_total - net_internal_debt + drawn",
            name="cleared_in_bounds",
        ),
        CheckConstraint("drawn >= 0 AND (credit_lines OR drawn = 0)", name="drawn_where_allowed"),
        CheckConstraint("released >= 0 AND released <= waiting", name="released_in_bounds"),
        CheckConstraint("(state = 'proposed') = (ended_at IS NULL)", name="ended_unless_proposed"),
        CheckConstraint(
            "(certificate IS NULL) = (certificate_hash IS NULL)", name="certificate_is_chained"
        ),
        Index(
            "uq_rounds_one_proposed",
            "union_id",
            unique=True,
            sqlite_where=text("state = 'proposed'"),
            postgresql_where=text("state = 'proposed'"),
        ),
    )


class _Row:
    """What a round does to one obligation; amounts in smallest clearing units.

    `obligation` is what the debtor owes the creditor once the payments that the round releases are
    posted, `released` how much of that is due to them (negative where they lessen it). Of it `cap`
    may be set off at most, and `least` must be, so that pair limits hold; `amount` is set off.
    `drawn` is what the debtor comes to owe anew over a spare credit line, `line` how much it could.

    There are as many as there are obligations, so the database does not look up for each what it
    names; the audit does.
    """

    round_id: Mapped[UUID] = mapped_column(primary_key=True)
    debtor_id: Mapped[int] = mapped_column(primary_key=True)
    creditor_id: Mapped[int] = mapped_column(primary_key=True)
    obligation: Mapped[int]
    released: Mapped[int] = mapped_column(default=0)
    least: Mapped[int] = mapped_column(default=0)
    cap: Mapped[int]
    amount: Mapped[int]
    line: Mapped[int] = mapped_column(default=0)
    drawn: Mapped[int] = mapped_column(default=0)

    __table_args__ = (
        CheckConstraint(
            "least >= 0 AND least <= amount AND amount <= cap AND cap <= obligation",
            name="amount_in_bounds",
        ),
        CheckConstraint("drawn >= 0 AND drawn <= line", name="drawn_in_bounds"),
        database.KEPT_BY_KEY,
    )


class SetOff(_Row, Base):
    """A row of a round as it was proposed."""

    __tablename__ = "set_offs"


class Amendment(_Row, Base):
    """A row of a round that was solved again before it was committed; nothing is more than it was.

    Such a round has one of these for each of its set-offs as proposed, and `amended` is true.
    """

    __tablename__ = "amendments"


class RoundPrice(Base):
    """The price of an account in a committed round, from which its optimum can be proven."""

    __tablename__ = "round_prices"

    round_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int]

    __table_args__ = (database.KEPT_BY_KEY,)


class Candidate(Base):
    """A queued payment that a round could have released, and whether it proposed to.

    `place` counts from the one that has waited longest; `first` is one that was passed over so
    often that it came first. Released it was where its journal is `about` the round.
    """

    __tablename__ = "candidates"

    round_id: Mapped[UUID] = mapped_column(ForeignKey("rounds.id"), primary_key=True)
    transfer_id: Mapped[UUID] = mapped_column(primary_key=True, index=True)
    place: Mapped[int]
    first: Mapped[bool]
    proposed: Mapped[bool]


class OptOut(Base):
    """A group's word, while a round was proposed, that nothing of its own is to be set off."""

    __tablename__ = "opt_outs"

    round_id: Mapped[UUID] = mapped_column(ForeignKey("rounds.id"), primary_key=True)
    group_id: Mapped[str] = mapped_column(ForeignKey("groups.id"), primary_key=True)
    opted_out_at: Mapped[datetime]


for _model in (SetOff, Amendment, RoundPrice, Candidate, OptOut):
    database.append_only(_model)


class KeptBack(Base):
    """How much of what lies between an account and a counterparty the account keeps out of rounds.

    In smallest clearing units; all of it where empty. Of what both keep back the larger counts.
    """

    __tablename__ = "kept_back"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    counterparty_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    amount: Mapped[int | None]

    __table_args__ = (CheckConstraint("amount > 0", name="amount_positive"),)
