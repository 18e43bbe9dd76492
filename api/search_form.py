"""The form of the search page: what was asked in it, what is wrong, the links that change it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from commons.errors import InvalidError
from commons.groups import Group
from marketplace.asked_place import LONGEST, as_words, split_place
from marketplace.categories import name_of, term_of
from marketplace.payment import PaymentMeans
from marketplace.query import Page, Query, read_query

MEANS: Final = {
    PaymentMeans.TIME: "Hours",
    PaymentMeans.LOCAL: "Local currency",
    PaymentMeans.NATIONAL: "National currency",
    PaymentMeans.CRYPTO: "Crypto",
    PaymentMeans.BARTER: "Barter",
    PaymentMeans.GIFT: "Gift",
}
MEANS_WORDS: Final = {
    **MEANS,
    PaymentMeans.TIME: "Time",
    PaymentMeans.GROUP_DEFAULT: "The group's currency",
    PaymentMeans.UNSPECIFIED: "To be agreed",
}
DISTANCES_KM: Final = ("2", "5", "10", "25", "50", "100", "300", "1000")
MOST_OF_A_SELECT: Final = 60
_NATIONAL: Final = "national:"
_PLACED: Final = ("q", "near", "place", "radius_km", "bbox")
_PAGED: Final = ("sort", "limit", "cursor")
_SINGLE: Final = frozenset((*_PLACED, "type", "payer_group", "remote", "since", *_PAGED))
_MANY: Final = frozenset(("pay", "category", "language", "group", "author"))
_FACETS: Final = {
    "type": "Offers or wants",
    "pay": "How to pay",
    "category": "Category",
    "group": "Group",
    "language": "Language",
}
_MOST_OF_A_FACET: Final = 8
_UNKNOWN: Final = "must be "
_SUBJECTS: Final = {
    "q": "The words",
    "near": "Near",
    "radius_km": "The distance",
    "type": "Offers or wants",
    "pay": "The means of payment",
    "payer_group": "Your group",
    "sort": "The order",
}
# In place of a rule for programs, where what is given must be what we gave.
_PLAINLY: Final = {
    "payer_group": "No group is called so. Choose one of those that are listed.",
    "cursor": "This page of the results is not there any more. Please search once more.",
}
# What languages call themselves, of those in which most listings are written.
_LANGUAGES: Final = {
    "ar": "العربية", "ca": "Català", "cs": "Čeština", "da": "Dansk", "de": "Deutsch",
    "el": "Ελληνικά", "en": "English", "es": "Español", "eu": "Euskara", "fi": "Suomi",
    "fr": "Français", "gl": "Galego", "hu": "Magyar", "it": "Italiano", "ja": "日本語",
    "nl": "Nederlands", "pl": "Polski", "pt": "Português", "ro": "Română", "ru": "Русский",
    "sv": "Svenska", "tr": "Türkçe", "uk": "Українська", "zh": "中文",
}  # fmt: skip


@dataclass
class Asked:
    """What the form was filled with, as text; `place` is a group's id, used without `near`.

    `question` is what the fields ask of the index, as names and values.
    """

    values: dict[str, str]
    many: dict[str, list[str]]
    question: list[tuple[str, str]] = field(default_factory=list)
    trouble: InvalidError | None = None
    query: Query | None = None

    def value(self, name: str) -> str:
        """Return what a field holds."""
        return self.values.get(name, "")

    def chosen(self, name: str) -> list[str]:
        """Return what a field of several values holds."""
        return self.many.get(name, [])

    def link(self, **changed: str) -> str:
        """Return the address of the same question, from its first page, with fields changed."""
        kept = {**self.values, "cursor": "", **changed}
        return _address([*kept.items(), *self._several()])

    def toggled(self, name: str, value: str) -> str:
        """Return the address of the same question with a value more, or less where it has it."""
        if name in _SINGLE:
            return self.link(**{name: "" if self.value(name) == value else value})
        pairs = self._several()
        one = (name, value)
        pairs = [pair for pair in pairs if pair != one] if one in pairs else [*pairs, one]
        return _address([*{**self.values, "cursor": ""}.items(), *pairs])

    def anywhere(self) -> str:
        """Return the address of the same words without a place."""
        words = self.query.q if self.query is not None and self.spoken else self.value("q")
        return self.link(q=words, near="", place="", radius_km="", bbox="", sort=self._unplaced())

    def without(self, name: str) -> str:
        """Return the address of the same question without any value of a field that has several."""
        pairs = [pair for pair in self._several() if pair[0] != name]
        return _address([*{**self.values, "cursor": ""}.items(), *pairs])

    def unfiltered(self) -> str:
        """Return the address of the same words and place, and nothing else."""
        return _address([(name, self.value(name)) for name in _PLACED])

    def near(self, address: str) -> str:
        """Return the address of the same words about another place."""
        words = self.query.q if self.query is not None and self.spoken else self.value("q")
        return self.link(q=words, near=address, place="")

    @property
    def spoken(self) -> bool:
        """Whether the place was told among the words."""
        return self.query is not None and self.query.typed is not None

    @property
    def literal(self) -> str:
        """The address of a search for all that was typed as words; empty where it is too long."""
        text = as_words(self.value("q"))
        return (
            self.link(q=text, radius_km="", sort=self._unplaced()) if len(text) <= LONGEST else ""
        )

    @property
    def wider_km(self) -> str:
        """The next larger distance; empty where there is no place or no larger one."""
        if self.query is None or self.query.near is None:
            return ""
        reach_km = self.query.reach_km
        return next((km for km in DISTANCES_KM if float(km) > reach_km), "")

    @property
    def filters(self) -> int:
        """How many fields besides words are set; the distance goes with its place."""
        places = bool(self.value("near") or self.value("place"))
        kinds = sum(bool(self.value(name)) for name in ("type", "sort", "payer_group"))
        return places + kinds + bool(self.chosen("pay"))

    @property
    def narrowings(self) -> int:
        """How many values of facets are set that the form does not show."""
        return sum(
            len(values) for name, values in self.many.items() if name in _FACETS and name != "pay"
        )

    def narrowed(self) -> bool:
        """Tell whether anything but words and place narrows the search."""
        names = _SINGLE - {*_PLACED, *_PAGED}
        return any(self.many.values()) or any(map(self.value, names))

    @property
    def unseen(self) -> list[tuple[str, str]]:
        """What is asked for besides the fields that the form shows, as names and values."""
        names = ("place", "bbox", "remote", "since", "limit")
        several = [(name, value) for name, value in self._several() if name != "pay"]
        return [*((name, self.value(name)) for name in names if self.value(name)), *several]

    def feed(self, ending: str) -> str:
        """Return the address of the same question as a feed, from its first page."""
        kept = [(name, value) for name, value in self.question if name != "cursor"]
        return f"/listings.{ending}" + (f"?{urlencode(kept)}" if kept else "")

    def listing(self, listing_id: str) -> str:
        """Return the address of a listing's page, from which one comes back to this question."""
        kept = [*self.values.items(), *self._several()]
        return f"/l/{listing_id}" + (f"?{urlencode(kept)}" if kept else "")

    def refuse(self, error: InvalidError) -> None:
        """Remember what is wrong with the question, so that nothing is searched for."""
        self.trouble, self.query = error, None

    def trouble_at(self, name: str) -> str:
        """Return what is wrong with a field, as a sentence; empty where nothing is."""
        error = self.trouble
        if error is None or {"place": "near"}.get(error.field, error.field) != name:
            return ""
        if name in _PLAINLY and error.rule.startswith(_UNKNOWN):
            return _PLAINLY[name]
        joint = " " if error.rule.startswith("must") else ": "
        return f"{_SUBJECTS.get(name, name.capitalize())}{joint}{error.rule}."

    @property
    def other_trouble(self) -> str:
        """What is wrong with something that has no field; empty where nothing is."""
        if self.trouble is None or self.trouble.field in {*_SUBJECTS, "place"}:
            return ""
        if self.trouble.field in _PLAINLY:
            return self.trouble_at(self.trouble.field)
        return str(self.trouble)

    def _several(self) -> list[tuple[str, str]]:
        return [(name, value) for name, values in self.many.items() for value in values]

    def _unplaced(self) -> str:
        return "" if self.value("sort") == "distance" else self.value("sort")


