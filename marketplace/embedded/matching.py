"""A question as tantivy's query: words forgiven, filters without weight."""

from collections.abc import Iterable

import tantivy
from tantivy import Occur

from marketplace.categories import term_of
from marketplace.embedded.fields import LISTING, seconds
from marketplace.embedded.snapshot import Snapshot
from marketplace.embedded.wording import Asked, Clauses, Wording, any_of
from marketplace.payable import Payee
from marketplace.places import circle_cells
from marketplace.query import Query


class Matcher:
    """Makes queries against one state of the index."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._schema = snapshot.schema
        self._snapshot = snapshot

    def scoring(
        self, query: Query, radius_km: float, now: float, *, loose: bool
    ) -> tuple[tantivy.Query, Asked]:
        """Return what a question asks for, and the words that it asks.

        Within `radius_km` of `near` the answer holds all that lies there and a little more.
        Without words everything scores 1. `loose` asks for most of the words or words like them.
        """
        wording = self._wording(query, loose=loose, scored=True)
        clauses = wording.clauses(query.asked_words)
        scored = any(occur is Occur.Must for occur, _ in clauses)
        for part in self._filters(query, radius_km):
            score = 0.0 if scored else 1.0
            clauses.append((Occur.Must, tantivy.Query.const_score_query(part, score)))
            scored = True
        return self._living(clauses, now), wording.asked

    def counting(self, query: Query, spots: list[int], now: float, *, loose: bool) -> tantivy.Query:
        """Return what matches the same, to be counted, less the listings at some spots."""
        clauses = self._wording(query, loose=loose, scored=False).clauses(query.asked_words)
        clauses += [(Occur.Must, part) for part in self._filters(query, query.reach_km)]
        if spots:
            clauses.append((Occur.MustNot, self._one_of("spot", spots)))
        return self._living(clauses, now)

    def among(self, query: tantivy.Query, ids: list[str]) -> tantivy.Query:
        """Return the same query, scored alike, of some listings alone."""
        these = tantivy.Query.const_score_query(self._one_of("id", ids), 0.0)
        return tantivy.Query.boolean_query([(Occur.Must, query), (Occur.Must, these)])

    def sampled(self, counting: tantivy.Query) -> tantivy.Query:
        """Return what matches one of SAMPLES parts of the same listings."""
        return tantivy.Query.boolean_query(
            [(Occur.Must, counting), (Occur.Must, self._term("sample", "0"))]
        )

    def _wording(self, query: Query, *, loose: bool, scored: bool) -> Wording:
        held = self._snapshot.languages
        languages = [name for name in held if not query.language or name in query.language]
        return Wording(self._snapshot, languages, loose=loose, scored=scored)

    def _living(self, clauses: Clauses, now: float) -> tantivy.Query:
        return tantivy.Query.boolean_query([*clauses, (Occur.MustNot, self._expired(now))])

    def _expired(self, now: float) -> tantivy.Query:
        # By its column, looked at for what else was found; all that ever expired is many.
        return tantivy.Query.range_query(
            self._schema, "expires", tantivy.FieldType.Integer, upper_bound=int(now)
        )

    def _filters(self, query: Query, radius_km: float) -> list[tantivy.Query]:
        filters = [
            self._one_of(name, values)
            for name in ("language", "group", "author")
            if (values := getattr(query, name))
        ]
        if query.category:
            filters.append(self._one_of("category", [term_of(name) for name in query.category]))
        if query.type is not None:
            filters.append(self._term("type", str(query.type)))
        if query.remote is not None:
            filters.append(self._term("remote", str(query.remote).lower()))
        if query.pay_terms:
            filters.append(self._pay(query.pay_terms))
        if query.payees is not None:
            filters += [self._term("settles", "true"), self._payable(query.payees)]
        if query.since is not None:
            filters.append(
                tantivy.Query.range_query(
                    self._schema,
                    "published",
                    tantivy.FieldType.Integer,
                    lower_bound=seconds(query.since),
                )
            )
        if query.near is not None:
            _, cells = circle_cells(*query.near, radius_km)
            filters.append(self._one_of("cell", cells))
        if query.bbox is not None:
            filters.append(self._box(*query.bbox))
        return filters or [self._term("kind", LISTING)]

    def _pay(self, terms: list[str]) -> tantivy.Query:
        currencies = [t.removeprefix("currency:") for t in terms if t.startswith("currency:")]
        means = [term for term in terms if not term.startswith("currency:")]
        return any_of(
            self._one_of(name, chosen)
            for name, chosen in (("pay", means), ("currency", currencies))
            if chosen
        )

    def _payable(self, payees: Iterable[Payee]) -> tantivy.Query:
        """Ask for listings of groups that can be paid, less those that cost more than is left."""
        groups: dict[str | None, list[str]] = {}
        for payee in payees:
            groups.setdefault(payee.available, []).append(payee.group)
        return any_of(
            self._costing_at_most(available, self._one_of("group", names))
            for available, names in groups.items()
        )

    def _costing_at_most(self, available: str | None, query: tantivy.Query) -> tantivy.Query:
        if available is None:
            return query
        dearer = tantivy.Query.range_query(
            self._schema,
            "price",
            tantivy.FieldType.Float,
            lower_bound=float(available),
            include_lower=False,
        )
        return tantivy.Query.boolean_query([(Occur.Must, query), (Occur.MustNot, dearer)])

    def _box(self, west: float, south: float, east: float, north: float) -> tantivy.Query:
        lat = self._between("lat", south, north)
        if west <= east:
            lon = self._between("lon", west, east)
        else:  # over the antimeridian
            lon = any_of([self._between("lon", west, 180.0), self._between("lon", -180.0, east)])
        return tantivy.Query.boolean_query([(Occur.Must, lat), (Occur.Must, lon)])

    def _between(self, name: str, low: float, high: float) -> tantivy.Query:
        return tantivy.Query.range_query(
            self._schema, name, tantivy.FieldType.Float, lower_bound=low, upper_bound=high
        )

    def _one_of(self, name: str, values: Iterable[str | int]) -> tantivy.Query:
        # Postings that are skipped through; a set of terms is read to its end before anything.
        return any_of(self._term(name, value) for value in values)

    def _term(self, name: str, value: str | int) -> tantivy.Query:
        return tantivy.Query.term_query(self._schema, name, value)
