"""The stems of words by PostgreSQL's own dictionaries, and how they stand among the words."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Text, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import UserDefinedType

# The languages that PostgreSQL stems (ISO 639-1), by the names of its configurations.
CONFIGURATIONS: Final = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
_STEMMED_AS: Final = {"nb": "no", "nn": "no"}
# What the lexeme of a stem begins with, which no word does. Its language follows, so that a stem
# finds only listings of its own language.
STEM_MARK: Final = "/"

Stems = Mapping[tuple[str, str], list[str]]


class _Dictionary(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:  # noqa: ANN401 (as its base has it)
        return "REGDICTIONARY"


def stemmed_as(language: str | None) -> str | None:
    """Return which of CONFIGURATIONS a language is stemmed as; None where it is not."""
    known = _STEMMED_AS.get(language or "", language)
    return known if known in CONFIGURATIONS else None


def stems_of(connection: Connection, words: Iterable[tuple[str, str]]) -> Stems:
    """Return the lexemes of the stems of words, each given as (language in CONFIGURATIONS, word).

    A word that its language does not count as one, such as "and", has none.
    """
    asked = sorted({*words})
    if not asked:
        return {}
    dictionaries = [f"{CONFIGURATIONS[language]}_stem" for language, _ in asked]
    columns = ([language for language, _ in asked], dictionaries, [word for _, word in asked])
    arrays = (bindparam(None, values, ARRAY(Text)) for values in columns)
    each = func.unnest(*arrays).table_valued("language", "dictionary", "word").render_derived()
    stems = func.ts_lexize(cast(each.c.dictionary, _Dictionary), each.c.word)
    return {
        (language, word): [f"{STEM_MARK}{language}{STEM_MARK}{stem}" for stem in found]
        for language, word, found in connection.execute(select(each.c.language, each.c.word, stems))
        if found
    }
