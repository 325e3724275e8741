"""A rolling upgrade, and the way back, under load: no call fails and no write is lost."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest
from draftline_server.ops import migrate, revisions
from draftline_server.ops.running_services import ServicesRunningError
from draftline_server.store.schema_problems import can_use, oldest_service, support_comment
from support.ports import unused_port
from support.rolling_load import Load
from support.server_process import invoked
from support.servers import beside, serving

NOW = revisions.head()
NEXT = "9001"
# An expanding step of a next version: a column with a default, an index and a function that gets another body.
EXPAND = f'''"""The next version."""
from alembic import op
revision, down_revision = "{NEXT}", "{NOW}"
oldest_service = "{NOW}"

def upgrade():
    op.execute("ALTER TABLE draftline.record ADD COLUMN colour text NOT NULL DEFAULT 'none'")
    op.execute("ALTER TABLE draftline.draft ADD COLUMN colour text")
    op.execute("CREATE INDEX record_colour ON draftline.record (tenant_id) WHERE colour <> 'none'")

def downgrade():
    op.execute("ALTER TABLE draftline.record DROP COLUMN colour")
    op.execute("ALTER TABLE draftline.draft DROP COLUMN colour")
'''


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The migrations of a next version, whose last step expands the schema."""
    folder = tmp_path / "migrations"
    shutil.copytree(revisions.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / f"{NEXT}_next.py").write_text(EXPAND)
    with monkeypatch.context() as patched:
        patched.setattr(revisions, "FOLDER", folder)
        yield patched


def test_upgrade_and_downgrade_by_one_version_fail_no_call(database_url: str, next_version: pytest.MonkeyPatch) -> None:
    load = Load(f"tenant-{uuid.uuid4()}")
    with serving(database_url, revision=NOW) as old:
        with load.on(old.address):
            load.advance()
            assert beside(migrate.go_to, database_url, NEXT) == NEXT  # expands under the old service
            load.advance()
        with serving(database_url, revision=NEXT) as new, load.on(old.address, new.address):
            load.advance()  # old and new side by side on the new schema
            with serving(database_url, revision=NOW) as another:  # the old version still starts, for a way back
                assert another.address
            with pytest.raises(ServicesRunningError):  # the new version cannot use the old schema
                beside(migrate.go_to, database_url, NOW)
            load.advance()
        with load.on(old.address):
            load.advance()  # the new service has ended
            assert beside(migrate.go_to, database_url, NOW) == NOW
            load.advance()
    assert load.failures == []
    assert load.stored(database_url) == load.acknowledged


def test_calls_wait_while_a_version_that_the_schema_does_not_support_is_replaced(
    database_url: str, next_version: pytest.MonkeyPatch
) -> None:
    step = revisions.FOLDER / "versions" / f"{NEXT}_next.py"
    step.write_text(step.read_text().replace("oldest_service = ", "# not set: "))
    load, port = Load(f"tenant-{uuid.uuid4()}"), unused_port()
    with ExitStack() as old, ExitStack() as calls:
        old.enter_context(serving(database_url, revision=NOW, port=port))
        calls.enter_context(load.on(f"127.0.0.1:{port}"))
        load.advance()
        with pytest.raises(ServicesRunningError):
            beside(migrate.go_to, database_url, NEXT)
        load.advance()
        old.close()
        assert beside(migrate.go_to, database_url, NEXT) == NEXT
        with serving(database_url, revision=NEXT, port=port):
            load.advance()
            calls.close()
    assert load.failures == []
    assert load.stored(database_url) == load.acknowledged


def test_old_migrate_command_accepts_a_newer_schema_that_it_can_use(
    database_url: str, next_version: pytest.MonkeyPatch
) -> None:
    beside(migrate.upgrade, database_url)
    next_version.undo()
    done = invoked("migrate", database_url=database_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert NEXT in done.stdout
    refused = invoked("migrate", "--to", NOW, "--yes", database_url=database_url)  # only the newer one knows the way
    assert refused.returncode == 1
    assert "use it to downgrade" in refused.stderr
    assert invoked("check", database_url=database_url).returncode == 0


def test_step_waits_for_no_lock_for_long_beside_services(database_url: str, next_version: pytest.MonkeyPatch) -> None:
    async def migrate_beside_a_reader() -> str:
        reader = await asyncpg.connect(database_url)
        try:
            transaction = reader.transaction()
            await transaction.start()
            await reader.execute("LOCK TABLE draftline.record IN ACCESS SHARE MODE")
            moving = asyncio.ensure_future(asyncio.to_thread(migrate.go_to, database_url, NEXT))
            await asyncio.sleep(1.5)  # longer than one attempt may wait
            assert not moving.done()
            await transaction.rollback()
            return await moving
        finally:
            await reader.close()

    with serving(database_url, revision=NOW):
        assert beside(asyncio.run, migrate_beside_a_reader()) == NEXT


@pytest.mark.parametrize(
    ("revision", "oldest", "needed", "usable"),
    [
        ("0020", None, "0020", True),
        ("0021", None, "0020", False),
        ("0021", "0020", "0020", True),
        ("0022", "0020", "0020", True),
        ("0022", "0021", "0020", False),
        ("0019", "0018", "0020", False),
        (None, None, "0020", False),
    ],
)
def test_service_uses_its_schema_and_newer_ones_that_support_it(
    revision: str | None, oldest: str | None, needed: str, usable: bool
) -> None:
    comment = support_comment(revision, oldest) if oldest and revision else None
    assert can_use(revision, comment, needed) is usable
    assert oldest_service(revision or "", comment) == oldest
    assert oldest_service("0099", comment) is None  # the comment is about another revision
