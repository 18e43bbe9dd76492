"""Which index the settings choose."""

from commons.settings import Settings
from marketplace.embedded import EmbeddedIndex
from marketplace.index import Index
from marketplace.meilisearch import MeilisearchIndex
from marketplace.postgresql import PostgresqlIndex


def kind_of(settings: Settings) -> str:
    """Return which kind of index that is."""
    url = settings.effective_index_url
    if url.startswith("postgresql"):
        return "postgresql"
    return "meilisearch" if url else "embedded"


def open_index(settings: Settings) -> Index:
    """Open the index that `index_url` names; nothing is asked of a server before it is used."""
    kind, url = kind_of(settings), settings.effective_index_url
    if kind == "postgresql":
        return PostgresqlIndex(url)
    if kind == "meilisearch":
        return MeilisearchIndex(url, settings.index_key.get_secret_value() or None)
    return EmbeddedIndex(settings.data_dir / "index")
