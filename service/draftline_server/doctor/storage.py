"""Check how large tables and tenants are, and whether vacuum keeps up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ..store.database import Database
from ..store.storage import LargeTenant, TablePart, read_largest_tenants, read_lock_limit, read_table_parts
from .results import Finding, ok, warning

CHECK = "storage"
TENANTS_CHECK = "tenants"
LISTED = 5
MIB = 1 << 20
DEAD_ROWS, DEAD_SHARE = 50_000, 0.3  # above both, vacuum does not keep up
UNUSED_BYTES, UNUSED_SHARE = 256 * MIB, 0.5  # above both, a table is worth being rewritten
LOCKS = 256  # max_locks_per_transaction from which a backend has room for the locks of a statement on partitions
LARGE_RECORDS, LARGE_SHARE = 100_000, 0.1  # from both on, a tenant is worth its own partitions


async def storage(opened: Database) -> AsyncIterator[Finding]:
    """Yield the findings on the sizes of tables and of tenants."""
    parts = await read_table_parts(opened)
    problems = [*_unvacuumed(parts), *_bloated(parts), *_few_locks(parts, await read_lock_limit(opened))]
    for problem in problems:
        yield problem
    if not problems:
        yield ok(CHECK, _sizes(parts))
    tenants = await read_largest_tenants(opened, LISTED)
    yield _tenants(parts, tenants)


def _sizes(parts: Sequence[TablePart]) -> str:
    partitions = [each for each in parts if each.part and each.table != "change"]
    layout = f"in {len(partitions)} partitions by tenant" if partitions else "not partitioned by tenant"
    largest = ", ".join(_described(each) for each in parts[:LISTED])
    return f"{_bytes(sum(each.bytes for each in parts))}, {layout}; the largest: {largest}"


def _described(part: TablePart) -> str:
    owner = f" of tenant {part.tenant_id}" if part.tenant_id is not None else ""
    share = part.dead_rows / max(1, part.rows + part.dead_rows)
    return f"{part.name}{owner} ({_bytes(part.bytes)}, {share:.0%} dead rows, {_bytes(part.unused_bytes)} unused)"


def _unvacuumed(parts: Sequence[TablePart]) -> list[Finding]:
    found = [
        each
        for each in parts
        if each.dead_rows > DEAD_ROWS and each.dead_rows > DEAD_SHARE * (each.rows + each.dead_rows)
    ]
    if not found:
        return []
    fix = (
        f"run `VACUUM (ANALYZE) draftline.{found[0].name}`, likewise for each; if it recurs, look for old transactions "
        "and give autovacuum more workers"
    )
    return [warning(CHECK, f"with many dead rows: {_listed(found)}", fix)]


def _bloated(parts: Sequence[TablePart]) -> list[Finding]:
    found = [each for each in parts if each.unused_bytes > max(UNUSED_BYTES, UNUSED_SHARE * each.heap_bytes)]
    if not found:
        return []
    fix = (
        "new rows use the space; to give it back, run pg_repack, or in a maintenance window "
        f"`VACUUM FULL draftline.{found[0].name}`, which locks it"
    )
    return [warning(CHECK, f"more than half unused: {_listed(found)}", fix)]


def _few_locks(parts: Sequence[TablePart], limit: int) -> list[Finding]:
    partitions = sum(bool(each.part) and each.table != "change" for each in parts)
    if not partitions or limit >= LOCKS:
        return []
    message = f"statements lock all {partitions} partitions by tenant, and max_locks_per_transaction is {limit}"
    fix = f"set max_locks_per_transaction to {LOCKS} or more in postgresql.conf, and restart PostgreSQL"
    return [warning(CHECK, message, fix)]


def _listed(parts: Sequence[TablePart]) -> str:
    more = len(parts) - LISTED
    return ", ".join(map(_described, parts[:LISTED])) + (f" and {more} more" if more > 0 else "")


def _tenants(parts: Sequence[TablePart], tenants: Sequence[LargeTenant]) -> Finding:
    if not tenants:
        return ok(TENANTS_CHECK, "not counted yet; the service counts them every DRAFTLINE_TENANT_COUNT_INTERVAL_S")
    own = {each.tenant_id for each in parts if each.tenant_id is not None}
    records = sum(each.rows for each in parts if each.table == "record")
    listed = ", ".join(
        f"{each.tenant_id} ({each.records:,} records, {_bytes(each.bytes)}"
        f"{', own partitions' if each.tenant_id in own else ''})"
        for each in tenants
    )
    shared = [
        each.tenant_id
        for each in tenants
        if each.tenant_id not in own and each.records >= max(LARGE_RECORDS, LARGE_SHARE * records)
    ]
    message = f"the largest: {listed}"
    if shared and any(each.part and each.table == "record" for each in parts):
        fix = f"run `draftline partitions promote {shared[0]}`, likewise for each"
        return warning(TENANTS_CHECK, f"{message}; without own partitions: {', '.join(shared)}", fix)
    return ok(TENANTS_CHECK, message)


def _bytes(count: int) -> str:
    if count >= 1 << 30:
        return f"{count / (1 << 30):,.1f} GiB"
    return f"{count / MIB:,.1f} MiB"
