"""A service that knows its callers, as it is set up and used from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from draftline_server.auth.keys import digest_of
from support.certificates import Authority
from support.server_process import invoked, served

AUTHORITY = Authority("acceptance")
ISSUED = {"auth_issuer": "https://issuer.example", "auth_audience": "draftline"}


@pytest.fixture
def protected(tmp_path: Path) -> dict[str, Any]:
    """Settings with everything: TLS on both sides, a secret for tokens, and the key of a service."""
    (tmp_path / "secret").write_text("a secret of more than 32 bytes, to sign with\n")
    (tmp_path / "keys.json").write_text('{"keys": []}')
    pair = AUTHORITY.issue().write(tmp_path)
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.certificate)
    files = {"auth_secret_file": tmp_path / "secret", "auth_service_keys_file": tmp_path / "keys.json"}
    return {**ISSUED, **files, **pair, "tls_client_ca_file": tmp_path / "ca.pem"}


def test_callers_bring_tokens_and_keys_over_tls(tmp_path: Path, protected: dict[str, Any]) -> None:
    made = invoked("service-key", "loader", "--tenant", "acme", "--scope", "content:write", **protected)
    key, entry = (line.split(maxsplit=1)[1] for line in made.stdout.splitlines())
    assert json.loads(entry)["sha256"] == digest_of(key)
    protected["auth_service_keys_file"].write_text(f'{{"keys": [{entry}]}}')
    with served(data_dir=tmp_path / "data", host="0.0.0.0", **protected) as service:
        port = service.address.rpartition(":")[2]
        own = {**protected, "port": port}
        assert invoked("health", **own).stdout == "SERVING\n"
        token = invoked("token", "--user", "ada", "--tenant", "acme", **own).stdout.strip()
        listed = invoked("collections", "list", "--tenant", "acme", token=token, **own)
        assert (listed.returncode, listed.stderr) == (0, "")

        (tmp_path / "a.json").write_text('[{"id": "m-1"}]')
        load = ["import", str(tmp_path / "a.json"), "--collection", "films", "--id", "id"]
        elsewhere = ["--address", f"localhost:{port}", "--ca", str(tmp_path / "ca.pem")]
        with_pair = [
            *elsewhere, "--certificate", str(own["tls_certificate_file"]), "--key", str(own["tls_key_file"]),
        ]  # fmt: skip
        for arguments, given, told in (
            (["--tenant", "acme", *with_pair, "--token", key], "", "1 inserted"),
            (["--tenant", "umbrella", *with_pair, "--token", key], "", "the caller has no access to this tenant"),
            (["--tenant", "acme", *with_pair], "", "the call carries no valid token"),
            (["--tenant", "acme", *with_pair], token[:-2], "the call carries no valid token"),
            (["--tenant", "acme", *elsewhere], token, "UNAVAILABLE"),
        ):
            done = invoked(*load, *arguments, **({"token": given} if given else {}))
            assert told in done.stdout + done.stderr
            assert "Traceback" not in done.stderr
    assert token not in str(service.log)
    assert key not in str(service.log)


def test_token_needs_a_secret(tmp_path: Path) -> None:
    refused = invoked("token", "--user", "ada", "--tenant", "acme")
    assert refused.returncode == 1
    assert refused.stderr == "Error: DRAFTLINE_AUTH_SECRET_FILE is not set; it names the secret that signs tokens\n"
    (tmp_path / "secret").write_text("x" * 16)
    refused = invoked("token", "--user", "ada", "--tenant", "acme", auth_secret_file=tmp_path / "secret", **ISSUED)
    assert refused.stderr == "Error: DRAFTLINE_AUTH_SECRET_FILE has 16 bytes; a secret needs at least 32\n"


@pytest.mark.parametrize("arguments", [["--certificate"], ["--key"], ["--certificate", "--ca"]])
def test_certificate_is_given_with_its_key_and_an_authority(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "x.pem").write_text("x")
    refused = invoked("health", *(part for name in arguments for part in (name, str(tmp_path / "x.pem"))))
    assert refused.returncode == 2
    assert "--certificate and --key require each other, and --ca" in refused.stderr
