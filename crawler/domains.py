"""The one spelling of a domain, so that a block holds for every way to write it; pure.

By UTS #46 with the transitional mapping: ß is ss, and joiners vanish. Two domains that only old
software takes for one are so blocked together, since the same person may hold either.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import unquote

import idna

from commons.errors import InvalidError

_SCHEME: Final = re.compile(r"(?:https?:/*|[a-z][a-z0-9+.-]*://|//)", re.IGNORECASE)
_AUTHORITY_END: Final = re.compile(r"[/?#]")
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LONGEST: Final = 253
_DEVIATIONS: Final = str.maketrans({"ß": "ss", "ς": "\u03c3", "\u200c": None, "\u200d": None})
_IPV4_PARTS: Final = 4
_BYTE: Final = 256


@lru_cache(maxsize=20_000)
def canonical(written: str) -> str:
    """Return the one spelling of a domain or address, which may stand in a URL or an account.

    Names are in lower-case ASCII without a dot at either end; IPv4 as four decimal numbers, IPv6
    as RFC 5952 writes it, and an IPv4 address inside IPv6 as IPv4. Raises InvalidError.
    """
    host = _host(written)
    if ":" in host:
        return _ipv6(host)
    name = _ascii(host)
    return _ipv4(name) if _NUMBER.fullmatch(name.rpartition(".")[2]) else name


@lru_cache(maxsize=20_000)
def covering(written: str) -> tuple[str, ...]:
    """Return the domains whose block covers what stands at an address: itself and those above.

    Empty where no domain is written.
    """
    try:
        name = canonical(written)
    except InvalidError:
        return ()
    if is_address(name):
        return (name,)
    labels = name.split(".")
    return tuple(".".join(labels[start:]) for start in range(len(labels)))


def is_address(name: str) -> bool:
    """Tell whether a canonical spelling is that of an IP address."""
    return ":" in name or name.rpartition(".")[2].isdigit()


def _host(written: str) -> str:
    """Return the host within what was written, without wildcard, port and user."""
    text = written.strip().replace("\\", "/")
    scheme = _SCHEME.match(text)
    authority = _AUTHORITY_END.split(text[scheme.end() :] if scheme else text, maxsplit=1)[0]
    host = unquote(authority.rpartition("@")[2])
    if host.startswith("["):
        return host[1:].partition("]")[0].partition("%")[0]
    if host.count(":") > 1:
        return host.partition("%")[0]
    name, _, port = host.partition(":")
    if port and not port.isdecimal():
        raise _invalid()
    return name.removeprefix("*.")


def _ascii(host: str) -> str:
    mapped = _mapped(host)
    if "xn--" in mapped:
        mapped = _mapped(".".join(map(_decoded, mapped.split("."))))
    name = ".".join(map(_encoded, mapped.strip(".").split(".")))
    if len(name) > _LONGEST:
        raise _invalid()
    return name


def _mapped(name: str) -> str:
    try:
        return idna.uts46_remap(name, std3_rules=False).translate(_DEVIATIONS)
    except idna.IDNAError as error:
        raise _invalid() from error


def _decoded(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except UnicodeError as error:
        raise _invalid() from error


def _encoded(label: str) -> str:
    encoded = label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")
    if not _LABEL.fullmatch(encoded):
        raise _invalid()
    return encoded


def _ipv4(name: str) -> str:
    """Read an IPv4 address as resolvers do: one to four numbers, the last filling what is left."""
    parts = name.split(".")
    if len(parts) > _IPV4_PARTS:
        raise _invalid()
    *firsts, last = map(_number, parts)
    room = _BYTE ** (_IPV4_PARTS - len(firsts))
    if last >= room or any(first >= _BYTE for first in firsts):
        raise _invalid()
    for place, first in enumerate(firsts):
        last += first * _BYTE ** (_IPV4_PARTS - 1 - place)
    return str(IPv4Address(last))


def _number(written: str) -> int:
    is_hex, is_octal = written.startswith("0x"), written.startswith("0")
    try:
        if is_hex:
            return int(written[2:] or "0", 16)
        return int(written, 8 if is_octal else 10)
    except ValueError as error:
        raise _invalid() from error


def _ipv6(host: str) -> str:
    try:
        address = IPv6Address(host)
    except ValueError as error:
        raise _invalid() from error
    return str(address.ipv4_mapped or address)


def _invalid() -> InvalidError:
    return InvalidError("domain", "must be a domain name or an IP address")
