"""A connection that fails is explained by one sentence, with the system's reason and a fix."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

import asyncpg
import pytest
from draftline_server.domain.errors import OutOfReachError
from draftline_server.store.connect_errors import connect, from_option, problem_of, without_secrets
from draftline_server.store.poolers import PoolerError


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TimeoutError(), "cannot be reached: timeout"),
        (OSError(errno.ECONNREFUSED, "Connect call failed ('::1', 1)"),
         "cannot be reached: Connection refused ('::1', 1)"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "cannot be reached: No such file or directory"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
         "cannot be reached: Name or service not known"),
        (OSError("Multiple exceptions: refused"), "cannot be reached: Multiple exceptions: refused"),
    ],
)  # fmt: skip
def test_reason_of_the_system_is_named(error: OSError, message: str) -> None:
    problem = problem_of(error)
    assert problem is not None
    assert problem.message == message
    assert "DRAFTLINE_DATABASE_URL" in problem.fix


@pytest.mark.parametrize(
    ("kind", "message", "fix"),
    [
        (asyncpg.TooManyConnectionsError, "has no free connection (SQLSTATE 53300)", "CONNECTION LIMIT"),
        (asyncpg.ObjectNotInPrerequisiteStateError, "takes no connections (SQLSTATE 55000)", "ALLOW_CONNECTIONS true"),
        (asyncpg.InvalidAuthorizationSpecificationError, "rejects this user from this host (SQLSTATE 28000)", "LOGIN"),
        (asyncpg.InvalidCatalogNameError, "does not exist on its server (SQLSTATE 3D000)", "create the database"),
        (
            asyncpg.InvalidParameterValueError,
            "rejects a value of a setting in `options` (SQLSTATE 22023)",
            "options=-c",
        ),
        (asyncpg.PostgresSyntaxError, "cannot read `options` (SQLSTATE 42601)", "options=-c%20name=value"),
        (asyncpg.OutOfMemoryError, "rejects the connection (SQLSTATE 53200)", "PostgreSQL's log"),
    ],
)
def test_refusal_of_postgresql_is_named_with_its_fix(kind: type[asyncpg.PostgresError], message: str, fix: str) -> None:
    problem = problem_of(kind("refused"))
    assert problem is not None
    assert problem.message == message
    assert fix in problem.fix


def test_hint_of_the_driver_is_left_out() -> None:
    problem = problem_of(asyncpg.ClientConfigurationError("no such service", hint="read the manual"))
    assert problem is not None
    assert problem.fix == "correct it: no such service"


def test_refused_port_of_a_real_connection_is_named_with_its_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(OSError, match=r"refused|failed") as refused:
            asyncio.run(asyncpg.connect(f"postgresql://ada@127.0.0.1:{port}/films", timeout=5))
    problem = problem_of(refused.value)
    assert problem is not None
    assert problem.message == f"cannot be reached: Connection refused ('127.0.0.1', {port})"


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (10, "renew the certificate of PostgreSQL"),
        (18, "name the certificate authority"),
        (20, "name the certificate authority"),
        (62, "connect to a host that the certificate is valid for"),
        (64, "valid for this address"),
    ],
)
def test_certificate_is_explained_by_the_error_of_its_verification(code: int, fix: str) -> None:
    error = ssl.SSLCertVerificationError(1, "failed")
    error.verify_code, error.verify_message = code, "Not good"
    problem = problem_of(error)
    assert problem is not None
    assert problem.message == "has a certificate that is not trusted: not good"
    assert fix in problem.fix


def test_url_is_shown_without_secrets() -> None:
    shown = "sslmode=require&host=/run/pg&service=one"
    hidden = "password=hush&sslpassword=hush&options=-c%20a=hush&sslkey=/hush"
    assert without_secrets(f"postgresql://ada:hush@a,b:1/films?{hidden}&{shown}") == (
        f"postgresql://ada@a,b:1/films?{shown}"
    )
    assert without_secrets("postgresql:///films") == "postgresql:///films"


def test_failed_connection_names_the_url() -> None:
    with pytest.raises(OutOfReachError) as refused:
        asyncio.run(connect("postgresql://ada:hush@127.0.0.1:1/films", 5))
    assert refused.value.advice.endswith("; the URL is postgresql://ada@127.0.0.1:1/films")


def test_pooler_before_the_database_of_an_option_is_reported_by_that_option() -> None:
    with pytest.raises(PoolerError, match="or have --into lead to PostgreSQL itself"), from_option("--into"):
        raise PoolerError
