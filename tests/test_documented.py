"""Every setting, command and error is documented, and named where people look for it."""

import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from itertools import chain

import typer.main
from house import REPOSITORY
from settings_page import settings_page
from typer.core import TyperCommand, TyperGroup

from api.commands import app
from api.problems import KINDS
from api.routes.listings import PARAMETERS
from commons.errors import LocalPayError
from marketplace.embedded.ranking import RANKING
from marketplace.payable import Payable
from marketplace.payment import Payment
from marketplace.query import Hit, Page, Score


def test_every_setting_is_documented() -> None:
    page = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_page(), "run: python tests/settings_page.py > docs/settings.md"


def commands() -> dict[str, TyperCommand]:
    """All commands of `localpay`, those of a group by both words."""
    return dict(under("", typer.main.get_command(app)))


def under(name: str, command: object) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperGroup):
        for word, part in command.commands.items():
            yield from under(f"{name} {word}".lstrip(), part)
    else:
        assert isinstance(command, TyperCommand)
        yield name, command


def test_every_command_is_documented() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert commands()
    assert [name for name, command in commands().items() if not command.help] == []
    missing = [name for name in commands() if not re.search(rf"\blocalpay {name}\b", readme)]
    assert missing == [], "README.md names each command"


def test_all_of_searching_is_documented() -> None:
    page = (REPOSITORY / "docs" / "search.md").read_text(encoding="utf-8")
    names = {parameter["name"] for parameter in PARAMETERS}
    names |= {one.name for told in (Page, Hit, Score, Payment, Payable) for one in fields(told)}
    assert [name for name in names if not re.search(rf"`{name}\b", page)] == []
    for name, number in asdict(RANKING).items():
        assert f"| `{name}` | {number:g} |" in page, name


def error_classes(root: type[LocalPayError] = LocalPayError) -> set[type[LocalPayError]]:
    return {root, *chain.from_iterable(map(error_classes, root.__subclasses__()))}


def test_every_error_has_its_problem() -> None:
    assert error_classes() - set(KINDS) == set()
