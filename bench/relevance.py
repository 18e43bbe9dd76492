"""How well each index answers judged questions, among many other listings, beside a peer."""

import math
import os
import sys
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from statistics import fmean
from typing import Final

from rich.progress import track

from bench.building import progress_console
from bench.corpus import Corpus
from bench.figures import Figure, figure
from bench.judging import HALVES, Question, entries, names, questions
from bench.plain import batches, plain_table
from bench.postgres import ensure, new_database, running_server
from bench.vocabulary import LANGUAGES, things, towns
from commons.errors import UnavailableError
from marketplace.categories import term_of
from marketplace.embedded import EmbeddedIndex
from marketplace.index import BATCH, Change, Entry, Index
from marketplace.meilisearch import MeilisearchIndex
from marketplace.meilisearch.generation import Generation
from marketplace.meilisearch.server import Server
from marketplace.postgresql import PostgresqlIndex
from marketplace.query import Query

DISTRACTORS_SEED: Final = 3
INDEXES: Final = ("embedded", "postgresql", "meilisearch")
DEPTH: Final = 10
READ: Final = 20
MISSED_BELOW: Final = 0.7
PLAIN: Final = "one PostgreSQL table with a plain tsvector, ts_rank and PostGIS, the same questions"
# What the judged questions are about; made-up listings of the same would be hits without a grade.
LEFT_OUT: Final = frozenset(
    ("animals", "bicycles", "childcare", "children", "gardening", "languages", "music", "plants")
) | {"plumbing", "repairs", "tuition"}
_DRAWN_FOR_ONE_KEPT: Final = 4

Answers = dict[str, list[str]]
Search = Callable[[Query], list[str]]


@dataclass(frozen=True)
class Asked:
    """What is run: how many made-up listings, which halves and indexes, what is told of misses."""

    distractors: int
    halves: tuple[str, ...] = HALVES
    indexes: tuple[str, ...] = INDEXES
    misses: bool = False
    database: str | None = None


def measure(asked: Asked) -> Iterator[Figure]:
    """Build each index and the peer, ask all questions, and yield the figures of each half."""
    chosen = [question for question in questions() if question.half in asked.halves]
    now = datetime.now(UTC)
    changes = list(_numbered(chain(entries(now), distractors(asked.distractors, now))))
    answers: dict[str, Answers] = {}
    peer: Answers | None = None
    with ExitStack() as stack:
        opened, plain = _filled(stack, asked, changes)
        for name, search in opened.items():
            answers[name] = _ask(name, search, chosen)
        if plain is not None:
            peer = _ask("the plain table", plain, chosen)
    for name, answered in answers.items():
        for half in asked.halves:
            of_half = [question for question in chosen if question.half == half]
            yield from _figures(f"{name}_{half.replace('-', '_')}", of_half, answered, peer)
        if asked.misses:
            _tell(name, chosen, answered)


def distractors(count: int, now: datetime) -> Iterator[Entry]:
    """Make up listings about other things than the judged ones.

    Left out are the things of the LEFT_OUT categories, which the questions are about, and
    whatever has a category that a question asks for; so what is left has no right to be a hit,
    though it may share a word, as each does that offers to come by bicycle.
    """
    named = {
        thing.names[language]
        for thing in things()
        for language in LANGUAGES
        if thing.category in LEFT_OUT
    }
    asked_for = {
        term_of(value)
        for question in questions()
        for name, value in question.parameters
        if name == "category"
    }
    made = Corpus(_DRAWN_FOR_ONE_KEPT * count, DISTRACTORS_SEED, now, towns()).changes()
    kept = (
        change.entry
        for change in made
        if change.entry is not None
        and not {*change.entry.categories} & (named | LEFT_OUT)
        and not {*change.entry.category_terms} & asked_for
    )
    return islice(kept, count)


def ndcg(found: Sequence[str], grades: Mapping[str, int], depth: int = DEPTH) -> float:
    """Return the normalised discounted cumulated gain of the first `depth` found, 0 to 1.

    DCG = sum over ranks i from 1 of gain(i) / log2(i + 1), divided by that of the best order
    (Järvelin and Kekäläinen, ACM TOIS 20, 2002); the gain is exponential, 2^grade - 1 (Burges
    et al., ICML 2005): 7, 3 and 1 for the grades 3, 2 and 1, so that what comes first counts.
    """
    best = sorted(grades.values(), reverse=True)[:depth]
    reached = [grades.get(listing, 0) for listing in found[:depth]]
    return _dcg(reached) / _dcg(best)


def recall(found: Sequence[str], grades: Mapping[str, int], depth: int = READ) -> float:
    """Return the share of the listings of any grade that is among the first `depth` found."""
    return len(grades.keys() & set(found[:depth])) / len(grades)


def first_right(found: Sequence[str], grades: Mapping[str, int]) -> float:
    """Return 1 where the first that was found has the best grade there is, else 0."""
    return float(bool(found) and grades.get(found[0]) == max(grades.values()))


def typo_loss(judged: Sequence[Question], answers: Answers) -> float:
    """Return the mean nDCG that misspelt twins have less than their clean ones."""
    grades = {question.id: question.grades for question in judged}
    return fmean(
        ndcg(answers[each.clean], grades[each.clean]) - ndcg(answers[each.id], each.grades)
        for each in judged
        if each.clean is not None
    )