@dataclass(frozen=True)
class FacetValue:
    """A value by which what was found can be narrowed; `href` takes it, or gives it up."""

    label: str
    count: int
    href: str
    chosen: bool


def read_form(filled: Iterable[tuple[str, str]], groups: list[Group]) -> Asked:
    """Read the form: empty fields say nothing, the place of a group stands for its position."""
    told = [(name, value.strip()) for name, value in filled if value.strip()]
    asked = Asked({name: value for name, value in told if name in _SINGLE}, {})
    for name, value in told:
        if name in _MANY:
            asked.many.setdefault(name, []).append(term_of(value) if name == "category" else value)
    try:
        asked.question = _question(told, asked, groups)
        asked.query = read_query(asked.question)
    except InvalidError as error:
        asked.refuse(error)
    return asked


def facets_of(asked: Asked, page: Page, groups: Mapping[str, Group]) -> dict[str, list[FacetValue]]:
    """Return by title what narrows the search: where there is a choice, or was one."""
    shown: dict[str, list[FacetValue]] = {}
    for name, title in _FACETS.items():
        chosen = asked.chosen(name) if name in _MANY else [asked.value(name)]
        counts = {value: 0 for value in chosen if value} | page.facets.get(name, {})
        values = [
            FacetValue(
                _label(name, value, groups), count, asked.toggled(name, value), value in chosen
            )
            for value, count in counts.items()
        ]
        values.sort(key=lambda value: (not value.chosen, -value.count))
        if len(values) > 1 or any(value.chosen for value in values):
            shown[title] = values[:_MOST_OF_A_FACET]
    return shown


