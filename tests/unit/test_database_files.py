"""A wrong file in a database URL is an invalid setting, named with its parameter."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from draftline_server.settings.database_url import checked
from support.certificates import Authority

AUTHORITY = Authority("database files")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of certificates and keys, and a service file."""
    made = tmp_path_factory.mktemp("files")
    own, other = AUTHORITY.issue("own"), AUTHORITY.issue("other")
    contents = {
        "root": AUTHORITY.certificate, "own.crt": own.certificate, "own.key": own.key, "other.key": other.key,
        "empty": b"", "text": b"hello", "services": b"[films]\nhost=db\n",
        "damaged": b"[films]\nhost=db\npassword=hush\n[two\n", "ports": b"[films]\nhost=db\nport=x\n",
        "percent": b"[films]\npassword=hush%x\n", "latin": b"[films]\nuser=\xff\n",
        "twice": b"[films]\nuser=a\nuser=b\n",
    }  # fmt: skip
    for name, content in contents.items():
        (made / name).write_bytes(content)
    for name, mode, content in (
        ("empty", 0o600, b""), ("pgpass", 0o600, b"# of films\n\ndb:5432:*:ada:p\\:w:x\n"),
        ("shared", 0o640, b"*:*:*:*:pw\n"), ("short", 0o600, b"*:*:*:*:pw\n*:*:ada:hush\n"),
        ("bytes", 0o400, b"*:*:*:*:\xff\n"),
    ):  # fmt: skip
        (made / name).write_bytes(content)
        (made / name).chmod(mode)
    return made


@pytest.fixture(autouse=True)
def _home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PGSERVICEFILE", str(folder / "services"))
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)


@pytest.mark.parametrize(
    "query",
    [
        "sslrootcert=@/root",
        "sslcert=@/own.crt&sslkey=@/own.key",
        "service=films",
        "passfile=@/empty",
        "passfile=@/pgpass",
    ],
)
def test_right_file_is_passed_on(folder: Path, query: str) -> None:
    given = query.replace("@", str(folder))
    assert checked(f"postgresql://db/films?{given}") == f"postgresql://db/films?{given}"


def test_authorities_of_the_system_are_found_and_demand_full_verification(folder: Path) -> None:
    given = checked("postgresql://db/films?sslrootcert=system")
    assert "sslmode=verify-full" in given
    assert "sslrootcert=/" in given


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("sslrootcert=@/none", "parameter sslrootcert: the file @/none cannot be read: it does not exist"),
        ("sslrootcert=@", "parameter sslrootcert: @ is a directory; name a file"),
        ("sslrootcert=@/empty", "parameter sslrootcert: the file @/empty has no certificate in PEM format"),
        ("sslcrl=@/text", "parameter sslcrl: the file @/text has no certificate revocation list in PEM format"),
        ("sslmode=verify-full", "parameter sslmode=verify-full needs sslrootcert=FILE"),
        ("sslmode=require&sslrootcert=system", "sslrootcert=system requires sslmode=verify-full"),
        ("sslkey=@/own.key", "parameter sslkey needs sslcert=FILE"),
        ("sslcert=@/own.crt", "parameter sslcert needs sslkey=FILE with the private key of @/own.crt"),
        ("sslcert=@/own.crt&sslkey=@/other.key", "@/other.key is not the private key of the certificate in @/own.crt"),
        ("sslcert=@/text&sslkey=@/own.key", "@/text and @/own.key cannot be used together; both must be in PEM"),
        ("service=nothing", "parameter service: @/services has no section [nothing]"),
        ("ssl=1", "parameter ssl: only ssl=true is known"),
        ("passfile=@/nothing%00", "is not a valid URL"),
        ("passfile=@/shared", "parameter passfile: other users may read @/shared, so it would be ignored: chmod 600"),
        ("passfile=@/short", "parameter passfile: line 2 of @/short is not host:port:database:user:password"),
        ("passfile=@/bytes", "parameter passfile: @/bytes is not UTF-8"),
    ],
)
def test_wrong_file_is_named(folder: Path, query: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"parameter|URL") as refused:
        checked(f"postgresql://db/films?{query.replace('@', quote(str(folder)))}")
    assert sentence.replace("@", str(folder)) in str(refused.value)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("damaged", "@/damaged cannot be read: line 4 is invalid"),
        ("twice", "@/twice cannot be read: line 3 is invalid"),
        ("latin", "@/latin cannot be read: it is not a file of sections and values"),
        (".", "@ cannot be read: Is a directory"),
        ("ports", "the port of [films] in @/ports is not a number from 1 to 65535"),
        ("percent", "[films] in @/percent has a value with a %, which the driver cannot read"),
        ("none", "@/none has no section [films]; PGSERVICEFILE may name another file"),
    ],
)
def test_service_file_that_cannot_be_used_is_named_without_its_content(
    folder: Path, monkeypatch: pytest.MonkeyPatch, file: str, sentence: str
) -> None:
    monkeypatch.setenv("PGSERVICEFILE", str(folder / file))
    with pytest.raises(ValueError, match="parameter service") as refused:
        checked("postgresql:///?service=films")
    assert sentence.replace("@", str(folder)) in str(refused.value)
    assert "hush" not in str(refused.value)


def test_url_without_a_database_leaves_it_to_the_service_file() -> None:
    assert checked("postgresql:///?service=films") == "postgresql://?service=films"
