"""Every module that has tables, imported, so that the metadata is whole."""

import clearing.acceptance
import clearing.accounts
import clearing.adjustments
import clearing.disputes
import clearing.events
import clearing.ledger
import clearing.levies
import clearing.periods
import clearing.rate_proposals
import clearing.rates
import clearing.roots
import clearing.rounds
import clearing.transfers
import clearing.webhooks  # noqa: F401 (imported for its tables)
import commons.audit_log
import commons.groups
import commons.tokens  # noqa: F401 (imported for its tables)
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