def means_of(asked: Asked, page: Page | None) -> dict[str, str]:
    """Return the means of payment to choose from: all, the money that was found, what is set."""
    counts = page.facets.get("pay", {}) if page is not None else {}
    found = [value for value in counts if value.startswith(_NATIONAL)][:_MOST_OF_A_FACET]
    values = [*map(str, MEANS), *found, *asked.chosen("pay")]
    return {value: pay_words(value) for value in values}


def pay_words(value: str) -> str:
    """Return a value of `pay` as it is read."""
    means = {str(one): words for one, words in MEANS_WORDS.items()} | {"time": "Hours"}
    return means.get(value, value.removeprefix(_NATIONAL))


def _label(name: str, value: str, groups: Mapping[str, Group]) -> str:
    if name == "type":
        return {"offer": "Offers", "want": "Wants"}.get(value, value)
    if name == "pay":
        return pay_words(value)
    if name == "group":
        return groups[value].name if value in groups else value
    return _LANGUAGES.get(value, value) if name == "language" else name_of(value)


def _question(
    told: list[tuple[str, str]], asked: Asked, groups: list[Group]
) -> list[tuple[str, str]]:
    near = asked.value("near") or _position(asked.value("place"), groups)
    question = [
        (name, _group_id(value, groups) if name == "payer_group" else value)
        for name, value in told
        if name not in {"near", "place"}
    ]
    if near:
        return [*question, ("near", near)]
    if not asked.value("bbox") and split_place(asked.value("q")) is not None:
        return question
    return [(name, value) for name, value in question if name != "radius_km"]


def _position(place: str, groups: list[Group]) -> str:
    if not place:
        return ""
    for group in groups:
        if group.id == place and group.lat is not None and group.lon is not None:
            return f"{group.lat},{group.lon}"
    raise InvalidError("place", "must be one of a group that is known")


def _group_id(typed: str, groups: list[Group]) -> str:
    """Return the id of the group of a name; what is no name is left as it is."""
    named = {group.name.casefold(): group.id for group in groups}
    return named.get(typed.casefold(), typed)


def _address(pairs: Iterable[tuple[str, str]]) -> str:
    kept = [(name, value) for name, value in pairs if value]
    return "/?" + urlencode(kept)
