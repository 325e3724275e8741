"""Check that the schema has the revision of this version and that the role of the service may use it."""

from __future__ import annotations

from ..domain.errors import OutOfReachError
from ..ops import revisions
from ..ops.schema_functions import differing
from ..store.database import Database
from ..store.revision import find_revision, privileges_problem
from ..store.schema_parts import find_in, missing_indexes, missing_parts, some
from ..store.schema_problems import NOT_MIGRATED, SchemaError
from ..store.statements import load
from .failures import fault_of
from .results import Finding, fault, ok, warning

SQL = load("diagnosis")


async def revision(opened: Database) -> Finding:
    try:
        found = await find_revision(opened)
    except SchemaError as error:
        return fault_of("schema", error)
    except OutOfReachError as error:
        return fault("schema", str(error), error.fix)
    needed = revisions.head()
    if found == needed:
        return await _parts(opened, needed)
    if found is None:
        return fault_of("schema", NOT_MIGRATED)
    if found not in revisions.known():
        message = f"the database is at revision {found}, which is newer than this version of Draftline"
        fix = f"run the newer version, or use it to downgrade: `draftline migrate --to {needed}`"
        return fault("schema", message, fix)
    return fault(
        "schema", f"the database is at revision {found}, this version needs {needed}", "run `draftline migrate`"
    )


async def _parts(opened: Database, needed: str) -> Finding:
    """Return a finding about tables, columns, indexes and functions of the current revision."""
    find = find_in(opened)
    missing = await missing_parts(find)
    if missing:
        return fault("schema", f"parts of revision {needed} are missing: {missing}", missing.fix)
    indexes = await missing_indexes(find)
    if indexes:
        message = f"indexes of revision {needed} are missing, so calls are slow: {some([*indexes])}"
        return fault("schema", message, f"run `{next(iter(indexes.values()))}`, likewise for each")
    rows = await opened.fetch(SQL["functions"], {})
    changed = differing((row["name"], row["body"]) for row in rows)
    if changed:
        message = f"functions are not those of revision {needed}: {some(changed)}"
        return fault("schema", message, "run `draftline migrate`, which creates them again")
    return ok("schema", f"revision {needed}")


async def privileges(opened: Database) -> Finding:
    if missing := await privileges_problem(opened):
        return fault("privileges", *missing)
    found = (await opened.fetch(SQL["may_keep_log"], {}))[0]
    if found["may"]:
        return ok("privileges", f"{found['name']} owns the tables")
    message = f"{found['name']} does not own the tables and cannot create partitions of the change log"
    return warning("privileges", message, "serve as the user who migrated, or as a member of that role")
