"""Which index the settings choose."""

from commons.settings import Settings
from marketplace.embedded import EmbeddedIndex
from marketplace.index import Index
from marketplace.meilisearch import MeilisearchIndex
from marketplace.postgresql import PostgresqlIndex


def open_index(settings: Settings) -> Index:
    """Open the index that `index_url` names; nothing is asked of a server before it is used."""
    url = settings.effective_index_url
    if url.startswith("postgresql"):
        return PostgresqlIndex(url)
    if url:
        return MeilisearchIndex(url, settings.index_key.get_secret_value() or None)
    return EmbeddedIndex(settings.data_dir / "index")
