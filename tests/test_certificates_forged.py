"""Certificates that were changed, mixed up or made by another are told, by row or by field."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from certificate_world import HEADER, World, triangle, verified
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from statement_world import KEY, SEAL, Json, changed, leaves

from clearing import certificates
from clearing.certificates import Price, Row
from clearing.sealing import Seal
from commons.errors import MalformedError

OTHER_ROUND = "00000000-0000-4000-8000-000000000002"


def told_of(text: bytes) -> list[str]:
    """What is said of a file that ought not to verify."""
    try:
        file = certificates.read("it.json", text)
    except MalformedError as error:
        return [error.detail]
    later = datetime.now(UTC) + timedelta(seconds=1)
    return certificates.verify([file], KEY.public_key(), later).problems


def flips(text: bytes, every: int) -> Iterator[bytes]:
    """The text with one bit flipped: at every so many bits, so that each byte has its turn."""
    for bit in range(0, 8 * len(text), every):
        yield text[: bit // 8] + bytes([text[bit // 8] ^ 1 << bit % 8]) + text[bit // 8 + 1 :]


@pytest.mark.parametrize("form", ["public", "slice", "full"])
def test_one_bit_flipped_anywhere_is_found(form: str) -> None:
    world = triangle()
    documents = {"public": world.public(), "slice": world.slices()["aachen"], "full": world.full()}
    text = orjson.dumps(documents[form])
    assert told_of(text) == []
    every = 1 if form == "public" else 5
    unseen = [wrong for wrong in flips(text, every) if not told_of(wrong)]
    assert unseen == []


def test_any_change_of_a_row_or_a_price_of_a_slice_names_it() -> None:
    document = triangle().slices()["bern"]
    for way in leaves(document):
        if way[0] not in {"rows", "prices"}:
            continue
        wrong = changed(document, way)
        said = " ".join(told_of(orjson.dumps(wrong)))
        leaf = wrong[way[0]][way[1]]
        names = [leaf.get("account"), leaf.get("debtor"), leaf.get("creditor")]
        assert any(name in said for name in names if name), (way, said)


def test_a_field_of_the_public_document_is_named_when_it_is_changed() -> None:
    public = triangle().public()
    for name in ("hash", "cleared", "bound", "previous", "root", "number", "queue"):
        way = (name, "released") if name == "queue" else (name,)
        said = " ".join(told_of(orjson.dumps(changed(public, way))))
        assert "hash: is not that of what it says" in said, name


def test_fields_too_many_and_too_few_are_malformed() -> None:
    world = triangle()
    for document in (world.public(), world.full(), world.slices()["cork"]):
        ways = {way[:depth] for way in leaves(document) for depth in range(len(way))}
        for way in ways:
            holder: object = document
            for step in way:
                holder = holder[step]  # type: ignore[index]
            if not isinstance(holder, dict) or "proof" in way:
                continue
            for name in {*holder, "more"} - {"proof"}:
                wrong = copy.deepcopy(document)
                inner = wrong
                for step in way:
                    inner = inner[step]  # type: ignore[index]
                if name == "more":
                    inner[name] = "1"
                else:
                    del inner[name]
                with pytest.raises(MalformedError):
                    certificates.read("it.json", orjson.dumps(wrong))


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{}",
        b'{"form": "slice"}',
        b'{"form": ["slice"]}',
        b'{"form": {}, "rows": 5}',
        b"no json",
        b'{"form":"full","rows":[5],"prices":[],"public":{}}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_certificate_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedError, match=r"it\.json: "):
        certificates.read("it.json", text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", "80"),
        ("amount", "80.000"),
        ("amount", "080.0000"),
        ("amount", "1e4"),
        ("amount", "-1.0000"),
        ("amount", "\u0668.0000"),
        ("amount", 80),
        ("cap", "9999999999999999.0000"),
        ("salt", "A" * 64),
        ("debtor", "aachen\n"),
        ("debtor", None),
        ("index", -1),
        ("index", True),
        ("path", ["00"]),
        ("path", ["00" * 32] * 65),
    ],
)
def test_a_row_that_is_written_otherwise_is_malformed_and_named(field: str, value: object) -> None:
    one = triangle().slices()["cork"]
    one["rows"][0][field] = value
    with pytest.raises(MalformedError, match=rf"it\.json: row .* owes .*: {field}"):
        certificates.read("it.json", orjson.dumps(one))


def test_a_public_document_by_another_key_is_found() -> None:
    world = triangle()
    forger = Seal(SEAL.service, SEAL.key_id, Ed25519PrivateKey.generate())
    unsigned = {name: value for name, value in world.public().items() if name != "proof"}
    forged = forger.put(unsigned, datetime.now(UTC))
    for document in (forged, world.full(forged), world.slices(forged)["bern"]):
        assert any("by another key" in problem for problem in verified(document).problems)
    assert any("no signature" in problem for problem in verified(unsigned).problems)
    without = verified(unsigned, key=False)
    assert without.problems == []
    assert "without --key it was not checked that the service signed this" in without.checked


def test_slices_with_the_public_document_of_another_round_are_found() -> None:
    world = triangle()
    other = replace(world, key=b"another" * 4, header=replace(HEADER, round=OTHER_ROUND, number=2))
    for document in world.slices().values():
        problems = verified({**document, "public": other.public()}).problems
        assert any("does not stand in the tree" in problem for problem in problems)
    swapped = {**world.full(), "public": other.public()}
    assert any("root: " in problem for problem in verified(swapped).problems)


def test_a_row_of_another_round_in_a_slice_is_found() -> None:
    world = triangle()
    after = replace(HEADER, round=OTHER_ROUND, number=2, previous=world.public()["hash"])
    other = replace(world, key=b"another" * 4, header=after)
    mixed = world.slices()["aachen"]
    mixed["rows"][1] = other.slices()["aachen"]["rows"][1]
    [problem] = verified(mixed).problems
    assert "row cork owes aachen: does not stand in the tree" in problem
    apart = verified(*world.slices().values(), *other.slices().values())  # two whole rounds
    assert len([said for said in apart.checked if "proven whole" in said]) == 2


def test_two_certificates_of_one_round_are_found() -> None:
    """Two hubs that were shown two versions of a round see it once they compare."""
    world = triangle()
    kinder = world.with_row(0, obligation=810_000)
    ours, theirs = world.slices()["aachen"], kinder.slices(kinder.lied())["bern"]
    problems = verified(ours, theirs).problems
    assert any("another certificate than in 0.json" in problem for problem in problems)


def _without(document: Json, kind: str, number: int) -> Json:
    found = copy.deepcopy(document)
    del found[kind][number]
    return found


def _twice(document: Json, kind: str, number: int) -> Json:
    found = copy.deepcopy(document)
    found[kind].append(found[kind][number])
    return found


@pytest.mark.parametrize("form", ["slice", "full"])
@pytest.mark.parametrize("change", [_without, _twice])
@pytest.mark.parametrize("kind", ["rows", "prices"])
def test_missing_and_repeated_rows_and_prices_are_found(
    form: str, change: Callable[[Json, str, int], Json], kind: str
) -> None:
    world = triangle()
    document = world.slices()["bern"] if form == "slice" else world.full()
    for number in range(len(document[kind])):
        problems = verified(change(document, kind, number)).problems
        assert problems
        assert any(": row " in said or ": price of " in said or "root" in said for said in problems)


def test_a_row_that_is_kept_from_one_side_is_found_beside_the_other_side() -> None:
    """Nothing is set off of it, so the slice conserves without it; its partner's slice has it."""
    world = triangle()
    slices = world.slices()
    cut = copy.deepcopy(slices["bern"])
    cut["rows"] = [row for row in cut["rows"] if row["creditor"] != "davos"]
    cut["prices"] = [price for price in cut["prices"] if price["account"] != "davos"]
    alone = verified(cut)
    assert alone.problems == []
    assert any("cannot be shown by this: compare with your own" in said for said in alone.checked)
    problems = verified(cut, slices["davos"]).problems
    assert any("row bern owes davos: is in the slice of davos" in said for said in problems)
    whole = verified(*slices.values())
    assert not any("compare with your own" in said for said in whole.checked)


