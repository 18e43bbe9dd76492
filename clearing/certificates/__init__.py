"""Certificates of rounds: anybody can check that a round was right and cleared the most there was.

Each group gets a slice, which shows it its own rows alone; if each group checks its slice the whole
round is proven, and nobody has seen others' business (docs/clearing-rounds.md).
"""

from clearing.certificates.documents import Header, build, full_document, slice_document
from clearing.certificates.issuing import broken, certify, full, public, slice_of
from clearing.certificates.leaves import Price, Row
from clearing.certificates.reading import read
from clearing.certificates.verifying import verify

__all__ = [
    "Header",
    "Price",
    "Row",
    "broken",
    "build",
    "certify",
    "full",
    "full_document",
    "public",
    "read",
    "slice_document",
    "slice_of",
    "verify",
]
