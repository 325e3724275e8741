"""Check the address of a service before a command calls it."""

from __future__ import annotations

import re

import click

EXAMPLE = "127.0.0.1:50051"
TARGETS = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds")  # schemes of gRPC
_HOST_AND_PORT = re.compile(r"(?:\[[^\[\]\s]+\]|[^\[\]:/\s]+):(\d{1,5})", re.ASCII)


def check_address(address: str) -> None:
    """Raise UsageError unless the address is a host and a port, or a target of gRPC such as unix:/run/d.sock."""
    scheme, separator, rest = address.partition("://")
    if separator and scheme.lower() not in TARGETS:
        hint = "; pass --ca for TLS" if scheme.lower() in ("https", "grpcs") else ""
        example = rest.partition("/")[0]
        example = example if _HOST_AND_PORT.fullmatch(example) else EXAMPLE
        raise click.UsageError(f"--address is a host and a port, such as {example}, without {scheme}://{hint}")
    if address.partition(":")[0].lower() in TARGETS and not _HOST_AND_PORT.fullmatch(address):
        return
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None or not 0 < int(found[1]) < 2**16:
        ipv6 = "; an IPv6 address is written in brackets: [::1]:50051" if address.count(":") > 1 else ""
        raise click.UsageError(
            f"--address is a host and a port from 1 to 65535, such as {EXAMPLE}; {address!r} is not{ipv6}"
        )
