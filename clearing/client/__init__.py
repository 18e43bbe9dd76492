"""A hub's client of the clearing service: signed calls, verified answers, one proven history.

For the author of a hub: `docs/client.md` tells how it is used. It needs no database.
"""

from clearing.client.answers import HistoryError, Json, RootError, UntrustedAnswerError
from clearing.client.history import Head
from clearing.client.hub import Client
from clearing.client.records import FileStore, MemoryStore, Record, Store
from clearing.client.wire import Patience, Signer

__all__ = [
    "Client",
    "FileStore",
    "Head",
    "HistoryError",
    "Json",
    "MemoryStore",
    "Patience",
    "Record",
    "RootError",
    "Signer",
    "Store",
    "UntrustedAnswerError",
]
