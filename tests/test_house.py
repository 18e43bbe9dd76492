"""The house rules, each held by its effect; `house.py` says how a violation is found."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import house
import pytest

SOLVING_APART = {"__init__", "apart", "circulating", "queue", "solver"}
"""Large components are solved by a child process: OR-tools holds the lock and cannot be stopped."""

PURE = (
    *(
        f"clearing.netting.{path.stem}"
        for path in sorted((house.REPOSITORY / "clearing/netting").glob("*.py"))
        if path.stem not in SOLVING_APART
    ),
    "commons.cavage",
    "commons.money",
    "commons.proofs",
    "commons.signatures",
    "crawler.vocabulary",
)
Rule = Callable[[str], list[str]]


def relative(path: Path) -> str:
    return str(path.relative_to(house.REPOSITORY))


def violations(rule: Rule, files: list[Path]) -> list[str]:
    """What the rule finds, with the file in which it stands."""
    assert files, "a rule without files holds nothing"
    return [
        f"{relative(path)}: {finding}"
        for path in files
        for finding in rule(path.read_text(encoding="utf-8"))
    ]


def of_package(name: str) -> list[Path]:
    return [path for path in house.sources() if relative(path).startswith(f"{name}/")]


def run_import_linter(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "lint-imports"
    command = [str(program), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_imports_point_one_way() -> None:
    result = run_import_linter(house.REPOSITORY)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("commons/backwards.py", "import api.commands"),
        ("marketplace/backwards.py", "import crawler"),
        ("clearing/backwards.py", "import marketplace"),
        ("clearing/sideways.py", "import crawler"),
        ("api/sideways.py", "import demo"),
    ],
)
def test_an_import_in_the_wrong_direction_is_found(tmp_path: Path, module: str, line: str) -> None:
    for path in house.sources():
        if relative(path).startswith(house.PACKAGES):
            copy = tmp_path / relative(path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    shutil.copyfile(house.REPOSITORY / "pyproject.toml", tmp_path / "pyproject.toml")
    (tmp_path / module).write_text(f'"""Planted."""\n\n{line}\n', encoding="utf-8")
    result = run_import_linter(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert Path(module).stem in result.stdout


def test_modules_and_functions_are_short() -> None:
    assert violations(house.too_long, house.sources()) == []


def test_no_file_has_a_vague_name() -> None:
    names = {relative(path): {path.stem, path.parent.name} for path in house.sources()}
    assert [name for name, words in names.items() if words & house.VAGUE_NAMES] == []


def test_no_handler_swallows_an_error() -> None:
    assert violations(house.silent_handlers, house.sources()) == []


def test_no_test_is_timed() -> None:
    assert violations(house.stopwatches, of_package("tests")) == []


def test_no_float_comes_near_the_clearing() -> None:
    assert violations(house.floats, of_package("clearing")) == []


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_does_no_input_or_output(module: str) -> None:
    path = house.module_file(module)
    assert path is not None, f"{module} is gone: name what took its place"
    files = of_package(relative(path.parent)) if path.name == "__init__.py" else [path]
    assert violations(house.input_and_output, files) == []


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (house.too_long, "x = 1\n" * 401),
        (house.too_long, "def f():\n" + "    x = 1\n" * 69),
        (house.silent_handlers, "try:\n    f()\nexcept ValueError:\n    pass\n"),
        (house.silent_handlers, "try:\n    f()\nexcept ValueError:\n    ...\n"),
        (house.stopwatches, "import time\nstarted = time.perf_counter()\n"),
        (house.floats, "rate = 0.5\n"),
        (house.floats, "rate = float(text)\n"),
        (house.floats, "rates = numpy.zeros(3, dtype=numpy.float64)\n"),
        (house.input_and_output, "import socket\n"),
        (house.input_and_output, "from urllib.request import urlopen\n"),
        (house.input_and_output, "from urllib import request\n"),
        (house.input_and_output, "import commons.database\n"),
        (house.input_and_output, "from commons import groups\n"),
        (house.input_and_output, "text = open('file').read()\n"),
    ],
)
def test_a_planted_violation_is_found(rule: Rule, source: str) -> None:
    assert rule(source)


def test_lock_files_hold_hashes_and_no_address() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (house.REPOSITORY / name).read_text(encoding="utf-8")
        assert "://" not in text, name
        assert not re.search(r"^\s*-(?!-hash=sha256:)", text, re.MULTILINE), name
        blocks = re.split(r"\n(?=[a-z0-9])", text)
        pinned = [block for block in blocks if re.match(r"[a-z0-9._-]+==", block)]
        assert pinned, name
        assert [block for block in pinned if "--hash=sha256:" not in block] == [], name


def test_the_tests_run_on_what_the_service_runs_on() -> None:
    locks = ("requirements.lock", "requirements-dev.lock")
    service, development = (
        set(re.findall(r"^[a-z0-9._-]+==\S+", (house.REPOSITORY / name).read_text(), re.MULTILINE))
        for name in locks
    )
    # The lock of the service holds the build's tools besides, which only its own step installs.
    clashing = {pin.split("==")[0] for pin in service ^ development}
    both = {pin.split("==")[0] for pin in service} & {pin.split("==")[0] for pin in development}
    assert clashing & both == set()


@pytest.mark.parametrize("pattern", [house.MACHINE_PATH, house.INDEX_ADDRESS])
def test_no_file_names_a_machine_or_a_package_index(pattern: re.Pattern[str]) -> None:
    rules = {Path(__file__), Path(house.__file__)}
    found = [
        f"{relative(path)}: {match.group()}"
        for path in house.project_files()
        if path not in rules
        and (match := pattern.search(path.read_text(encoding="utf-8", errors="replace")))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (house.MACHINE_PATH, "see /home/somebody/notes"),
        (house.MACHINE_PATH, f'Path("{"/"}work/tree")'),
        (house.INDEX_ADDRESS, "--index" + "-url https://packages.example/simple"),
        (house.INDEX_ADDRESS, "fetched from https://pypi.org/project/x"),
    ],
)
def test_a_planted_address_is_found(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)


def test_every_decision_is_in_the_index_and_has_its_three_parts() -> None:
    folder = house.REPOSITORY / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    pages = sorted(folder.glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for number, page in enumerate(pages, start=1):
        lines = page.read_text(encoding="utf-8").splitlines()
        title = lines[0].removeprefix(f"# {number}. ")
        assert f"| [{number}]({page.name}) | {title.split(';')[0]}" in index, page.name
        parts = [line for line in lines if line.startswith("## ")]
        assert parts == ["## Context", "## Decision", "## Consequences"], page.name
