"""A round that was right is proven by its certificates, whole by all slices, to each by its own."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from random import Random

import orjson
import pytest
from certificate_world import (
    ROUND,
    SALTED_BY,
    World,
    owes,
    solved,
    triangle,
    verified,
    worlds,
)
from hypothesis import given
from hypothesis import strategies as st
from statement_world import Json, leaves

from clearing import chain, merkle
from clearing.certificates import Price, Row
from clearing.certificates.leaves import amount, salting_by
from commons.errors import LocalPayError


@given(worlds())
def test_every_slice_verifies_and_all_together_prove_the_whole(world: World) -> None:
    slices = world.slices()
    for group, one in slices.items():
        assert verified(one).problems == [], group
    together = verified(*slices.values())
    assert together.problems == []
    assert any("proven whole" in said for said in together.checked)
    everything = verified(world.full(), *slices.values(), world.public())
    assert everything.problems == []


@given(worlds(), st.data())
def test_not_all_slices_do_not_prove_the_whole(world: World, data: st.DataObject) -> None:
    slices = world.slices()
    some = data.draw(st.lists(st.sampled_from(sorted(slices)), unique=True, min_size=1))
    seen = {leaf[:2] for group in some for leaf in world.seen_by(group)}
    report = verified(*(slices[group] for group in some))
    assert report.problems == []
    proven = any("proven whole" in said for said in report.checked)
    assert proven == (len(seen) == len(world.rows) + len(world.prices))


@given(worlds(), st.data())
def test_a_wrong_amount_is_found_by_the_slice_of_one_of_both_sides(
    world: World, data: st.DataObject
) -> None:
    """The service may sign whatever it likes: more or less set off, or a cap that was not kept."""
    number = data.draw(st.integers(0, len(world.rows) - 1))
    row = world.rows[number]
    fields = data.draw(
        st.one_of(
            st.integers(0, 60).map(lambda off: {"amount": off}),
            st.integers(0, 30).map(lambda off: {"drawn": off}),
            st.integers(1, 9).map(lambda off: {"amount": row.amount + off, "cap": row.cap + off}),
        )
    )
    wrong = world.with_row(number, **fields)
    if wrong.rows[number].net == row.net:
        return
    slices = wrong.slices(wrong.lied())
    sides = [verified(slices[name]).problems for name in row[:2]]
    assert any(sides)
    assert verified(wrong.full(wrong.lied())).problems
    assert verified(*slices.values()).problems


@given(worlds())
def test_a_circulation_that_is_not_the_best_is_found(world: World) -> None:
    """It conserves and keeps all caps, and still somebody's price is broken."""
    lazy = replace(
        world, rows=[row._replace(amount=row.least, drawn=0, least=0) for row in world.rows]
    )
    nothing = replace(lazy, rows=[row._replace(amount=0) for row in lazy.rows])
    best = sum(row.net for row in solved(nothing.rows).rows)
    found = [verified(one).problems for one in nothing.slices(nothing.lied()).values()]
    assert any(found) or best == 0
    if best:
        told = [problem for problems in found for problem in problems]
        assert all(": row " in problem and "by the prices" in problem for problem in told)


def test_prices_that_prove_nothing_are_not_certified() -> None:
    world = triangle()
    for wrong in (
        replace(
            world,
            prices=[Price(one.account, 5 * number) for number, one in enumerate(world.prices)],
        ),
        world.with_row(0, amount=0),
    ):
        with pytest.raises(LocalPayError, match="do not prove"):
            wrong.public()


def test_the_hours_of_the_page_are_proven_by_their_prices() -> None:
    world = triangle()
    public = world.public()
    assert [public[name] for name in ("obligations_total", "cleared", "bound")] == [
        "273.0007",
        "210.0000",
        "210.0000",
    ]
    assert verified(*world.slices().values()).problems == []


@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_rows_tells_nothing(world: World, chance: Random) -> None:
    rows, prices = list(world.rows), list(world.prices)
    chance.shuffle(rows)
    chance.shuffle(prices)
    other = replace(world, rows=rows, prices=prices)
    told, again = world.slices(), other.slices()
    for group, one in told.items():
        assert {leaf["index"] for leaf in one["rows"]} == {
            leaf["index"] for leaf in again[group]["rows"]
        }
        assert one["public"]["root"] == again[group]["public"]["root"]


def others() -> World:
    """A round in which uster and varna trade, and none of the other four with uster."""
    names = [f"group-{letter}" for letter in "wxyz"]
    ring = [owes(one, two, 40) for one, two in zip(names, [*names[1:], names[0]], strict=True)]
    own = [owes("uster", "varna", 30), owes("varna", "group-w", 30), owes("group-w", "uster", 25)]
    return solved([*own, *ring])


