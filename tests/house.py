"""The house rules as functions from source text to violations, so that each can be seen to fail."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("commons", "marketplace", "clearing", "crawler", "api", "demo", "bench")
LONGEST_MODULE = 400
LONGEST_FUNCTION = 69
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "misc"}
INPUT_OUTPUT = {
    "alembic", "asyncio", "fastapi", "fcntl", "glob", "http.client", "http.server", "httpx2",
    "io", "logging", "os", "pathlib", "psycopg2", "pydantic_settings", "requests", "select",
    "shutil", "signal", "socket", "socketserver", "sqlalchemy", "sqlite3", "ssl", "starlette",
    "structlog", "subprocess", "tantivy", "tempfile", "threading", "urllib.request", "uvicorn",
}  # fmt: skip
# The lines in which a path of somebody's machine or a package index would stand.
MACHINE_PATH = re.compile(r"(?<![\w.:/}*)-])/(?:work|root|home|Users)/[\w.]")
INDEX_ADDRESS = re.compile(
    r"https?://\S*(?:pypi|pythonhosted|/simple\b)|^\s*--(?:extra-)?(?:index-url|find-links)",
    re.MULTILINE,
)
OUTSIDE_THE_PROJECT = {"data", "dist", "build"}
KEPT_THOUGH_HIDDEN = {".ci", ".gitignore", ".dockerignore", ".github"}


def sources() -> list[Path]:
    """Every Python file of the project, its tests too."""
    return [path for path in project_files() if path.suffix == ".py"]


def project_files() -> list[Path]:
    """Every file that belongs to the project: not caches, environments, data or version control."""
    return [
        path
        for top in sorted(REPOSITORY.iterdir())
        if top.name not in OUTSIDE_THE_PROJECT
        and (not top.name.startswith(".") or top.name in KEPT_THOUGH_HIDDEN)
        for path in ([top] if top.is_file() else sorted(top.rglob("*")))
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path)
    ]


def module_file(module: str) -> Path | None:
    """File of a module of ours, None for everybody else's."""
    base = REPOSITORY / module.replace(".", "/")
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.exists()), None)


def too_long(source: str) -> list[str]:
    """The module or its functions, where longer than the house allows; docstrings count."""
    lines = len(source.splitlines())
    found = [f"module of {lines} lines"] if lines > LONGEST_MODULE else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                found.append(f"{node.name} of {length} lines")
    return found


def silent_handlers(source: str) -> list[str]:
    """The `except` clauses that swallow what happened without a trace."""
    return [
        f"line {node.lineno}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ExceptHandler) and all(_says_nothing(line) for line in node.body)
    ]


def _says_nothing(statement: ast.stmt) -> bool:
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Pass)


def floats(source: str) -> list[str]:
    """Where a binary fraction can come in: literals, `float` itself, numpy's float types."""
    return [
        f"line {node.lineno}"
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Name) and node.id == "float")
        or (isinstance(node, ast.Attribute) and re.fullmatch(r"float\d*|double", node.attr))
    ]


def stopwatches(source: str) -> list[str]:
    """Where a test reads a clock that only tells how long something took."""
    clocks = {"perf_counter", "perf_counter_ns", "process_time", "thread_time"}
    return [
        f"line {node.lineno}: {node.attr if isinstance(node, ast.Attribute) else node.id}"
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Attribute) and node.attr in clocks)
        or (isinstance(node, ast.Name) and node.id in clocks)
    ]


def input_and_output(source: str) -> list[str]:
    """Imports and calls that reach outside, in the module and in all of ours that it imports."""
    found: list[str] = []
    waiting, seen = [("itself", source)], {source}
    while waiting:
        name, text = waiting.pop()
        tree = ast.parse(text)
        found += [
            f"{name}: {node.id}() in line {node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and node.id in {"open", "print", "input"}
        ]
        for module in imported(tree):
            if any(module == known or module.startswith(f"{known}.") for known in INPUT_OUTPUT):
                found.append(f"{name}: {module}")
            path = module_file(module)
            text = path.read_text(encoding="utf-8") if path else ""
            if text not in seen:
                seen.add(text)
                waiting.append((module, text))
    return found


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all imports, of modules and of what is taken out of them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
