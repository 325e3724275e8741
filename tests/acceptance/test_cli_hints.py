"""Commands ask before they remove parts of a spec, and say when the address or its security is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from draftline import Client, SortKey
from support.certificates import Authority
from support.server_process import invoked
from support.servers import RunningServer, serving

AUTHORITY = Authority("hints")

pytestmark = pytest.mark.usefixtures("short_pauses")


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


@pytest.mark.parametrize(
    ("relation", "hint"),
    [
        ("film=/film:films:scenes:chek", "[:INVERSE[:check]]"),
        ("film=/film:films:check", "end with ::check"),
        ("film=/fi:lm:films:scenes", "--file"),
    ],
)
def test_relation_that_could_be_read_in_two_ways_is_refused(
    server: RunningServer, tenant_id: str, relation: str, hint: str
) -> None:
    refused = invoked("collections", "put", "scenes", *where(server, tenant_id), "--relation", relation)
    assert (refused.returncode, hint in refused.stderr) == (2, True)


def test_put_that_changes_parts_of_a_spec_lists_them_all_and_asks(server: RunningServer, tenant_id: str) -> None:
    where_to = where(server, tenant_id)
    invoked("collections", "put", "people", *where_to, "--field", "/n=number")
    put = ("collections", "put", "films", *where_to, "--field", "/t=text", "--order", "/n", "--no-wait")
    first = (*put, "--field", "/n=number", "--statistic", "by_n=range(/n)", "--statistic", "by_t=/t")
    related = ("--relation", "author=/a:people:films", "--relation", "editor=/e:people")
    assert invoked(*first, *related).returncode == 0
    assert invoked(*first, *related).returncode == 0  # nothing changes

    second = (*put, "--field", "/n=date", "--refuse", "/t", "--statistic", "by_n=range(/n)", "--history", "paths")
    refused = invoked(*second, "--statistic", "by_t=/t: /n", "--relation", "author=/b:people")
    assert refused.returncode == 2
    assert [line.strip() for line in refused.stderr.splitlines() if line.startswith(("  ", "The new"))] == [
        "The new spec of films removes:",
        "the relation editor",
        "The new spec of films changes:",
        "values of another type in the field /t: accept becomes refuse",
        "the type of the field /n: number becomes date",
        "the order /n: built again, for the new type",
        "the statistic by_n: built again, for the new type",
        "the statistic by_t: /t becomes /t: /n",
        "the relation author: /a to people, inverse films becomes /b to people",
        "the detail of the change log: values becomes paths",
    ]
    with Client(server.address, tenant_id=tenant_id) as client:
        assert client.get_collection("films").version == 1


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


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Files of certificates and keys, and one of text."""
    own, other = AUTHORITY.issue(), AUTHORITY.issue("other")
    expired = AUTHORITY.issue(lifetime=timedelta(minutes=-1))
    contents = {
        "ca": AUTHORITY.certificate, "foreign": Authority("foreign").certificate, "own": own.certificate,
        "key": own.key, "other": other.key, "text": b"hello", "expired": expired.certificate,
        "expired_key": expired.key,
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


WRONG_SETTINGS = {
    "no certificate": (["own", "key"], {"tls_certificate_file": "none"}, "CERTIFICATE_FILE: {}/none cannot be read"),
    "a text": (["own", "key"], {"tls_certificate_file": "text"}, "TLS_CERTIFICATE_FILE={}/text cannot be used"),
    "another key": (["own", "key"], {"tls_key_file": "other"},
                    "DRAFTLINE_TLS_KEY_FILE={0}/other and DRAFTLINE_TLS_CERTIFICATE_FILE={0}/own cannot be used"),
    "no key": (["own", "key"], {"tls_key_file": "own"}, "TLS_KEY_FILE={}/own cannot be used: the key is not"),
    "expired": (["expired", "expired_key"], {}, "TLS_CERTIFICATE_FILE={}/expired cannot be used: the certificate exp"),
    "client CA": (["own", "key"], {"tls_client_ca_file": "text"}, "TLS_CLIENT_CA_FILE={}/text cannot be used"),
    "a directory": (["own", "key"], {"tls_client_ca_file": ""}, "TLS_CLIENT_CA_FILE: {} cannot be read: Is a dir"),
    "no service keys": ([], {"auth_service_keys_file": "none"}, "AUTH_SERVICE_KEYS_FILE: {}/none cannot be read"),
    "service keys": ([], {"auth_service_keys_file": "text"}, "AUTH_SERVICE_KEYS_FILE: {}/text cannot be used"),
}  # fmt: skip


@pytest.mark.parametrize(("pair", "wrong", "sentence"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS.keys())
def test_wrong_file_of_a_setting_is_named(
    files: Path, database_url: str, pair: list[str], wrong: dict[str, str], sentence: str
) -> None:
    names = dict(zip(("tls_certificate_file", "tls_key_file"), pair, strict=False)) | wrong
    settings = {name: files / file for name, file in names.items()}
    refused = invoked("serve", port=0, database_url=database_url, **settings)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert sentence.format(files) in refused.stderr


def test_missing_tls_file_of_the_settings_is_named_by_health(files: Path) -> None:
    refused = invoked("health", tls_certificate_file=files / "none.pem", tls_key_file=files / "key")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert f"DRAFTLINE_TLS_CERTIFICATE_FILE: {files}/none.pem cannot be read" in refused.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--ca", "text"], "--ca: {}/text has no certificate in PEM format"),
        (["--ca", "key"], "--ca: {}/key has no certificate in PEM format"),
        (["--ca", "ca", "--certificate", "text", "--key", "key"], "--certificate: {}/text has no certificate"),
        (
            ["--ca", "ca", "--certificate", "own", "--key", "other"],
            "--key: {0}/other is not the private key of {0}/own",
        ),
        (["--ca", "ca", "--certificate", "own", "--key", "text"], "--key: {}/text is not an unencrypted private key"),
    ],
    ids=["text", "key", "certificate", "other-key", "text-key"],
)
def test_wrong_file_of_an_option_is_named(files: Path, options: list[str], sentence: str) -> None:
    given = [each if each.startswith("--") else str(files / each) for each in options]
    for command in (["health"], ["collections", "list", "--tenant", "acme"]):
        refused = invoked(*command, "--address", "127.0.0.1:1", *given)
        assert refused.returncode == 2
        assert sentence.format(files) in refused.stderr


def test_certificate_that_the_ca_did_not_issue_is_explained(secured: RunningServer, files: Path) -> None:
    for command in (["health"], ["collections", "list", "--tenant", "acme"]):
        refused = invoked(*command, "--address", secured.address, "--ca", str(files / "foreign"))
        assert refused.returncode in (1, 3)
        assert f"is not accepted with --ca {files}/foreign: unable to get local issuer certificate" in refused.stderr
        assert "Is the service running there?" not in refused.stderr


def test_missing_client_certificate_is_explained(database_url: str, files: Path) -> None:
    pair = AUTHORITY.issue().write(files)
    with serving(database_url, **pair, tls_client_ca_file=files / "ca") as running:
        refused = invoked("health", "--address", running.address, "--ca", str(files / "ca"))
    assert refused.returncode == 1
    assert f"The service at {running.address} ends the connection after the TLS handshake" in refused.stderr
    assert "pass --certificate and --key" in refused.stderr
