"""Whether the service works."""

from fastapi import APIRouter
from pydantic import BaseModel

from api.services import Reading, Shared
from marketplace.listings import last_revision

router = APIRouter(tags=["Operation"])


class Health(BaseModel):
    """What answers; `index_behind` counts the revisions that the index has still to take."""

    status: str
    database: str
    index_revision: int
    index_behind: int


@router.get(
    "/health",
    summary="Whether the service works",
    responses={
        200: {
            "description": "It works.",
            "content": {
                "application/json": {
                    "example": {
                        "status": "ok",
                        "database": "postgresql",
                        "index_revision": 1204,
                        "index_behind": 0,
                    }
                }
            },
        }
    },
)
def get_health(session: Reading, services: Shared) -> Health:
    """Ask the database and the index how they are; an error is answered by a problem."""
    held = services.index.revision()
    return Health(
        status="ok",
        database=services.engine.dialect.name,
        index_revision=held,
        index_behind=max(0, last_revision(session) - held),
    )
