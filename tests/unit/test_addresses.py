"""An address of a service is a host and a port, and anything else is refused with the right form."""

from __future__ import annotations

import click
import pytest
from draftline_server.cli.addresses import check_address


@pytest.mark.parametrize(
    "address",
    ["localhost:50051", "[::1]:50051", "db_1.internal:1", "unix:/run/draftline.sock", "dns:///films.internal:443"],
)
def test_address_of_a_service_is_accepted(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("HTTPS://films.internal:443/v1", "such as films.internal:443, without HTTPS://; pass --ca for TLS"),
        ("postgresql://ada:hush@db/films", "such as 127.0.0.1:50051, without postgresql://"),
        ("localhost", "a host and a port from 1 to 65535"),
        ("localhost:", "a host and a port from 1 to 65535"),
        ("localhost:0", "a host and a port from 1 to 65535"),
        ("localhost:65536", "a host and a port from 1 to 65535"),
        ("localhost:http", "a host and a port from 1 to 65535"),
        (":50051", "a host and a port from 1 to 65535"),
        ("::1:50051", "an IPv6 address is written in brackets: [::1]:50051"),
        ("", "a host and a port from 1 to 65535"),
    ],
)
def test_other_address_is_refused_with_the_form(address: str, sentence: str) -> None:
    with pytest.raises(click.UsageError) as refused:
        check_address(address)
    assert sentence in refused.value.message
    assert "hush" not in refused.value.message
