"""The judged set is whole, its measures are right, and an index can be told good from bad."""

import csv
import json
import math
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain

import pytest

from bench.judging import FOLDER, GRADES, HALVES, TYPO, Question, entries, names, questions
from bench.relevance import (
    LEFT_OUT,
    READ,
    Asked,
    distractors,
    first_right,
    measure,
    ndcg,
    recall,
    typo_loss,
)
from bench.vocabulary import LANGUAGES, things
from marketplace.drafts import ListingType
from marketplace.embedded import EmbeddedIndex
from marketplace.gazetteer import fold
from marketplace.payment import PaymentMeans
from marketplace.words import within_edits

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FEWEST = {
    "typo": 30, "place-in-words": 15, "means": 20, "prefix": 8, "category": 6, "type": 8,
    "phrase": 5, "exclusion": 5, "accents": 8, "inflection": 20, "words": 20, "place": 15,
}  # fmt: skip


def rows() -> list[dict[str, str]]:
    with (FOLDER / "listings.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def asked(question: Question, name: str) -> list[str]:
    return [value for parameter, value in question.parameters if parameter == name]


def test_ndcg_is_what_is_reckoned_by_hand() -> None:
    grades = {"a": 3, "b": 2, "c": 1}
    best = 7 + 3 / math.log2(3) + 1 / 2
    assert ndcg(["a", "b", "c"], grades) == 1
    assert ndcg([], grades) == ndcg(["x", "y"], grades) == 0
    assert ndcg(["b", "a", "c"], grades) == pytest.approx((3 + 7 / math.log2(3) + 1 / 2) / best)
    assert ndcg(["x", "a"], grades) == pytest.approx(7 / math.log2(3) / best)
    assert ndcg(["a", "b", "c"], grades) > ndcg(["a", "x", "b", "c"], grades)


def test_ndcg_looks_at_ten_hits_and_at_no_more_in_the_best_order() -> None:
    grades = {str(number): 1 for number in range(12)}
    assert ndcg([str(number) for number in range(10)], grades) == 1
    assert ndcg(["x"] * 10 + ["1"], grades) == 0


def test_recall_counts_every_grade_within_twenty_hits() -> None:
    grades = {"a": 3, "b": 1}
    assert recall(["b", "x"], grades) == 0.5
    assert recall(["x"] * 19 + ["a", "b"], grades) == 0.5


def test_the_first_hit_is_right_only_with_the_best_grade_there_is() -> None:
    assert first_right(["b", "a"], {"a": 3, "b": 2}) == 0
    assert first_right(["b", "a"], {"b": 2}) == 1
    assert first_right([], {"a": 3}) == 0


def test_the_loss_by_typing_errors_is_that_of_the_twins() -> None:
    clean = Question("q", "words", (), {"a": 3})
    twin = Question("q~1", TYPO, (), {"a": 3}, clean="q")
    alone = Question("other", "words", (), {"a": 3})
    answers = {"q": ["a"], "q~1": ["x", "a"], "other": []}
    expected = 1 - 1 / math.log2(3)
    assert typo_loss([clean, twin, alone], answers) == pytest.approx(expected)


def test_the_set_is_large_enough_and_of_many_kinds() -> None:
    assert 350 <= len(rows()) <= 500
    assert len(questions()) >= 140
    kinds = Counter(question.kind for question in questions())
    assert {kind: count for kind, count in FEWEST.items() if kinds[kind] < count} == {}
    languages = Counter(row["language"] for row in rows())
    assert sum(count >= 30 for count in languages.values()) >= 8
    assert {"ca", "el", "ar", "ja"} <= languages.keys()


def test_each_kind_of_question_is_in_both_halves() -> None:
    halves = defaultdict(set)
    for question in questions():
        halves[question.kind].add(question.half)
    assert {kind for kind, found in halves.items() if found != set(HALVES)} == set()
    sizes = Counter(question.half for question in questions())
    assert min(sizes.values()) > 0.4 * len(questions())


def test_ids_are_unique_and_every_grade_is_of_a_listing_that_is_there() -> None:
    assert len({row["id"] for row in rows()}) == len(rows()) == len(names())
    assert len({question.id for question in questions()}) == len(questions())
    for question in questions():
        assert question.grades.keys() <= names().keys()
        assert GRADES["exact"] in question.grades.values(), question.id
        assert len(question.grades) <= READ, question.id


def test_every_listing_is_sought_or_lies_beside_what_is() -> None:
    sought = {listing for question in questions() for listing in question.grades}
    groups = {row["id"]: row["group"] for row in rows()}
    found = {groups[names()[listing]] for listing in sought}
    assert set(groups.values()) == found
    assert 0.2 < 1 - len(sought) / len(rows()) < 0.6


def test_a_misspelt_twin_is_its_clean_question_but_for_a_few_letters() -> None:
    clean = {question.id: question for question in questions() if question.clean is None}
    for twin in questions():
        if twin.clean is None:
            continue
        assert twin.kind == TYPO
        original = clean[twin.clean]
        assert twin.half == original.half
        assert twin.grades == original.grades
        ((typed,), (meant,)) = asked(twin, "q"), asked(original, "q")
        assert typed != meant
        pairs = list(zip(typed.split(), meant.split(), strict=True))
        assert all(within_edits(word, other, 2) for word, other in pairs), twin.id


def test_grades_keep_to_the_filters_of_their_question() -> None:
    by_id = {entry.id: entry for entry in entries(datetime.now(UTC))}
    for question in questions():
        query = question.query(READ)
        for listing in question.grades:
            entry = by_id[listing]
            assert query.type in {None, entry.type}, question.id
            assert query.remote in {None, entry.remote}, question.id
            known = {*entry.terms.pay, *entry.terms.currencies}
            assert not query.pay or known & set(query.pay), (question.id, entry.title)
            assert entry.expires_at is None, question.id


def test_the_listings_come_as_the_index_gets_them() -> None:
    made = {names()[entry.id]: entry for entry in entries(NOW)}
    assert made.keys() == {row["id"] for row in rows()}
    plumber = made["en-plumber-leeds-time"]
    assert plumber.place_name == "Leeds"
    assert plumber.lat == pytest.approx(53.80, abs=0.05)
    assert (NOW - plumber.confirmed).days == 20
    assert plumber.terms.pay == ("time",)
    assert made["en-plumber-leeds-expired"].expires_at is not None
    assert "time" in made["en-plumber-bradford"].terms.pay
    assert {entry.type for entry in made.values()} == set(ListingType)
    means = {payment["means"] for entry in made.values() for payment in entry.payments}
    assert set(PaymentMeans) - means <= {PaymentMeans.UNSPECIFIED}


def test_no_made_up_listing_is_about_what_is_asked_for() -> None:
    left = [thing for thing in things() if thing.category not in LEFT_OUT]
    kept = [{*fold(thing.names[language]).split()} for thing in left for language in LANGUAGES]
    for question in questions():
        for text in asked(question, "q"):
            words = {*fold(text.replace('"', " ")).split()}
            assert not [name for name in kept if words <= name], question.id


def test_there_are_as_many_distractors_as_asked_for_and_none_of_what_is_left_out() -> None:
    made = list(distractors(500, NOW))
    assert len({entry.id for entry in made}) == 500
    assert not {*chain.from_iterable(entry.categories for entry in made)} & LEFT_OUT


def figures_of_the_embedded_index() -> dict[str, float]:
    figures = list(measure(Asked(200, halves=("tuning",), indexes=("embedded",))))
    assert all(each.peer is None for each in figures)
    assert {json.loads(each.as_json())["runs"] for each in figures} == {1}
    return {each.figure.removesuffix("_embedded_tuning"): each.ours for each in figures}


def test_the_embedded_index_is_told_from_a_bad_one(monkeypatch: pytest.MonkeyPatch) -> None:
    good = figures_of_the_embedded_index()
    least = {"ndcg_at_10": 0.85, "recall_at_20": 0.77, "first_hit_right": 0.87}
    assert good.keys() == {*least, "typo_loss"}
    assert {name: good[name] for name in least if not least[name] < good[name] < 1} == {}
    assert -0.05 < good["typo_loss"] < 0.1

    answer = EmbeddedIndex.search
    monkeypatch.setattr(
        EmbeddedIndex, "search", lambda index, query: answer(index, replace(query, q=""))
    )
    deaf = figures_of_the_embedded_index()  # it finds by place and filters alone
    assert deaf["ndcg_at_10"] < good["ndcg_at_10"] - 0.25
    assert deaf["first_hit_right"] < good["first_hit_right"] - 0.4
    assert deaf["recall_at_20"] < good["recall_at_20"]


def test_misses_are_told_with_what_came_and_what_should_have(
    capfd: pytest.CaptureFixture[str],
) -> None:
    list(measure(Asked(50, halves=("tuning",), indexes=("embedded",), misses=True)))
    told = capfd.readouterr().err
    assert "embedded: typo: nDCG" in told
    assert "    came: " in told
    assert "    should: " in told
    assert "held-back" not in told
