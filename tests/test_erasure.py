"""Names are erased to the last copy, and every chain and every older statement still verifies."""

import base64
import hashlib
import uuid
from dataclasses import dataclass, field

import pytest
from clearing_world import account, assert_sound, balances, call, limit, open_world, transfer
from sqlalchemy import Engine, select
from statement_world import Json, read, sealed, verified

from api.tables import metadata
from clearing import chain, erasure
from clearing.calls import Create, Move, Reverse, Verb
from clearing.transfers import TransferState, Unit
from commons import audit_log
from commons.database import reading, transaction
from commons.errors import ConflictError, InvalidError, NotFoundError

# Words that stand nowhere else: both members, what for, and why it was rejected.
PAYER, PAYEE, WHAT_FOR, WHY = "quibbletorp", "zumblefritz", "yarrowmint", "vintlehollow"
WORDS = (PAYER, PAYEE, WHAT_FOR, WHY)


@dataclass
class Planted:
    """Transfers of every kind that name the two members, from barcelona to leeds."""

    engine: Engine
    posted: uuid.UUID = field(default_factory=uuid.uuid4)
    reversal: uuid.UUID = field(default_factory=uuid.uuid4)
    rejected: uuid.UUID = field(default_factory=uuid.uuid4)
    refused: uuid.UUID = field(default_factory=uuid.uuid4)
    pending: uuid.UUID = field(default_factory=uuid.uuid4)

    def make(self) -> None:
        open_world(self.engine)
        limit(self.engine, "barcelona", credit="100")
        self.push(self.posted, "5")
        self.move(self.posted, Verb.ACCEPT)
        back = Reverse(self.reversal, "leeds", self.posted, amount="2.00", reason=WHAT_FOR)
        assert call(self.engine, back).error is None
        outcome = call(self.engine, Move(self.reversal, "barcelona", Verb.ACCEPT))
        assert outcome.error is None
        self.push(self.rejected, "6")
        self.move(self.rejected, Verb.REJECT)
        self.push(self.refused, "5000")

    def push(self, transfer_id: uuid.UUID, amount: str) -> None:
        call(self.engine, self.create(transfer_id, amount))

    def create(self, transfer_id: uuid.UUID, amount: str) -> Create:
        return Create(
            id=transfer_id,
            caller="barcelona",
            payer=f"barcelona/{PAYER}",
            payee=f"leeds/{PAYEE}",
            amount=amount,
            unit=Unit.CLEARING,
            description=f"for {WHAT_FOR}",
        )

    def move(self, transfer_id: uuid.UUID, verb: Verb) -> None:
        reason = WHY if verb is Verb.REJECT else None
        outcome = call(self.engine, Move(transfer_id, "leeds", verb, reason))
        assert outcome.error is None

    def statements(self) -> list[Json]:
        return [sealed(read(self.engine, group_id)) for group_id in ("barcelona", "leeds")]


@pytest.fixture
def planted(engine: Engine) -> Planted:
    planted = Planted(engine)
    planted.make()
    return planted


def forms(word: str) -> set[str]:
    """A word as it could be kept: plain, encoded, or as a digest that can be tried."""
    raw = word.encode()
    digests = [raw, *(f"{name}\0{word}".encode() for name in ("payer_member", "payee_member"))]
    return {
        word,
        raw.hex(),
        base64.b64encode(raw).decode().rstrip("=").lower(),
        *(hashlib.sha256(one).hexdigest() for one in digests),
    }


def words_left(engine: Engine) -> set[tuple[str, str]]:
    """Where one of the words stands in the database in any form, whatever the table."""
    found = set()
    with reading(engine) as session:
        for table in metadata.sorted_tables:
            for row in session.execute(select(table)):
                told = " ".join(
                    f"{value.hex()} {value!r}" if isinstance(value, bytes) else str(value)
                    for value in row
                ).lower()
                found |= {(table.name, w) for w in WORDS if any(f in told for f in forms(w))}
    return found


def erase_member(engine: Engine, who: str) -> tuple[int, int]:
    with transaction(engine) as session:
        return erasure.erase_member(session, who)


def erase_in(engine: Engine, transfer_id: uuid.UUID, group_id: str | None = None) -> None:
    with transaction(engine) as session:
        erasure.erase_in_transfer(session, transfer_id, group_id)


def test_nothing_is_left_of_both_members_and_all_still_verifies(planted: Planted) -> None:
    engine = planted.engine
    assert words_left(engine) == {("transfers", word) for word in WORDS}
    before, held = planted.statements(), balances(engine)
    assert verified(*before).problems == []
    assert erase_member(engine, f"barcelona/{PAYER}") == (4, 0)
    assert words_left(engine) == {("transfers", PAYEE)}
    assert_sound(engine)  # one side's erasure is lawful
    assert erase_member(engine, f"leeds/{PAYEE}") == (4, 0)
    assert words_left(engine) == set()
    assert balances(engine) == held
    assert_sound(engine)
    after = planted.statements()
    assert verified(*after).problems == []
    assert verified(*before).problems == []  # with the key and the names that are in them
    assert verified(before[0], after[1]).problems == []
    assert [line["hash"] for line in after[0]["lines"]] == [
        line["hash"] for line in before[0]["lines"]
    ]
    with reading(engine) as session:
        assert list(audit_log.broken(session)) == []
        last = audit_log.newest(session)
    assert last is not None
    assert (last.action, last.subject, last.data["transfers"]) == ("names-erased", "leeds", "4")


