"""The guard against addresses of internal networks (server-side request forgery).

A name is resolved once. Every address that it resolves to must be global or in a network that the operator's file
allows, and the connection goes to one of these addresses, so a name that resolves differently the next time has no
effect. TLS still verifies the name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

import httpcore

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# Special-purpose networks (IANA) that `is_global` of older versions of Python does not know.
SPECIAL = [
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "2001:10::/28", "3fff::/20")
]
LOW_32_BITS = 0xFFFFFFFF
ISATAP, ISATAP_MASK = 0x5EFE, 0xFDFFFFFF  # RFC 5214, section 6.1: the upper half of the interface identifier


class AddressRefusedError(OSError):
    """A name has an address to which no connection may be made."""


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name by the resolver of the system. Raises OSError if there are none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Guard:
    """Resolves names, and rejects those with an address that is neither global nor in `networks`."""

    def __init__(self, networks: Iterable[Network] = (), resolve: Resolve = system_resolver) -> None:
        self._networks = tuple(networks)
        self._resolve = resolve

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name. Raise AddressRefusedError if any is refused, OSError if there are none."""
        found = await self._resolve(host, port)
        if not found:
            raise OSError("the name has no address")
        for text in found:
            if "%" in text or not self.permits(ipaddress.ip_address(text)):
                raise AddressRefusedError("the name has an address that is neither global nor in `networks`")
        return found

    def permits(self, address: Address) -> bool:
        """Return whether connections to an address may be made, with the IPv4 address that it contains, if any."""
        contained = _contained(address)
        if isinstance(address, ipaddress.IPv6Address) and contained and (address.ipv4_mapped or address in NAT64):
            return self.permits(contained)  # reaches only that address
        if _is_within(address, self._networks):
            return True
        return _is_global(address) and (contained is None or _is_global(contained))


def _contained(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address to which a gateway may translate an IPv6 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    number = int(address)
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in NAT64 or (number >> 32 & ISATAP_MASK) == ISATAP:
        return ipaddress.IPv4Address(number & LOW_32_BITS)
    return address.sixtofour


def _is_within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _is_global(address: Address) -> bool:
    if _is_within(address, SPECIAL):
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return address in GLOBAL_UNICAST and address.is_global
    return address.is_global and not address.is_multicast


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects HTTP connections to the addresses that a guard permits. Unix sockets are not supported."""

    def __init__(self, guard: Guard, inner: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._guard = guard
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the interface of httpcore
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the name that accepts."""
        try:
            addresses = await self._guard.addresses(host, port)
        except OSError as error:
            raise httpcore.ConnectError(_problem(error)) from None
        problem: Exception = httpcore.ConnectError("the name has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await self._inner.sleep(seconds)


def _problem(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the name cannot be resolved"
    return str(error)