def test_a_slice_without_any_row_is_no_slice() -> None:
    empty = triangle().slices()["davos"] | {"rows": [], "prices": []}
    [problem] = verified(empty).problems
    assert (
        problem == "0.json: rows: there are none, and the service gives davos no slice without any"
    )


def test_an_integer_of_any_length_is_refused_in_our_own_words() -> None:
    text = orjson.dumps(triangle().public())
    for digits in (20, 5_000):
        wrong = text.replace(b'"number":1,', b'"number":' + b"9" * digits + b",")
        with pytest.raises(MalformedError, match=r"it\.json: .*an integer has more than 64 bits$"):
            certificates.read("it.json", wrong)


def test_a_row_of_others_in_a_slice_is_found() -> None:
    world = triangle()
    slices = world.slices()
    nosy = copy.deepcopy(slices["davos"])
    nosy["rows"] += [row for row in slices["aachen"]["rows"] if row["debtor"] == "aachen"]
    nosy["prices"] = slices["bern"]["prices"]
    nosy["prices"] = [
        price for price in nosy["prices"] if price["account"] in {"aachen", "bern", "davos"}
    ]
    problems = verified(nosy).problems
    assert "0.json: row aachen owes bern: is no business of davos" in problems


def test_a_price_told_in_two_ways_is_found_where_slices_meet() -> None:
    """Two leaves for one account: each slice is sound by itself, together they are not."""
    world = triangle()
    [price] = [one.price for one in world.prices if one.account == "aachen"]
    liar = replace(world, prices=[*world.prices, Price("aachen", price - 1)])
    slices = liar.slices(liar.lied())
    for group, one in slices.items():
        other = str(price if group == "cork" else price - 1)
        one["prices"] = [
            leaf for leaf in one["prices"] if (leaf["account"], leaf["price"]) != ("aachen", other)
        ]
        assert verified(one).problems == [], group
    problems = verified(*slices.values()).problems
    assert any("price of aachen: is told twice" in problem for problem in problems)
    del slices["cork"]  # the others were shown the same
    report = verified(*slices.values())
    assert report.problems == []
    assert not any("proven whole" in said for said in report.checked)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Row("bern", "bern", 5, 0, 0, 5, 5, 0, 0), "nobody owes itself"),
        (Row("aachen", "bern", 5, 0, 0, 4, 5, 0, 0), "0.0005 of 0.0005 is set off"),
        (Row("aachen", "bern", 5, 0, 0, 6, 6, 0, 0), "0.0006 of 0.0005 is set off"),
        (Row("aachen", "bern", 5, 0, 0, 6, 5, 0, 0), "between 0.0000 and 0.0006 may be"),
        (Row("aachen", "bern", 5, 0, 4, 5, 3, 0, 0), "between 0.0004 and 0.0005 may be"),
        (Row("aachen", "bern", 5, 0, 0, 5, 0, 7, 8), "0.0008 is drawn over a line of 0.0007"),
        (Row("aachen", "bern", 5, 0, 0, 5, 2, 7, 1), "0.0001 is drawn while 0.0002 is set off"),
    ],
)
def test_a_row_that_breaks_its_own_bounds_is_told(row: Row, said: str) -> None:
    liar = World([row], [Price(name, 0) for name in sorted({*row[:2]})])
    for document in (liar.full(liar.lied()), *liar.slices(liar.lied()).values()):
        assert any(said in problem for problem in verified(document).problems)


