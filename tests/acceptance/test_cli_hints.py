"""Commands ask before they remove parts of a spec, and say when the address or its security is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from draftline import Client, SortKey
from support.certificates import Authority
from support.server_process import invoked
from support.servers import RunningServer, serving

AUTHORITY = Authority("hints")


def where(server: RunningServer, tenant_id: str) -> tuple[str, ...]:
    return ("--tenant", tenant_id, "--address", server.address)


def test_put_that_removes_parts_of_a_spec_lists_them_and_asks(server: RunningServer, tenant_id: str) -> None:
    with Client(server.address, tenant_id=tenant_id) as client:
        client.put_collection(
            "movies", fields={"/n": "number", "/t": "text"}, orders=[[SortKey("/n", descending=True)]], json_schema={}
        )
        refused = invoked("collections", "put", "movies", *where(server, tenant_id), "--field", "/t=text")
        assert refused.returncode == 2
        removed = [line.strip() for line in refused.stderr.splitlines() if line.startswith("  ")]
        assert removed == ["the field /n (number)", "the order /n desc", "the JSON Schema"]
        assert "pass --yes" in refused.stderr
        assert len(client.get_collection("movies").fields) == 2

        put = ("collections", "put", "movies", *where(server, tenant_id), "--field", "/t=text")
        assert invoked(*put, "--validate-only").returncode == 0
        assert invoked(*put, "--yes").returncode == 0
        assert [field.path for field in client.get_collection("movies").fields] == ["/t"]
        assert invoked(*put, "--field", "/u=text").returncode == 0  # nothing is removed


@pytest.mark.parametrize("scheme", ["http", "https", "grpc"])
def test_web_address_is_refused_with_the_right_form(scheme: str) -> None:
    for arguments in (["health"], ["collections", "list", "--tenant", "acme"]):
        refused = invoked(*arguments, "--address", f"{scheme}://localhost:50051/")
        assert refused.returncode == 2
        assert f"such as localhost:50051, without {scheme}://" in refused.stderr


@pytest.fixture
def secured(database_url: str, tmp_path: Path) -> Iterator[RunningServer]:
    files = AUTHORITY.issue().write(tmp_path)
    with serving(database_url, **files) as running:
        yield running


@pytest.mark.parametrize("arguments", [["health"], ["collections", "list", "--tenant", "acme"]], ids=" ".join)
def test_call_without_tls_of_a_service_with_tls_says_so(secured: RunningServer, arguments: list[str]) -> None:
    refused = invoked(*arguments, "--address", secured.address)
    assert refused.returncode != 0
    assert f"The service at {secured.address} uses TLS: pass --ca" in refused.stderr
    assert "Is the service running there?" not in refused.stderr


def test_call_with_tls_of_a_service_without_it_says_so(server: RunningServer, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(AUTHORITY.certificate)
    refused = invoked("health", "--address", server.address, "--ca", str(ca))
    assert refused.returncode == 1
    assert f"The service at {server.address} does not use TLS: omit --ca." in refused.stderr


@pytest.mark.parametrize("arguments", [["serve"], ["health"]], ids=" ".join)
def test_missing_tls_file_is_named(tmp_path: Path, database_url: str, arguments: list[str]) -> None:
    key = tmp_path / "key.pem"
    key.write_text("")
    settings = {"tls_certificate_file": tmp_path / "none.pem", "tls_key_file": key, "database_url": database_url}
    refused = invoked(*arguments, port=0, log_level="error", **settings)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert "none.pem" in refused.stderr
    assert "TLS" in refused.stderr
