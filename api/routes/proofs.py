"""The integrity proof of a listing, with all that is needed to check it without us."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from pydantic import BaseModel

from api.problems import answers
from api.services import Reading
from commons.errors import NotFoundError
from commons.proofs import CRYPTOSUITE
from crawler import proofs
from crawler.proofs import ListingProof
from marketplace import listings

router = APIRouter(tags=["Marketplace"], responses=answers(NotFoundError))

_EXAMPLE: Final[dict[str, Any]] = {
    "listing": "https://hub.example/listings/7",
    "document_uri": "https://hub.example/listings/7",
    "cryptosuite": CRYPTOSUITE,
    "verification_method": "https://hub.example/members/ines#ed25519-key",
    "public_key_multibase": "z6MkrJVnaZkeFzdQyMZu1cgjg7k1pZZ6pvBQ7XJPt4swbTQ2",
    "proof": {
        "@context": [
            "https://www.w3.org/ns/activitystreams",
            "https://w3id.org/security/data-integrity/v2",
        ],
        "type": "DataIntegrityProof",
        "cryptosuite": CRYPTOSUITE,
        "verificationMethod": "https://hub.example/members/ines#ed25519-key",
        "proofPurpose": "assertionMethod",
        "created": "2026-05-02T10:00:00Z",
        "proofValue": "z3VjGT7Zs2…",
    },
    "document_sha256": "59b7cb6251b8991add1ce0bc83107e3db9dbbab5bd2c28f687db1a03abc92f19",
    "document": None,
    "checked_at": "2026-05-02T10:00:07Z",
    "verified": True,
    "how": "Fetch …, take its proof and signature away, …",
}


class KeptProof(BaseModel):
    """A listing's proof; `document` is null where it might tell a position, `verified` is now."""

    listing: str
    document_uri: str
    cryptosuite: str
    verification_method: str
    public_key_multibase: str
    proof: dict[str, Any]
    document_sha256: str
    document: dict[str, Any] | None
    checked_at: datetime
    verified: bool
    how: str


@router.get(
    "/listings/{listing_id}/proof",
    summary="The proof of a listing",
    responses={
        200: {
            "description": "The proof by its author, checked again at this moment.",
            "content": {"application/json": {"example": _EXAMPLE}},
        }
    },
)
def get_proof(
    session: Reading,
    listing_id: Annotated[
        str, Path(description="The listing's short id.", examples=["k3v7q2m5x6abc"])
    ],
) -> KeptProof:
    """Give the integrity proof (FEP-8b32) that came with the version of a listing held here.

    The signature covers two SHA-256 hashes, so that it can be checked where the document is not
    kept: documents that may tell a position are not.
    """
    listing = listings.by_id(session, listing_id)
    kept = session.get(ListingProof, listing_id) if listing is not None else None
    if listing is None or kept is None:
        raise NotFoundError("there is no such listing, or it came without a proof")
    return KeptProof(
        listing=listing.uri,
        document_uri=kept.document_uri,
        cryptosuite=CRYPTOSUITE,
        verification_method=kept.verification_method,
        public_key_multibase=kept.public_key_multibase,
        proof=kept.proof,
        document_sha256=kept.document_sha256,
        document=kept.document,
        checked_at=kept.checked_at,
        verified=proofs.is_verified(kept),
        how=_how(kept),
    )


def _how(kept: ListingProof) -> str:
    source = "Take `document`"
    if kept.document is None:
        source = f"Fetch {kept.document_uri} at its origin, as application/activity+json"
    return (
        f"{source}; take away its `proof` and `signature`, and give it the `@context` of the "
        "proof, if that has one. Write it in canonical JSON (RFC 8785): its SHA-256 is "
        "`document_sha256`, unless the origin has changed it since. Write `proof` without "
        "`proofValue` in canonical JSON too and take its SHA-256. `proofValue` (base58-btc after "
        "its z) is the Ed25519 signature of that hash followed by the document's, by the key "
        "`public_key_multibase`. That it is the author's key is said in `assertionMethod` of the "
        f"author's actor, under the id {kept.verification_method}."
    )