def test_no_key_is_left_with_which_names_could_be_tried(planted: Planted) -> None:
    before = transfer(planted.engine, planted.posted)
    assert before is not None
    assert before.key is not None
    erase_in(planted.engine, planted.posted, "barcelona")
    after = transfer(planted.engine, planted.posted)
    assert after is not None
    assert after.key is None
    assert after.kept_digests == {
        "payer_member": chain.keyed_digest(before.key, "payer_member", PAYER),
        "payee_member": chain.keyed_digest(before.key, "payee_member", PAYEE),
        "description": chain.keyed_digest(before.key, "description", f"for {WHAT_FOR}"),
    }
    with reading(planted.engine) as session:
        for table in metadata.sorted_tables:
            for row in session.execute(select(table)):
                assert before.key not in list(row)


def test_a_hub_erases_its_own_member_and_the_texts_alone(planted: Planted) -> None:
    engine = planted.engine
    erase_in(engine, planted.posted, "barcelona")
    for transfer_id in (planted.posted, planted.reversal):
        found = transfer(engine, transfer_id)
        assert found is not None
        assert (found.payer_member, found.payee_member, found.description) == (None, PAYEE, None)
    other = transfer(engine, planted.rejected)
    assert other is not None
    assert (other.payer_member, other.reason) == (PAYER, WHY)
    assert_sound(engine)
    report = verified(*planted.statements())
    assert report.problems == []
    assert any("come without a key" in said for said in report.checked)
    erase_in(engine, planted.posted, "leeds")
    found = transfer(engine, planted.posted)
    assert found is not None
    assert found.payee_member is None
    assert_sound(engine)


def test_erasing_twice_changes_nothing(planted: Planted) -> None:
    erase_in(planted.engine, planted.posted)
    before = planted.statements()
    erase_in(planted.engine, planted.posted)
    assert [one["lines"] for one in planted.statements()] == [one["lines"] for one in before]
    assert erase_member(planted.engine, f"barcelona/{PAYER}") == (2, 0)
    assert erase_member(planted.engine, f"barcelona/{PAYER}") == (0, 0)


def test_what_is_open_keeps_its_names_until_it_has_ended(planted: Planted) -> None:
    engine = planted.engine
    planted.push(planted.pending, "3")
    with pytest.raises(ConflictError):
        erase_in(engine, planted.pending, "barcelona")
    assert erase_member(engine, f"barcelona/{PAYER}") == (4, 1)
    found = transfer(engine, planted.pending)
    assert found is not None
    assert (found.payer_member, found.state) == (PAYER, TransferState.PENDING)
    back = uuid.uuid4()
    assert call(engine, Reverse(back, "leeds", planted.posted, amount="1.00")).error is None
    with pytest.raises(ConflictError):
        erase_in(engine, planted.posted, "leeds")
    found = transfer(engine, planted.posted)
    assert found is not None
    assert found.payee_member == PAYEE


def test_a_reversal_after_the_erasure_names_nobody_again(planted: Planted) -> None:
    engine = planted.engine
    erase_in(engine, planted.posted)
    back = uuid.uuid4()
    assert call(engine, Reverse(back, "leeds", planted.posted, amount="1.00")).error is None
    assert call(engine, Move(back, "barcelona", Verb.ACCEPT)).error is None
    found = transfer(engine, back)
    assert found is not None
    assert (found.payer_member or "", found.payee_member or "") == ("", "")
    assert verified(*planted.statements()).problems == []
    assert_sound(engine)


def test_the_hub_may_say_its_call_again_after_the_erasure(planted: Planted) -> None:
    """What is left is compared; nothing is posted again, and no name comes back."""
    engine = planted.engine
    erase_in(engine, planted.posted)
    version = account(engine, "barcelona").version
    outcome = call(engine, planted.create(planted.posted, "5"))
    assert outcome.error is None
    assert not outcome.created
    assert isinstance(call(engine, planted.create(planted.posted, "7")).error, ConflictError)
    assert account(engine, "barcelona").version == version
    found = transfer(engine, planted.posted)
    assert found is not None
    assert found.payer_member is None


def test_another_hub_knows_of_no_such_transfer(planted: Planted) -> None:
    for transfer_id in (planted.posted, uuid.uuid4()):
        with pytest.raises(NotFoundError):
            erase_in(planted.engine, transfer_id, "ghent")
    found = transfer(planted.engine, planted.posted)
    assert found is not None
    assert (found.payer_member, found.payee_member) == (PAYER, PAYEE)


@pytest.mark.parametrize("who", ["", "barcelona", "barcelona/", "/ines"])
def test_a_member_is_written_with_its_group(sqlite_engine: Engine, who: str) -> None:
    with pytest.raises(InvalidError), transaction(sqlite_engine) as session:
        erasure.erase_member(session, who)