def test_lines_where_none_may_be_used_and_debts_both_ways_are_told() -> None:
    rules = {"credit_lines": False, "amended": False}
    prices = [Price("aachen", 0), Price("bern", 1)]
    lent = World([Row("aachen", "bern", 5, 0, 0, 5, 0, 7, 0)], prices)
    assert verified(lent.full(lent.lied())).problems == []
    for document in (
        lent.full(lent.lied(rules=rules)),
        *lent.slices(lent.lied(rules=rules)).values(),
    ):
        assert any("were not to be used" in problem for problem in verified(document).problems)
    both = [Row("aachen", "bern", 5, 0, 0, 5, 5, 0, 0), Row("bern", "aachen", 5, 0, 0, 5, 5, 0, 0)]
    padded = World(both, [Price("aachen", 0), Price("bern", 0)])
    for document in (padded.full(padded.lied()), *padded.slices(padded.lied()).values()):
        problems = verified(document).problems
        assert any("and the other way round too" in problem for problem in problems)


def test_prices_that_do_not_fit_a_row_are_told_with_what_they_would_have() -> None:
    row = Row("aachen", "bern", 50, 0, 10, 40, 20, 0, 0)
    for price, said in (
        (5, "by the prices 0.0010 would be set off, and 0.0020 is"),
        (-5, "by the prices 0.0040 would be set off, and 0.0020 is"),
    ):
        liar = World([row], [Price("aachen", 0), Price("bern", price)])
        assert any(said in problem for problem in verified(liar.full(liar.lied())).problems)
    drawn = World(
        [Row("aachen", "bern", 0, 0, 0, 0, 0, 9, 2)], [Price("aachen", 0), Price("bern", 5)]
    )
    said = "would be set off and 0.0009 drawn, and 0.0000 is, 0.0002 drawn"
    assert any(said in problem for problem in verified(drawn.full(drawn.lied())).problems)


