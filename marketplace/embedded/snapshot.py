"""One committed state of an index folder, as searches see it."""

from functools import cached_property

import tantivy

from marketplace.embedded.fields import META, STEMMERS


class Snapshot:
    """A state that stays as it is; asked by any number of threads."""

    def __init__(self, searcher: tantivy.Searcher, schema: tantivy.Schema) -> None:
        self.searcher = searcher
        self.schema = schema

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages with a stemmer that listings are in."""
        return tuple(name for name in STEMMERS if self.searcher.doc_freq("language", name))

    @cached_property
    def revision(self) -> int:
        """The last revision held; 0 for an empty index."""
        meta = tantivy.Query.term_query(self.schema, "kind", META)
        found = [address for _, address in self.searcher.search(meta, 1).hits]
        return int(self.searcher.fast_field_values("revision", found)[0] or 0) if found else 0
