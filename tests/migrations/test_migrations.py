"""The migrations make what the code declares, can be gone back, and wait for each other, on any database."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import draftline
import pytest
from alembic.script import ScriptDirectory
from draftline_server.ops import migrate, revisions
from draftline_server.store.advisory_locks import AdvisoryLock
from support.servers import beside, on_database, run_sql, serving

OURS = """
SELECT coalesce(string_agg(name, ', ' ORDER BY name), '') FROM (
    SELECT relname::text AS name FROM pg_class WHERE relnamespace = 'draftline'::regnamespace
    UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'draftline'::regnamespace
    UNION ALL SELECT typname::text FROM pg_type WHERE typnamespace = 'draftline'::regnamespace
) AS all_of_it WHERE name NOT LIKE '%alembic_version%'
"""
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@contextmanager
def blank(postgres_url: str, options: str = "") -> Iterator[str]:
    """A database that was never migrated."""
    name = f"draftline_blank_{uuid.uuid4().hex}"
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE template0 {options}")
    try:
        yield on_database(postgres_url, name)
    finally:
        run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def ask(url: str, query: str) -> Any:
    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return beside(asyncio.run, run())


def differences(url: str) -> str:
    """Return `migrate.differences` of a new process, in which nothing has been declared yet."""
    code = "import sys; from draftline_server.ops import migrate; print(migrate.differences(sys.argv[1]))"
    return subprocess.check_output([sys.executable, "-c", code, url], text=True).strip()


def test_each_revision_can_be_gone_to_and_back_and_the_last_is_what_the_code_needs(postgres_url: str) -> None:
    script = ScriptDirectory(str(revisions.FOLDER))
    known = [entry.revision for entry in script.walk_revisions("base", "heads")][::-1]
    assert revisions.known() == known[::-1]
    with blank(postgres_url) as url:
        made = []
        for revision in known:
            assert beside(migrate.go_to, url, revision) == revision
            made.append(ask(url, OURS))
        assert differences(url) == "[]"
        for revision, objects in zip(known[-2::-1], made[-2::-1], strict=True):
            assert beside(migrate.go_to, url, revision) == revision
            assert ask(url, OURS) == objects
        assert beside(migrate.go_to, url, "base") == "base"
        assert ask(url, OURS) == ""
        assert beside(migrate.upgrade, url) == revisions.head()
        assert ask(url, OURS) == made[-1]


def test_unknown_revision_is_refused(postgres_url: str) -> None:
    with (
        blank(postgres_url) as url,
        pytest.raises(ValueError, match="there is no revision 9999; the revisions are 0001"),
    ):
        beside(migrate.go_to, url, "9999")


def test_migrations_at_once_all_succeed(postgres_url: str) -> None:
    with blank(postgres_url) as url, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(migrate.upgrade, [url] * 4)) == [revisions.head()] * 4
        assert differences(url) == "[]"


async def test_migration_waits_for_the_lock(postgres_url: str) -> None:
    with blank(postgres_url) as url, ThreadPoolExecutor(1) as pool:
        holder = await asyncpg.connect(url)
        await holder.execute("SELECT pg_advisory_lock($1)", AdvisoryLock.MIGRATION)
        migration: Future[str] = pool.submit(migrate.upgrade, url)
        while not await holder.fetchval(WAITING):
            assert not migration.done()
        assert await holder.fetchval("SELECT to_regnamespace('draftline') IS NULL")
        await holder.close()
        assert await asyncio.wrap_future(migration) == revisions.head()


def test_database_of_another_encoding_is_refused(postgres_url: str) -> None:
    options = "ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'"
    refused = pytest.raises(migrate.MigrateError, match="encoding of the database is LATIN1")
    with blank(postgres_url, options) as url, refused:
        beside(migrate.upgrade, url)


@pytest.mark.parametrize(
    "options", ["LOCALE_PROVIDER libc LOCALE 'C.UTF-8'", "LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LOCALE 'C'"]
)
def test_database_of_another_collation_serves_the_same(postgres_url: str, options: str) -> None:
    if "icu" in options and not has_icu(postgres_url):
        pytest.skip("this PostgreSQL was built without ICU")
    with blank(postgres_url, f"ENCODING 'UTF8' {options}") as url:
        check_served(url)


def has_icu(url: str) -> bool:
    try:
        return bool(ask(url, "SELECT 'a' COLLATE unicode < 'B'"))
    except asyncpg.PostgresError:
        return False


def test_user_with_another_name_and_search_path_is_served(postgres_url: str) -> None:
    user = f"someone_{uuid.uuid4().hex[:8]}"
    run_sql(postgres_url, f"CREATE ROLE {user} LOGIN", f"ALTER ROLE {user} SET search_path = nowhere")
    try:
        with blank(postgres_url, f"OWNER {user}") as url:
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2]
            check_served(urlunsplit(parts._replace(netloc=f"{user}@{host}")))
    finally:
        run_sql(postgres_url, f"DROP ROLE {user}")


def test_schema_is_not_made_in_the_namesake_of_its_user(postgres_url: str) -> None:
    with blank(postgres_url) as url:
        run_sql(url, "CREATE SCHEMA app", "CREATE TABLE app.record (mine int)")
        beside(migrate.upgrade, url)
        beside(migrate.go_to, url, "base")
        assert ask(url, "SELECT count(*) FROM app.record") == 0


def check_served(url: str) -> None:
    """Migrates, serves, and has texts sorted by code point whatever the database's own order."""
    assert beside(migrate.upgrade, url) == revisions.head()
    assert differences(url) == "[]"
    with serving(url) as server, draftline.Client(server.address, tenant_id="acme") as client:
        client.put_collection("movies", fields={"/Title": "text", "/n": "number"})
        client.import_content("movies", [("Z", {"Title": "Zulu"}), ("a", {"Title": "amélie"})])
        patched = client.patch_content("movies", "a", {"n": 1.5}, condition='Title > "Zulu"')
        assert patched.record.version == 2
        assert [each.collection for each in client.list_collections()] == ["movies"]