@pytest.mark.parametrize("name", ["obligations_total", "net_internal_debt", "rows", "accounts"])
def test_a_total_that_rows_do_not_make_is_told(name: str) -> None:
    world = triangle()
    told = world.public()[name]
    other = told + 1 if isinstance(told, int) else "30.0000" if told < "200" else "300.0000"
    lied = world.lied(**{name: other})
    assert any(f"{name}: is {other}" in said for said in verified(world.full(lied)).problems)
    together = verified(*world.slices(lied).values())
    assert together.problems or not any("proven whole" in said for said in together.checked)


def chained(*worlds: World) -> list[Json]:
    """Certificates of a union, each after the one before."""
    made: list[Json] = []
    for number, world in enumerate(worlds, 1):
        round_id = f"00000000-0000-4000-8000-{number:012}"
        header = replace(world.header, round=round_id, number=number)
        if made:
            header = replace(header, previous=made[-1]["hash"])
        made.append(replace(world, header=header).public())
    return made


def test_certificates_of_a_union_follow_each_other() -> None:
    first, second, third = chained(triangle(), triangle(), triangle())
    report = verified(third, first, second)
    assert report.problems == []
    assert "certificate 3 of main follows 2" in report.checked
    forged = triangle().lied(previous="00" * 32, number=2, round=OTHER_ROUND)
    problems = verified(first, forged).problems
    assert any(f"round {OTHER_ROUND}: previous: is not the hash" in said for said in problems)
    twin = triangle().lied(number=1, round=OTHER_ROUND)
    assert "union main: two certificates 1" in verified(first, twin).problems
    late = triangle().lied(number=7, round=OTHER_ROUND)
    assert any("previous: is not that of the first" in said for said in verified(late).problems)
    assert verified(first, third).problems == []  # what lies between is not here, and not said


def test_public_claims_that_cannot_be_are_found() -> None:
    queue = {
        "waiting": 1,
        "released": 2,
        "value": "2.0000",
        "bound": "1.0000",
        "exact": True,
    }
    lies = {
        "bound": "211.0000",
        "cleared": "270.0000",
        "net_internal_debt": "200.0000",
        "drawn": "1.0000",
        "queue": queue,
        "rules": {"credit_lines": False, "amended": False},
    }
    told = triangle().lied(**lies)
    said = " ".join(verified(told).problems)
    for field in ("bound: ", "cleared: ", "drawn: ", "queue.released: ", "queue.value: "):
        assert field in said
