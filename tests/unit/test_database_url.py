"""The parser of database URLs takes libpq's parameters, and its sentences hold no part of a password."""

from __future__ import annotations

import string
from urllib.parse import quote

import asyncpg
import pytest
from asyncpg.connect_utils import _parse_connect_dsn_and_args
from draftline_server.settings.database_url import checked, described
from hypothesis import given
from hypothesis import strategies as st

SECRET = "hush-secret"
RESERVED = "#%/:?@"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:hush@db:5432/films",
        "postgres://ada@[::1]:5432/films?sslmode=require",
        "postgresql://ada@one:5432,two:5433/films?target_session_attrs=primary",
        "postgresql:///films?host=/tmp&port=5432&user=ada",
        "postgresql://ada@db/films?options=-c%20search_path=x&application_name=a",
        "postgresql://ada@/films?host=one,two&port=1,2",
    ],
)
def test_url_of_libpq_is_read_by_the_driver(url: str) -> None:
    _driver(checked(url))


@pytest.mark.parametrize(
    ("given", "followed"),
    [
        ("connect_timeout=5&sslmode=require&keepalives=1", "?sslmode=require"),
        ("channel_binding=prefer&gssencmode=disable", ""),
        ("ssl=true", "?sslmode=require"),
        ("application_name=a+b", "?application_name=a%2Bb"),
        ("", ""),
    ],
)
def test_parameters_that_make_no_difference_are_left_out(given: str, followed: str) -> None:
    assert checked(f"postgresql://db/films?{given}") == f"postgresql://db/films{followed}"


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("sslmod=require", "did you mean sslmode?"),
        ("sslmode=on", "must be one of disable, allow"),
        ("channel_binding=require", "channel_binding=require is not supported"),
        ("sslrootcert=/nowhere.pem", "the file /nowhere.pem cannot be read"),
        ("statement_timeout=5", "options=-c%20name=value"),
        ("port=0", "not a number from 1 to 65535"),
        ("port=1,2", "as many as there are hosts"),
        ("sslmode", "without a value"),
    ],
)
def test_parameter_that_cannot_be_followed_is_refused(query: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("?", r"\?").replace("(", r"\(")):
        checked(f"postgresql://ada:{SECRET}@db/films?{query}")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (f"postgresql+asyncpg://ada:{SECRET}@db/films", "remove the driver after"),
        (f'"postgresql://ada:{SECRET}@db/films"', "remove the quotes"),
        (f" postgresql://ada:{SECRET}@db/films", "remove the quotes and spaces"),
        (f"host=db dbname=films password={SECRET}", "as postgresql://db/films"),
        (f"mysql://ada:{SECRET}@db/films", "must start with postgresql://"),
    ],
)
def test_url_of_another_form_is_refused_with_the_right_one(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refused:
        checked(url)
    assert SECRET not in str(refused.value)


def test_ipv6_address_without_brackets_is_refused_with_the_form() -> None:
    with pytest.raises(ValueError, match=r"an IPv6 address is written in brackets: \[::1\]"):
        checked("postgresql://ada@::1:5432/films")


@given(st.text(string.ascii_letters + RESERVED, min_size=1, max_size=12).filter(lambda text: set(text) & set("#/?@")))
def test_unescaped_password_is_refused_without_showing_it(characters: str) -> None:
    password = f"Hu5h{characters}S3cr"
    with pytest.raises(ValueError, match="%") as refused:
        checked(f"postgresql://ada:{password}@db:5432/films")
    assert "Hu5h" not in str(refused.value)
    assert "S3cr" not in str(refused.value)


@given(st.text(string.printable, min_size=1, max_size=12), st.text(string.ascii_lowercase, min_size=1, max_size=5))
def test_encoded_password_reaches_the_driver_and_no_description(password: str, user: str) -> None:
    url = checked(f"postgresql://{user}:{quote(password, safe='')}@db:5432/films?sslmode=disable")
    assert (_driver(url).user, _driver(url).password) == (user, password)
    assert described(url) == f"{user}@db:5432/films"


def test_description_names_every_host() -> None:
    assert described("postgresql://ada:hush@one,two:5433/films") == "ada@one:5432,two:5433/films"
    assert described("postgresql:///films?host=/tmp/pg&user=ada") == "ada@/tmp/pg:5432/films"
    assert described("postgresql://ada@[::1]/") == "ada@[::1]:5432/ada"


def _driver(url: str) -> asyncpg.connect_utils._ConnectionParameters:
    names = ("host", "port", "user", "password", "passfile", "database", "ssl", "service", "servicefile")
    others = ("direct_tls", "server_settings", "target_session_attrs", "krbsrvname", "gsslib")
    return _parse_connect_dsn_and_args(dsn=url, **dict.fromkeys((*names, *others)))[1]
