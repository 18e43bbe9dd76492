"""Every module that has tables, imported, so that the metadata is whole."""

import clearing.accounts
import clearing.ledger
import clearing.rates
import clearing.rounds
import clearing.transfers  # noqa: F401 (imported for its tables)
import commons.groups  # noqa: F401 (imported for its tables)
import crawler.authors
import crawler.delivery
import crawler.kept
import crawler.peers  # noqa: F401 (imported for its tables)
import marketplace.listings  # noqa: F401 (imported for its tables)
from commons.database import Base

metadata = Base.metadata
