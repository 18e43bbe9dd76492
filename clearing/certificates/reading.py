"""Certificates as they are read from files, every field of them known."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clearing import chain
from clearing.certificates.leaves import AMOUNTS, Price, Row
from clearing.verifying.documents import Hash, read_object
from commons.errors import MalformedError
from commons.money import CLEARING_SCALE

_AMOUNT: Final = rf"(0|[1-9][0-9]{{0,14}})\.[0-9]{{{CLEARING_SCALE}}}"
_NAME: Final = re.compile(r"(residue/)?[a-z0-9-]{1,40}")
_SALT: Final = re.compile(r"[0-9a-f]{64}")
_ROW: Final = {
    "debtor": _NAME,
    "creditor": _NAME,
    **dict.fromkeys(AMOUNTS, re.compile(_AMOUNT)),
    "released": re.compile("-?" + _AMOUNT),
    "salt": _SALT,
}
_PRICE: Final = {"account": _NAME, "price": re.compile("0|-?[1-9][0-9]{0,18}"), "salt": _SALT}

Count = Annotated[int, Field(ge=0, lt=2**53)]
Moment = Annotated[
    str, Field(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}\.[0-9]{6}Z$")
]
Amount = Annotated[str, Field(pattern=f"^{_AMOUNT}$")]
SignedAmount = Annotated[str, Field(pattern=f"^-?{_AMOUNT}$")]

Form = TypeVar("Form", bound=BaseModel)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rules(_Part):
    """What the round was solved under."""

    credit_lines: bool
    amended: bool


class Queue(_Part):
    """How many queued payments there were, and what was released of them."""

    waiting: Count
    released: Count
    value: Amount
    bound: Amount
    exact: bool


class Public(_Part):
    """What everybody may see of a round; `proof` is the service's signature."""

    service: Annotated[str, Field(pattern=r"^https?://[!-~]{1,300}$")]
    round: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    union: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
    number: Count
    proposed_at: Moment
    committed_at: Moment
    rules: Rules
    accounts: Count
    rows: Count
    root: Hash
    obligations_total: Amount
    net_internal_debt: Amount
    cleared: Amount
    drawn: Amount
    bound: SignedAmount  # below 0 where more is drawn, for queued payments, than is set off
    queue: Queue
    previous: Hash
    hash: Hash
    proof: dict[str, Any] | None = None


class _Place(_Part):
    index: Count
    path: Annotated[list[Hash], Field(max_length=64)]


class _Slice(_Part):
    form: Literal["slice"]
    group: Annotated[str, Field(pattern=f"^{_NAME.pattern}$")]
    rows: list[dict[str, Any]]
    prices: list[dict[str, Any]]
    public: Public


class _Full(_Part):
    form: Literal["full"]
    rows: list[dict[str, Any]]
    prices: list[dict[str, Any]]
    public: Public


class Leaf(NamedTuple):
    """A leaf as it was told; `content` is what is hashed, `place` and `path` a slice's alone."""

    told: Row | Price
    content: bytes
    place: int = -1
    path: Sequence[bytes] = ()


@dataclass(frozen=True)
class File:
    """A certificate with the file that it is from; `raw` is the public document as it was read.

    `group` is whose slice it is, None for another form. Both leaves are None where the file holds
    the public document alone.
    """

    name: str
    raw: Mapping[str, Any]
    public: Public
    group: str | None = None
    rows: list[Leaf] | None = None
    prices: list[Leaf] | None = None


def read(name: str, text: bytes) -> File:
    """Read any of the three forms, or raise MalformedError that names the row where there is one.

    `name` is how the file is told of.
    """
    raw = read_object(name, text)
    form: type[Public | _Slice | _Full] = Public
    if "form" in raw:
        form = _Slice if raw["form"] == "slice" else _Full
    try:
        found = _validated(form, raw)
        if isinstance(found, Public):
            return File(name, raw, found)
        group = found.group if isinstance(found, _Slice) else None
        take = _leaf if group is None else _placed
        rows = [take(leaf, _ROW, found.public.round) for leaf in raw["rows"]]
        prices = [take(leaf, _PRICE, found.public.round) for leaf in raw["prices"]]
    except MalformedError as error:
        raise MalformedError(f"{name}: {error.detail}") from error
    return File(name, raw["public"], found.public, group, rows, prices)


def minor(amount: str) -> int:
    """Return an amount as it is written in a certificate in smallest clearing units."""
    return int(amount.replace(".", ""))


def _leaf(leaf: Mapping[str, Any], fields: Mapping[str, re.Pattern[str]], round_id: str) -> Leaf:
    for name, pattern in fields.items():
        value = leaf.get(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise MalformedError(f"{_named(leaf)}: {name}: is not written as the service writes it")
    if len(leaf) > len(fields):
        raise MalformedError(f"{_named(leaf)}: {min(leaf.keys() - fields)}: is no field of it")
    return Leaf(_told(leaf), chain.canonical({"round": round_id, **leaf}))


def _placed(leaf: Mapping[str, Any], fields: Mapping[str, re.Pattern[str]], round_id: str) -> Leaf:
    salted, place = dict(leaf), {}
    for name in _Place.model_fields.keys() & leaf:
        place[name] = salted.pop(name)
    found = _leaf(salted, fields, round_id)
    try:
        told = _validated(_Place, place)
    except MalformedError as error:
        raise MalformedError(f"{_named(leaf)}: {error.detail}") from error
    return found._replace(place=told.index, path=[bytes.fromhex(one) for one in told.path])


def _told(leaf: Mapping[str, str]) -> Row | Price:
    if "account" in leaf:
        return Price(leaf["account"], int(leaf["price"]))
    return Row(leaf["debtor"], leaf["creditor"], *[minor(leaf[name]) for name in AMOUNTS])


def _named(leaf: Mapping[str, Any]) -> str:
    if "account" in leaf:
        return f"price of {_shown(leaf['account'])}"
    return f"row {_shown(leaf.get('debtor'))} owes {_shown(leaf.get('creditor'))}"


def _shown(name: object) -> str:
    """Return a name for a sentence; one that is none could hold anything, so it is quoted."""
    return name if isinstance(name, str) and _NAME.fullmatch(name) else ascii(name)[:60]


def _validated(form: type[Form], raw: Mapping[str, Any]) -> Form:
    try:
        return form.model_validate(raw, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise MalformedError(f"{where}: {first['msg']}") from error
