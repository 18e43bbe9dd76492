"""Figures of the network over HTTP, for analysts and operators: groups, never members."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api import network_asking, problems
from api.caching import NOT_KEPT
from api.callers import Analyst
from api.network_asking import Wanted
from api.network_tables import AS_SENT, MEDIA_TYPES, Form, written
from api.routes.statements import chosen
from api.services import Shared
from clearing.network import Every, Grain
from clearing.network.figures import FIGURES, PARAMETERS, Figure, Span
from commons.errors import InvalidError, NotAcceptableError, NotFoundError
from commons.groups import GROUP_ID_PATTERN
from commons.tokens import Bearer

_MOMENT: Final = "A moment with its zone, or a date, which begins in UTC."
_LONGEST: Final = 40


def each_once(request: Request) -> None:
    """Raise InvalidError where a parameter is given twice: nobody knows which is meant."""
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name in seen:
            raise InvalidError(name, "must be given once")
        seen.add(name)


router = APIRouter(tags=["Network"], dependencies=[Depends(each_once)])


class FigureView(BaseModel):
    """A figure: what it is, how it is computed, in which unit, from what, and what it takes."""

    name: str
    title: str
    formula: str
    unit: str
    source: str
    takes: list[str]
    by: list[Grain]
    url: str


class FigureList(BaseModel):
    """All figures."""

    figures: list[FigureView]


class _Question(BaseModel):
    """What every figure may be asked with."""

    model_config = ConfigDict(extra="forbid")

    union: str | None = Field(
        None,
        description="The union's id; else all that the token opens.",
        pattern=GROUP_ID_PATTERN,
        examples=["main"],
    )
    by: Grain | None = Field(None, description="What a row is about: group, region or union.")
    form: Form | None = Field(
        None, alias="format", description="In which form; else as the Accept header says."
    )


class AtMoment(_Question):
    """A figure as of a moment."""

    at: str | None = Field(
        None, description=f"Right before when; else now. {_MOMENT}", max_length=_LONGEST
    )

    def wanted(self) -> Wanted:
        """Return what is asked for."""
        return Wanted(union=self.union, at=self.at, by=self.by)


class OverPeriod(_Question):
    """A figure of a period."""

    start: str | None = Field(
        None,
        alias="from",
        description=f"Since when; else twelve months before the month of `to`. {_MOMENT}",
        max_length=_LONGEST,
    )
    end: str | None = Field(
        None,
        alias="to",
        description=f"Before when; else the beginning of this month. {_MOMENT}",
        max_length=_LONGEST,
    )

    def wanted(self) -> Wanted:
        """Return what is asked for."""
        return Wanted(union=self.union, start=self.start, end=self.end, by=self.by)


class AsSeries(OverPeriod):
    """A figure at the end of each step of a period."""

    every: Every | None = Field(None, description="How long a step is, in UTC; else a month.")

    def wanted(self) -> Wanted:
        """Return what is asked for."""
        return Wanted(
            union=self.union, start=self.start, end=self.end, by=self.by, every=self.every
        )


_QUESTIONS: Final[dict[Span, type[AtMoment | OverPeriod]]] = {
    Span.MOMENT: AtMoment,
    Span.PERIOD: OverPeriod,
    Span.SERIES: AsSeries,
}


def view(figure: Figure) -> FigureView:
    """Return what is told of a figure in the list."""
    return FigureView(
        name=figure.name,
        title=figure.title,
        formula=figure.told("Formula"),
        unit=figure.told("Unit"),
        source=figure.told("Source"),
        takes=[*PARAMETERS[figure.span], "format"],
        by=list(figure.grains),
        url=f"/network/{figure.name}",
    )


def _example(figure: Figure) -> dict[str, Any]:
    times = {"at": "2026-11-01", "from": "2025-11-01", "to": "2026-11-01"}
    asked = {name: f"{day}T00:00:00.000000Z" for name, day in times.items()}
    told = {"union": "main", **asked, "by": str(figure.grains[0]), "every": "month"}
    return {
        "figure": figure.name,
        **{name: told[name] for name in PARAMETERS[figure.span]},
        "totals": {},
        "withheld": 0,
        "columns": [{"name": "union", "unit": "id", "meaning": "The union."}],
        "rows": [{"union": "main"}],
    }


_TEXT: Final = {"type": "string"}
_SCHEMAS: Final = {
    Form.JSON: {"type": "object"},
    Form.CSV: _TEXT,
    Form.PARQUET: {"type": "string", "format": "binary"},
    Form.HTML: _TEXT,
}


def _answers(figure: Figure) -> dict[int | str, dict[str, Any]]:
    examples = {
        Form.JSON: _example(figure),
        Form.CSV: "union,…",
        Form.PARQUET: "PAR1…",
        Form.HTML: "<!doctype html>…",
    }
    content = {
        MEDIA_TYPES[form]: {"example": examples[form], "schema": _SCHEMAS[form]} for form in Form
    }
    described = {"description": "The figure: a table with its totals.", "content": content}
    return {200: described, **problems.answers(NotFoundError, NotAcceptableError)}


@router.get(
    "/network",
    summary="The figures that there are",
    responses={
        200: {
            "description": "By name, each with its formula, unit and source.",
            "content": {
                "application/json": {
                    "example": {
                        "figures": [view(one).model_dump(mode="json") for one in FIGURES.values()]
                    }
                }
            },
        }
    },
)
def list_figures(bearer: Analyst, response: Response) -> FigureList:  # noqa: ARG001 (it must be there)
    """List the figures of the network as a whole, for the bearer of a token."""
    response.headers["Cache-Control"] = NOT_KEPT
    return FigureList(figures=[view(figure) for figure in FIGURES.values()])


def _answer(
    bearer: Bearer, services: Shared, figure: Figure, asked: AtMoment | OverPeriod, accept: str
) -> Response:
    form = asked.form or _form(accept)
    wanted = asked.wanted()
    union = wanted.union or bearer.union_id
    if bearer.union_id not in {None, union}:
        raise NotFoundError("there is no such union of yours")
    answer = network_asking.answer(services.engine, figure, wanted.of(union))
    headers = {"Vary": "Accept", "Cache-Control": NOT_KEPT}
    if form in {Form.CSV, Form.PARQUET}:
        headers["Content-Disposition"] = f'attachment; filename="{figure.name}.{form}"'
    return Response(written(answer, form), media_type=AS_SENT[form], headers=headers)


def _form(accept: str) -> Form:
    offered = tuple(MEDIA_TYPES.values())
    media_type = chosen(accept, offered)
    return next(form for form, one in MEDIA_TYPES.items() if one == media_type)


def _route(figure: Figure) -> Callable[..., Response]:
    question = _QUESTIONS[figure.span]

    def get_figure(
        bearer: Analyst,
        services: Shared,
        asked: Annotated[question, Query()],  # type: ignore[valid-type] # chosen by the figure
        accept: Annotated[str, Header(description="In which form.")] = MEDIA_TYPES[Form.JSON],
    ) -> Response:
        return _answer(bearer, services, figure, asked, accept)

    return get_figure


for _figure in FIGURES.values():
    router.get(
        f"/network/{_figure.name}",
        summary=_figure.title,
        description=_figure.about,
        name=f"get_{_figure.name}",
        response_class=Response,
        responses=_answers(_figure),
    )(_route(_figure))
