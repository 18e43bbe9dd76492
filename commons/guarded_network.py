"""Connections that are opened to exactly the addresses that were checked."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import httpcore2

from commons.addresses import check_addresses

Resolve = Callable[[str, int], Awaitable[list[str]]]

TRIED_MOST: Final = 8
"""Addresses of one host that are tried; a name that has a thousand would have us knock at all."""


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver, in a thread, for all addresses of a host."""
    answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in answers))


class GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """Opens connections for the HTTP client, to exactly the addresses that it has checked.

    The client goes on knowing the host by its name, which TLS and the Host header carry.
    """

    def __init__(
        self, network: httpcore2.AsyncNetworkBackend, resolve: Resolve, *, allow_loopback: bool
    ) -> None:
        self._network = network
        self._resolve = resolve
        self._allow_loopback = allow_loopback

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve once, refuse unless every answer is allowed, and connect to an answer."""
        answers = await self._resolve(host, port)
        allowed = check_addresses(host, answers, allow_loopback=self._allow_loopback)
        addresses = allowed[:TRIED_MOST]
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue  # the next address may answer
        return await self._network.connect_tcp(
            str(addresses[-1]), port, timeout, local_address, socket_options
        )
