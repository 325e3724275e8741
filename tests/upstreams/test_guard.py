"""Connections are made to global addresses and to the networks that the operator allows, and to no other."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore
import pytest
from draftline_server.upstreams.guard import AddressRefusedError, Guard, GuardedBackend
from hypothesis import given
from hypothesis import strategies as st

INTERNAL = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "100.64.0.1", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.8", "192.168.1.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255", "192.88.99.1", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
    "2001:db8::1", "2001::1", "100::1", "3fff::1", "0.1.2.3", "192.0.2.1", "198.51.100.1", "203.0.113.1", "5f00::1",
]  # fmt: skip
DISGUISED = [
    "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::7f00:1",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1::", "2a00:1450::5efe:10.0.0.1", "2a00:1450::200:5efe:10.0.0.1",
    "::ffff:0:127.0.0.1", "::ffff:0.0.0.0", "64:ff9b::", "2002:6440:1::",
]  # fmt: skip
GLOBAL = [
    "93.184.216.34",
    "8.8.8.8",
    "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]
# Names that the resolver of a system takes for addresses.
TYPED = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "0",
    "::1",
    "0x7f000001",
    "127.0.1",
    "017700000001",
    "169.254.43518",
    "0xa9fea9fe",
    "::ffff:127.1.2.3",
    "0x0",
]


@pytest.mark.parametrize("address", [*INTERNAL, *DISGUISED])
def test_internal_address_is_refused_in_any_disguise(address: str) -> None:
    assert not Guard().permits(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", GLOBAL)
def test_global_address_is_permitted(address: str) -> None:
    assert Guard().permits(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", TYPED)
async def test_name_that_the_system_takes_for_an_internal_address_is_refused(host: str) -> None:
    with pytest.raises(AddressRefusedError):
        await Guard().addresses(host, 443)


@given(st.ip_addresses(v=4))
def test_address_inside_of_another_is_judged_like_itself(address: ipaddress.IPv4Address) -> None:
    alone, number = Guard().permits(address), int(address)
    forms = [0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80 | 1]
    assert [Guard().permits(ipaddress.IPv6Address(form)) for form in forms] == [alone] * 3


@given(st.ip_addresses())
def test_permitted_address_is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if Guard().permits(address) and address.version == 4:
        assert address.is_global
        assert not address.is_multicast


def test_networks_permit_their_own_addresses_and_no_others() -> None:
    guard = Guard([ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")])
    addresses = ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1", "10.2.0.1", "2002:a01:203::", "::1"]
    assert [guard.permits(ipaddress.ip_address(each)) for each in addresses] == [True] * 4 + [False] * 3


class Recorded(httpcore.AsyncNetworkBackend):
    """A network that notes the hosts to which connections are made; those in `refusing` do not accept."""

    def __init__(self, refusing: Sequence[str] = ()) -> None:
        self.hosts: list[str] = []
        self.names: list[str | None] = []
        self._refusing = refusing

    async def connect_tcp(self, host: str, port: int, *others: Any) -> httpcore.AsyncNetworkStream:
        self.hosts.append(host)
        if host in self._refusing:
            raise httpcore.ConnectError("refused")
        return _Stream(self)

    async def sleep(self, seconds: float) -> None:
        pass


class _Stream(httpcore.AsyncMockStream):
    def __init__(self, network: Recorded) -> None:
        super().__init__([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n", b"ok"])
        self._network = network

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, *others: Any, **named: Any
    ) -> httpcore.AsyncNetworkStream:
        self._network.names.append(server_hostname)
        return self


def resolving(*answers: Sequence[str]) -> Any:
    """Return a resolver that gives one answer after another."""
    remaining = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return remaining.pop(0)

    return resolve


async def get(network: Recorded, answers: Iterable[Sequence[str]]) -> None:
    backend = GuardedBackend(Guard(resolve=resolving(*answers)), network)
    async with httpcore.AsyncConnectionPool(network_backend=backend) as pool:
        await pool.request("GET", "https://api.example.com/")
        await pool.request("GET", "https://api.example.com/")


async def test_connection_goes_to_the_checked_address_and_tls_verifies_the_name() -> None:
    network = Recorded()
    await get(network, [["8.8.8.8"], ["8.8.4.4"]])
    assert (network.hosts, network.names) == (["8.8.8.8", "8.8.4.4"], ["api.example.com"] * 2)


async def test_name_that_is_bound_to_another_address_later_is_refused_then() -> None:
    network = Recorded()
    with pytest.raises(httpcore.ConnectError, match="neither global nor in `networks`"):
        await get(network, [["8.8.8.8"], ["127.0.0.1"]])
    assert network.hosts == ["8.8.8.8"]


async def test_name_with_one_internal_address_among_global_ones_is_refused() -> None:
    network = Recorded()
    with pytest.raises(httpcore.ConnectError):
        await get(network, [["8.8.8.8", "169.254.169.254"]])
    assert network.hosts == []


async def test_next_address_is_tried_if_one_does_not_accept() -> None:
    network = Recorded(refusing=["8.8.8.8"])
    await get(network, [["8.8.8.8", "8.8.4.4"]] * 2)
    assert network.hosts == ["8.8.8.8", "8.8.4.4"] * 2
