"""Which URLs and network addresses may be connected to; pure, nothing is resolved here.

The tables are our own: `ipaddress.is_global` calls `::127.0.0.1`, `64:ff9b::7f00:1`,
`2002:7f00:1::`, `fec0::1`, `224.0.0.1` and `192.88.99.1` global on CPython 3.11.
"""

import re
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Final

import httpx2

from commons.errors import AddressRefusedError

Address = IPv4Address | IPv6Address

# IANA's IPv4 special-purpose registry, whole, with multicast and the reserved rest.
_IPV4_REFUSED: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Only what IANA has opened as global unicast, less what is special within it.
_IPV6_GLOBAL: Final = IPv6Network("2000::/3")
_IPV6_REFUSED: Final = tuple(
    IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48")
)
_LOOPBACK_IPV4: Final = IPv4Network("127.0.0.0/8")
_LOOPBACK_IPV6: Final = IPv6Address("::1")

_HTTPS_PORT: Final = 443
_DEFAULT_PORTS: Final = {"https": _HTTPS_PORT, "http": 80}
_PORT_MAX: Final = 65535
_URL_MAX_CHARS: Final = 2048
_NAME: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9-]{1,63}\.?")
_AUTHORITY_END: Final = re.compile(r"[/?#]")
# A last label such as 1, 010 or 0x7f makes resolvers read the whole name as an IPv4 number.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True)
class Target:
    """A URL that may be asked for, taken apart as it goes on the wire.

    `url` has no fragment, and is what a signature covers as `@target-uri`; `authority` is the
    Host header and the key of what is remembered per host.
    """

    url: str
    scheme: str
    host: str
    port: int
    authority: str
    path: str


def is_public(address: Address) -> bool:
    """Tell whether the address is an ordinary one of the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _IPV4_REFUSED)
    return (
        address.scope_id is None
        and address in _IPV6_GLOBAL
        and not any(address in network for network in _IPV6_REFUSED)
    )


def is_loopback(address: Address) -> bool:
    """Tell whether the address is this machine's own, written plainly and not embedded."""
    if isinstance(address, IPv4Address):
        return address in _LOOPBACK_IPV4
    return address == _LOOPBACK_IPV6


def names_loopback(host: str) -> bool:
    """Tell whether a host is written as an address of this machine's own."""
    address = _literal(host)
    return address is not None and is_loopback(address)


def check_addresses(host: str, texts: list[str], *, allow_loopback: bool) -> list[Address]:
    """Return all addresses that a host resolved to, or raise AddressRefusedError.

    One address that may not be connected to refuses them all, since which one of a mixed answer
    is used must not depend on luck.
    """
    if not texts:
        msg = f"{host} has no address"
        raise AddressRefusedError(msg)
    addresses = [_literal(text) for text in texts]
    for text, address in zip(texts, addresses, strict=True):
        if address is None or not (is_public(address) or (allow_loopback and is_loopback(address))):
            msg = f"{host} is at {text}, which is not a public address"
            raise AddressRefusedError(msg)
    return [address for address in addresses if address is not None]


def read_target(url: str, *, allow_loopback: bool) -> Target:
    """Take a URL apart, or raise AddressRefusedError where it may not be asked for.

    https on port 443 without userinfo; http and other ports only with `allow_loopback`. An IP
    address must stand in its plain spelling and be one that may be connected to.
    """
    if len(url) > _URL_MAX_CHARS:
        msg = f"a URL of more than {_URL_MAX_CHARS} characters is not fetched"
        raise AddressRefusedError(msg)
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as error:
        msg = f"{url!r} is no URL: {error}"
        raise AddressRefusedError(msg) from error
    if parsed.userinfo or "@" in _AUTHORITY_END.split(url.partition("//")[2], maxsplit=1)[0]:
        msg = f"{url!r} names a user"
        raise AddressRefusedError(msg)
    port = _checked_port(parsed, allow_loopback=allow_loopback)
    host = parsed.raw_host.decode("ascii").lower()
    _check_host(host, allow_loopback=allow_loopback)
    authority = parsed.netloc.decode("ascii").lower()
    path = parsed.raw_path.decode("ascii")
    return Target(
        url=f"{parsed.scheme}://{authority}{path}",
        scheme=parsed.scheme,
        host=host,
        port=port,
        authority=authority,
        path=path,
    )


def _checked_port(url: httpx2.URL, *, allow_loopback: bool) -> int:
    if url.scheme != "https" and not (allow_loopback and url.scheme == "http"):
        msg = f"{str(url)!r} is not https"
        raise AddressRefusedError(msg)
    port = _DEFAULT_PORTS[url.scheme] if url.port is None else url.port
    if port != _HTTPS_PORT and not (allow_loopback and 0 < port <= _PORT_MAX):
        msg = f"port {port} is not asked"
        raise AddressRefusedError(msg)
    return port


def _check_host(host: str, *, allow_loopback: bool) -> None:
    if _literal(host) is not None:
        check_addresses(host, [host], allow_loopback=allow_loopback)
        return
    labels = host.removesuffix(".").split(".")
    if not _NAME.fullmatch(host) or _NUMBER.fullmatch(labels[-1]):
        msg = f"{host!r} is neither a name nor a plainly written address"
        raise AddressRefusedError(msg)


def _literal(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
