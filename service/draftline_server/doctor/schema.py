"""Check that the schema has the revision of this version and that the role of the service may use it."""

from __future__ import annotations

from ..domain.errors import OutOfReachError
from ..ops import revisions
from ..store.database import Database
from ..store.revision import MISSING_FIX, PRIVILEGES_FIX, SchemaError, find_revision, missing_tables, privileges_problem
from ..store.statements import load
from .results import Finding, fault, ok, warning

SQL = load("diagnosis")


async def revision(opened: Database) -> Finding:
    try:
        found = await find_revision(opened)
    except (SchemaError, OutOfReachError) as error:
        return fault("schema", str(error).removesuffix(f": {PRIVILEGES_FIX}"), PRIVILEGES_FIX)
    needed = revisions.head()
    if found == needed:
        missing = await missing_tables(opened)
        if missing:
            return fault("schema", f"tables of revision {found} are missing: {missing}", MISSING_FIX)
        return ok("schema", f"revision {found}")
    if found is None:
        return fault("schema", "the database has not been migrated", "run `draftline migrate`")
    if found not in revisions.known():
        message = f"the database is at revision {found}, which is newer than this version of Draftline"
        fix = f"run the newer version, or use it to downgrade: `draftline migrate --to {needed}`"
        return fault("schema", message, fix)
    return fault(
        "schema", f"the database is at revision {found}, this version needs {needed}", "run `draftline migrate`"
    )


async def privileges(opened: Database) -> Finding:
    problem = await privileges_problem(opened)
    if problem:
        return fault("privileges", problem, PRIVILEGES_FIX)
    found = (await opened.fetch(SQL["may_keep_log"], {}))[0]
    if found["may"]:
        return ok("privileges", f"{found['name']} owns the tables")
    message = f"{found['name']} does not own the tables and cannot create partitions of the change log"
    return warning("privileges", message, "serve as the user who migrated, or as a member of that role")
