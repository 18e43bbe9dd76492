"""The categories that all groups share."""

from typing import Any, Final

from fastapi import APIRouter
from pydantic import BaseModel

from api.caching import Cacheable
from marketplace.categories import categories

router = APIRouter(tags=["Marketplace"], route_class=Cacheable)

EXAMPLE: Final[dict[str, Any]] = {
    "id": "gardening",
    "names": {"en": "Gardening", "de": "Gartenarbeit", "es": "Jardinería"},
    "wikidata": ["https://www.wikidata.org/entity/Q758780"],
    "cpa": ["81.3"],
}


class CategoryView(BaseModel):
    """A shared category: its name by language (ISO 639-1), Wikidata items and CPA 2.1 codes."""

    id: str
    names: dict[str, str]
    wikidata: list[str]
    cpa: list[str]


class CategoryList(BaseModel):
    """All shared categories."""

    categories: list[CategoryView]


@router.get(
    "/categories",
    summary="The shared categories",
    responses={
        200: {
            "description": "The categories, each with its name in every language.",
            "content": {"application/json": {"example": {"categories": [EXAMPLE]}}},
        }
    },
)
def list_categories() -> CategoryList:
    """List the categories that all groups share.

    A listing that is told to be in one of them, by any of its names, a Wikidata item or a CPA code,
    is found by `category` with any other of these. Facets of `/listings` count by `id`. Categories
    that are not in this list are found by the name that their group gave them.
    """
    return CategoryList(
        categories=[
            CategoryView(
                id=one.id,
                names={language: called[0] for language, called in one.names.items()},
                wikidata=[f"https://www.wikidata.org/entity/{item}" for item in one.wikidata],
                cpa=list(one.cpa),
            )
            for one in categories().values()
        ]
    )