def strings(document: Json) -> Iterator[str]:
    """All names and texts in a document, at any depth."""
    for way in leaves(document):
        yield from (step for step in way if isinstance(step, str))
        value: object = document
        for step in way:
            value = value[step]  # type: ignore[index]
        yield str(value)


def test_a_slice_names_nobody_but_its_group_and_its_partners() -> None:
    world = others()
    for group, one in world.slices().items():
        own = world.seen_by(group)
        partners = {leaf.account for leaf in own if isinstance(leaf, Price)}
        told = list(strings(one))
        for name in {price.account for price in world.prices} - partners:
            assert not any(name in text for text in told), (group, name)


def test_nobody_finds_a_row_of_others_by_trying() -> None:
    """Who knows all names, amounts, prices and its own salts still can tell no leaf by its hash."""
    world = others()
    own = world.slices()["uster"]
    beside = {bytes.fromhex(node) for leaf in own["rows"] + own["prices"] for node in leaf["path"]}
    salts = {leaf["salt"] for leaf in own["rows"] + own["prices"]}
    salts |= {"", "00" * 32, own["public"]["root"], ROUND}
    seen = set(world.seen_by("uster"))
    names = [price.account for price in world.prices]
    tried = 0
    unseen: set[Row | Price] = {*world.rows, *world.prices}
    for leaf in unseen - seen:  # the best guess there is: the leaf itself
        told = leaf.leaf(ROUND, salting_by(b"guessed"))
        for salt in salts:
            unsalted = {name: value for name, value in told.items() if name != "salt"}
            for guess in ({**told, "salt": salt}, unsalted):
                assert merkle.leaf_hash(chain.canonical(guess)) not in beside
                tried += 1
    for debtor, creditor, minor in product(names, names, range(0, 41, 5)):
        guess = owes(debtor, creditor, minor).leaf(ROUND, salting_by(b""))
        assert merkle.leaf_hash(chain.canonical(guess)) not in beside
    assert tried
    # The hashes that were tried against are those of leaves: who has the key finds them.
    truly = [leaf.leaf(ROUND, salting_by(SALTED_BY)) for leaf in world.rows]
    assert any(merkle.leaf_hash(chain.canonical(leaf)) in beside for leaf in truly)


def test_what_others_did_changes_hashes_and_places_alone() -> None:
    """Two rounds that are the same to a group look the same to it, but for the public totals."""
    one = others()
    rows = [
        row if "uster" in row or "varna" in row else row._replace(obligation=90, cap=row.amount)
        for row in one.rows
    ]
    other = replace(one, rows=rows)
    told, again = one.slices()["uster"], other.slices(other.lied())["uster"]
    for document in (told, again):
        for leaf in document["rows"] + document["prices"]:
            del leaf["index"], leaf["path"]
    assert told["rows"] == again["rows"]
    assert told["prices"] == again["prices"]


def test_places_are_as_good_as_drawn_by_lot() -> None:
    """Another key, other places: neither names nor amounts decide where a leaf stands."""
    world = others()
    places = set()
    for number in range(40):
        other = replace(world, key=bytes([number]) * 32)
        places.add(tuple(leaf["index"] for leaf in other.slices()["uster"]["rows"]))
    assert len(places) > 30


@given(st.lists(st.binary(max_size=3), max_size=40))
def test_a_tree_gives_the_paths_that_the_standard_defines(told: list[bytes]) -> None:
    tree = merkle.Tree(sorted(merkle.leaf_hash(leaf) for leaf in told))
    hashes = sorted(merkle.leaf_hash(leaf) for leaf in told)
    assert (tree.size, tree.root) == (len(told), by_definition(hashes))
    for hashed in hashes:
        place = tree.place(hashed)
        assert place is not None
        assert hashes[place] == hashed
    assert tree.place(b"\1" * 32) is None


def by_definition(hashes: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word by word, over leaves that are hashed already."""
    if not hashes:
        return merkle.root([])
    if len(hashes) == 1:
        return hashes[0]
    left = 1
    while left * 2 < len(hashes):
        left *= 2
    both = by_definition(hashes[:left]) + by_definition(hashes[left:])
    return hashlib.sha256(b"\1" + both).digest()


def test_a_long_way_of_a_certificate_is_short() -> None:
    """The public document of a round of many is as large as that of a few."""
    ring = [f"group-{number}" for number in range(500)]
    rows = [owes(one, two, 10**9) for one, two in zip(ring, [*ring[1:], ring[0]], strict=True)]
    world = solved(rows)
    assert len(orjson.dumps(world.public())) < 2_000
    one = world.slices()["group-7"]
    assert max(len(leaf["path"]) for leaf in one["rows"]) == 10
    assert verified(one).problems == []
    assert amount(500 * 10**9) == one["public"]["cleared"]
