"""Statements and proofs of inclusion as they are read from files, every field of them known."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from commons.errors import MalformedError
from commons.json_reading import read_json
from commons.money import CLEARING_SCALE, format_amount

_AMOUNT: Final = re.compile(rf"-?[0-9]{{1,16}}\.[0-9]{{{CLEARING_SCALE}}}")

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[int, Field(ge=0, lt=2**53)]
Amount = Annotated[str, Field(pattern=rf"^-?[0-9]{{1,16}}\.[0-9]{{{CLEARING_SCALE}}}$")]
Content = dict[str, str] | list[Annotated[list[str], Field(min_length=2, max_length=2)]]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Point(_Part):
    """An account after a version."""

    version: Version
    balance: Amount
    head: Hash


class Payment(_Part):
    """A transfer as the hubs see it."""

    payer: str
    payee: str
    description: str
    payer_amount: str
    payer_currency: str
    payee_amount: str
    payee_currency: str
    payer_rate: str
    payee_rate: str
    levy: Amount
    reverses: str | None


class Line(_Part):
    """One version of an account."""

    version: Version
    journal: str
    kind: str
    counterparty: str
    amount: Amount
    balance: Amount
    time: str
    value_date: str
    digest: Hash
    hash: Hash
    content: Content
    payment: Payment | None
    note: str | None
    key: str | None


class Statement(_Part):
    """A page of a statement; `proof` is the service's signature."""

    service: str
    account: str
    union: str
    start: str = Field(alias="from")
    end: str = Field(alias="to")
    page: int
    opening: Point
    lines: list[Line]
    closing: Point
    next: str | None
    proof: dict[str, Any] | None = None


class Root(_Part):
    """The published root of a day."""

    service: str
    day: str
    accounts: Version
    root: Hash
    previous: Hash
    hash: Hash
    proof: dict[str, Any] | None = None


class Inclusion(_Part):
    """An account at the end of a day, with the way to the root that was published."""

    account: str
    union: str
    version: Version
    head: Hash
    index: Version
    path: list[Hash]
    published: Root


Document = TypeVar("Document", Statement, Inclusion)


@dataclass(frozen=True)
class Read(Generic[Document]):
    """A document with the file that it is from; `raw` is what its proof was made over."""

    file: str
    document: Document
    raw: dict[str, Any]


def read_statement(file: str, text: bytes) -> Read[Statement]:
    """Read a statement as JSON, or raise MalformedError, naming the row where there is one."""
    raw = read_object(file, text)
    return Read(file, _validated(file, Statement, raw), raw)


def read_inclusion(file: str, text: bytes) -> Read[Inclusion]:
    """Read a proof of inclusion, or raise MalformedError."""
    raw = read_object(file, text)
    return Read(file, _validated(file, Inclusion, raw), raw)


def minor(amount: str) -> int:
    """Return a decimal string of clearing units in smallest units.

    Raises ValueError where it is not written as the service writes it.
    """
    number = int(amount.replace(".", ""))
    if not _AMOUNT.fullmatch(amount) or format_amount(number, CLEARING_SCALE) != amount:
        raise ValueError(f"{amount!r} is no amount as the service writes it")
    return number


def read_object(file: str, text: bytes) -> dict[str, Any]:
    """Read a JSON object of any size, or raise MalformedError that names the file."""
    try:
        raw = read_json(text, len(text))  # one's own file may be as large as one likes
    except MalformedError as error:
        raise MalformedError(f"{file}: {error.detail}") from error
    if not isinstance(raw, dict):
        raise MalformedError(f"{file}: is no JSON object")
    return raw


def _validated(file: str, model: type[Document], raw: dict[str, Any]) -> Document:
    try:
        return model.model_validate(raw, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = _where(first["loc"], raw)
        raise MalformedError(f"{file}: {where}: {first['msg']}") from error


def _where(place: tuple[int | str, ...], raw: dict[str, Any]) -> str:
    """Name a place in a document: by account and version where it is in a line."""
    match place:
        case ("lines", int(number), *rest):
            line = raw["lines"][number]
            version = line.get("version") if isinstance(line, dict) else None
            field = ".".join(str(part) for part in rest)
            return f"account {raw.get('account')}: version {version}: {field}"
        case _:
            return ".".join(str(part) for part in place)