def _dcg(grades: Sequence[int]) -> float:
    return sum(
        (math.exp2(grade) - 1) / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1)
    )


def _figures(
    named: str, judged: Sequence[Question], answers: Answers, peer: Answers | None
) -> Iterator[Figure]:
    def mean(score: Callable[[Sequence[str], Mapping[str, int]], float], got: Answers) -> float:
        return fmean(score(got[question.id], question.grades) for question in judged)

    measures: dict[str, Callable[[Answers], float]] = {
        "ndcg_at_10": lambda got: mean(ndcg, got),
        "recall_at_20": lambda got: mean(recall, got),
        "first_hit_right": lambda got: mean(first_right, got),
        "typo_loss": lambda got: typo_loss(judged, got),
    }
    unit = f"of 1, over {len(judged)} questions"
    peer_is = "none" if peer is None else PLAIN
    for name, measured in measures.items():
        peers = [] if peer is None else [measured(peer)]
        yield figure(f"{name}_{named}", unit, peer_is, [measured(answers)], peers)


def _filled(
    stack: ExitStack, asked: Asked, changes: Sequence[Change]
) -> tuple[dict[str, Search], Search | None]:
    """Open and fill the indexes that are asked for; with PostgreSQL goes the peer."""
    opened: dict[str, Index] = {}
    plain: Search | None = None
    if "embedded" in asked.indexes:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="localpay-bench-"))
        opened["embedded"] = EmbeddedIndex(Path(folder) / "index")
    if "postgresql" in asked.indexes:
        server = asked.database or stack.enter_context(running_server(ensure()))
        url = stack.enter_context(new_database(server))
        table = stack.enter_context(plain_table(url))
        for batch in _tracked("the plain table", changes):
            table.add(batch)
        table.finish()
        plain = table.search
        opened["postgresql"] = PostgresqlIndex(url)
    if "meilisearch" in asked.indexes:
        opened |= _meilisearch(stack)
    for name, index in opened.items():
        stack.callback(index.close)
        for batch in _tracked(name, changes):
            index.apply(batch, since=batch[0].revision - 1, revision=batch[-1].revision)
    return {name: _ids_of(index) for name, index in opened.items()}, plain


def _meilisearch(stack: ExitStack) -> dict[str, Index]:
    url = os.environ.get("LOCALPAY_TEST_MEILISEARCH_URL")
    if not url:
        _say("meilisearch: not run, since LOCALPAY_TEST_MEILISEARCH_URL names no server")
        return {}
    key = os.environ.get("LOCALPAY_TEST_MEILISEARCH_KEY")
    uid = f"localpay-bench-{uuid.uuid4().hex}"
    stack.callback(Generation(Server(url, key), uid).remove)
    return {"meilisearch": MeilisearchIndex(url, key, uid)}


def _ids_of(index: Index) -> Search:
    """Let an index be asked for ids alone; one that gives up has found nothing."""

    def search(query: Query) -> list[str]:
        try:
            return [hit.id for hit in index.search(query).hits]
        except UnavailableError:
            return []

    return search


def _ask(name: str, search: Search, judged: Sequence[Question]) -> Answers:
    told = f"asking {name}"
    return {
        question.id: search(question.query(READ))
        for question in track(judged, told, console=progress_console)
    }


def _tracked(name: str, changes: Sequence[Change]) -> Iterator[list[Change]]:
    steps = -(-len(changes) // BATCH)
    yield from track(batches(changes, BATCH), f"filling {name}", steps, console=progress_console)


def _numbered(made: Iterator[Entry]) -> Iterator[Change]:
    for revision, entry in enumerate(made, start=1):
        yield Change(entry.id, revision, entry)


def _tell(index: str, judged: Sequence[Question], answers: Answers) -> None:
    """Say on stderr how each kind of question did, and which ones were answered badly."""
    scores = {each.id: ndcg(answers[each.id], each.grades) for each in judged}
    kinds: dict[str, list[float]] = defaultdict(list)
    for question in judged:
        kinds[question.kind].append(scores[question.id])
    for kind, reached in sorted(kinds.items()):
        _say(f"{index}: {kind}: nDCG {fmean(reached):.3f} over {len(reached)}")
    for question in judged:
        if scores[question.id] < MISSED_BELOW:
            _say(_missed(index, question, answers[question.id], scores[question.id]))


def _missed(index: str, question: Question, found: Sequence[str], score: float) -> str:
    asked = " ".join(f"{name}={value}" for name, value in question.parameters)
    should = sorted(question.grades, key=lambda listing: -question.grades[listing])
    came = [_named(listing, question.grades) for listing in found[:DEPTH]]
    return (
        f"{index}: {question.half}: {question.id} ({question.kind}) {score:.2f}: {asked}\n"
        f"    came: {', '.join(came) or 'nothing'}\n"
        f"    should: {', '.join(_named(listing, question.grades) for listing in should)}"
    )


def _named(listing: str, grades: Mapping[str, int]) -> str:
    return f"{names().get(listing, 'another')}:{grades.get(listing, 0)}"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
