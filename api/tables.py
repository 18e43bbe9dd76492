"""Every module that has tables, imported, so that the metadata is whole."""

import clearing.accounts
import clearing.events
import clearing.ledger
import clearing.rates
import clearing.rounds
import clearing.transfers  # noqa: F401 (imported for its tables)
import commons.audit_log
import commons.groups  # noqa: F401 (imported for its tables)
import crawler.actor_keys
import crawler.authors
import crawler.blocks
import crawler.delivery
import crawler.fasp.rows
import crawler.interest.rows
import crawler.invitations
import crawler.kept
import crawler.peers
import crawler.proofs
import crawler.refusals
import crawler.relays
import crawler.sources.push  # noqa: F401 (imported for its tables)
import marketplace.duplicates
import marketplace.listings  # noqa: F401 (imported for its tables)
from commons.database import Base

metadata = Base.metadata
