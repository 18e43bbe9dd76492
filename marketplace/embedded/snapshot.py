"""One committed state of an index folder, as searches see it."""

from functools import cached_property

import tantivy

from marketplace.embedded.fields import STEMMERS


class Snapshot:
    """A state that stays as it is; asked by any number of threads."""

    def __init__(self, searcher: tantivy.Searcher, schema: tantivy.Schema) -> None:
        self.searcher = searcher
        self.schema = schema

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages with a stemmer that listings are in."""
        return tuple(name for name in STEMMERS if self.searcher.doc_freq("language", name))
