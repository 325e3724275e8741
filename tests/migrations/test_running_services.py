"""A migration leaves running services alone, and a service whose schema moved says so."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner
from draftline import Client, Retry, UnavailableError
from draftline_server.cli import main
from draftline_server.ops import migrate, revisions
from draftline_server.ops.downgrade_losses import LOSSES, losses_of
from draftline_server.rpc.health_client import ChannelSecurity, HealthState, check_health
from support.polling import until
from support.server_process import invoked
from support.servers import beside, run_sql, serving

UPGRADING = (Path(__file__).parent.parent.parent / "docs" / "upgrading.md").read_text()
HEAD = revisions.head()
BEFORE = revisions.known()[1]


def health(address: str) -> HealthState:
    return check_health(address, "", 5.0, ChannelSecurity())


def test_migration_refuses_while_a_service_runs(database_url: str) -> None:
    with serving(database_url) as server:
        refused = invoked("migrate", "--to", BEFORE, "--yes", database_url=database_url)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert re.match(r"Error: 1 process \(PostgreSQL's pid \d+\) of the service use this database", refused.stderr)
        assert "pass --wait" in refused.stderr
        assert invoked("migrate", database_url=database_url).returncode == 0  # there is nothing to migrate
        assert health(server.address) == ("SERVING", "")
    assert beside(migrate.go_to, database_url, BEFORE) == BEFORE


def test_migration_that_waits_goes_on_when_the_service_has_ended(database_url: str) -> None:
    steps: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        with serving(database_url):
            moved = pool.submit(migrate.go_to, database_url, BEFORE, steps.append, waits_for_services=True)
            until(lambda: steps)
            assert steps[0].startswith("waiting until 1 process")
            assert not moved.done()
        assert moved.result(60) == BEFORE


@pytest.mark.parametrize(
    ("moved", "reason"),
    [
        ("UPDATE draftline.alembic_version SET version_num = '9999'", "is at revision 9999, this version of Draftline"),
        ("UPDATE draftline.alembic_version SET version_num = '0002'", "is at revision 0002, this version needs"),
        ("ALTER TABLE draftline.alembic_version RENAME TO gone", "was never migrated"),
    ],
)
def test_service_whose_schema_moved_is_not_serving_and_says_why(database_url: str, moved: str, reason: str) -> None:
    with (
        serving(database_url) as server,
        Client(server.address, tenant_id="acme") as client,
        Client(server.address, tenant_id="acme", retry=Retry(max_attempts=1)) as impatient,
    ):
        client.create_content("films", {}, record_id="m-1")
        run_sql(database_url, moved)
        until(lambda: health(server.address).name == "NOT_SERVING")
        assert reason in health(server.address).warning
        with pytest.raises(UnavailableError, match="the schema changed while the service runs") as refused:
            impatient.get_content("films", "m-1")
        assert refused.value.reason == "DATABASE_UNAVAILABLE"
        run_sql(
            database_url, "ALTER TABLE IF EXISTS draftline.gone RENAME TO alembic_version",
            f"UPDATE draftline.alembic_version SET version_num = '{HEAD}'",
        )  # fmt: skip
        until(lambda: health(server.address) == ("SERVING", ""))
        assert client.get_content("films", "m-1").version == 1


@pytest.mark.parametrize("arguments", [["migrate"], ["migrate", "--to", "0002", "--yes"], ["check"]], ids=" ".join)
def test_older_version_names_the_newer_schema(database_url: str, arguments: list[str]) -> None:
    run_sql(database_url, "UPDATE draftline.alembic_version SET version_num = '9999'")
    refused = invoked(*arguments, database_url=database_url)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert f"is at revision 9999, this version of Draftline knows revisions up to {HEAD}" in refused.stderr
    assert f"`draftline migrate --to {HEAD}`" in refused.stderr


def test_downgrade_asks_and_lists_what_it_removes(database_url: str) -> None:
    refused = invoked("migrate", "--to", "0002", database_url=database_url)
    assert refused.returncode == 2
    assert "the change log, and the stored idempotency keys" in refused.stderr
    assert "pass --yes" in refused.stderr
    assert invoked("migrate", "--to", HEAD, database_url=database_url).returncode == 0
    assert invoked("migrate", "--to", "0002", "--yes", database_url=database_url).returncode == 0
    assert invoked("migrate", database_url=database_url).returncode == 0


def test_every_revision_has_an_entry_of_what_a_downgrade_removes() -> None:
    assert list(LOSSES) == revisions.known()[::-1]
    assert losses_of(["0003", "0002"]) == [LOSSES["0002"], LOSSES["0003"]]


@pytest.fixture
def guest(database_url: str) -> Iterator[str]:
    """The URL of a role without rights."""
    name = f"guest_{uuid.uuid4().hex[:8]}"
    run_sql(database_url, f"CREATE ROLE {name} LOGIN")
    yield re.sub(r"//[^@]*@", f"//{name}@", database_url)
    run_sql(database_url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.mark.parametrize("may_read", [False, True])
@pytest.mark.parametrize("arguments", [["migrate"], ["check"], ["serve"]], ids=" ".join)
def test_role_without_rights_is_named(guest: str, database_url: str, arguments: list[str], may_read: bool) -> None:
    role = re.search(r"//(\w+)@", guest)
    assert role is not None
    if may_read:
        run_sql(
            database_url, f"GRANT USAGE ON SCHEMA draftline TO {role[1]}",
            f"GRANT SELECT ON draftline.alembic_version TO {role[1]}",
        )  # fmt: skip
    done = CliRunner().invoke(main, arguments, env={"DRAFTLINE_DATABASE_URL": guest, "DRAFTLINE_LOG_LEVEL": "error"})
    assert isinstance(done.exception, SystemExit)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "role" in done.stderr
    assert "as the role that migrated" in done.stderr
