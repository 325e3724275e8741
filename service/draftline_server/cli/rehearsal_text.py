"""The report of a rehearsal as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..rehearsal.report import Report

MIB = 2**20
SHOWN_LOCK_S = 0.001


def summary(report: Report, path: Path) -> str:
    """Return the report as lines, the verdict last."""
    return "\n".join([*_lines(report), *_verdict(report, path)])


def _lines(report: Report) -> Iterator[str]:
    where = f"{report.copy['database']} ({'kept' if report.copy['is_kept'] else 'removed'})"
    yield f"rehearsal of {report.database['database']} from {report.revision} to {report.target}, in {where}"
    yield f"copied {report.copy['rows']:,} rows in {report.copy['seconds']:.1f} s"
    yield f"migrated to {report.reached} in {report.seconds:.1f} s"
    for step in report.steps:
        yield f"  {step['seconds']:8.2f} s  {step['step']}"
    yield (
        f"size {report.size_before / MIB:,.0f} MiB before, {report.size_after / MIB:,.0f} MiB after, "
        f"{report.size_peak / MIB:,.0f} MiB at most; {report.wal_bytes / MIB:,.1f} MiB of WAL on the whole server"
    )
    if report.rewritten:
        yield f"rewritten: {', '.join(report.rewritten)}"
    for table, count in report.changed_rows.items():
        yield f"updated or deleted: {count:,} rows of {table}"
    yield (
        "services that run this revision may keep running"
        if report.services_may_run
        else "services must be stopped: they do not support the new schema"
    )
    yield from _locks(report)
    yield from _contents(report)
    if report.check is not None:
        yield f"draftline check: {report.check['drafts']:,} drafts, {report.check['differences']:,} differences"


def _locks(report: Report) -> Iterator[str]:
    shown = [lock for lock in report.locks if lock["rows"] and lock["longest_s"] >= SHOWN_LOCK_S]
    yield (
        f"locks on tables with rows, for {report.longest_lock_s:g} s at most:"
        if shown
        else ("locks on tables with rows: none was seen")
    )
    for lock in shown:
        yield f"  {lock['longest_s']:8.2f} s  {lock['table']}  {lock['mode']}, which blocks {lock['blocks']}"
        if lock["longest_s"] > report.longest_lock_s and lock.get("statement"):
            yield f"              most of that time in: {lock['statement']}"


def _contents(report: Report) -> Iterator[str]:
    if not report.tables:
        return
    changed = [table for table in report.tables if not table["is_same"]]
    yield f"contents: {len(report.tables) - len(changed)} tables are the same, {len(changed)} differ"
    for table in changed:
        before, after = (
            "no table" if table[name] is None else f"{table[name]:,} rows" for name in ("rows_before", "rows_after")
        )
        columns = [*table["changed"], *(f"{name} (removed)" for name in table["dropped"])]
        suffix = f"; columns that differ: {', '.join(columns)}" if columns and table["rows_after"] is not None else ""
        yield f"  {table['table']}: {before} before, {after} after{suffix}"


def _verdict(report: Report, path: Path) -> Iterator[str]:
    yield f"report: {path}"
    if report.completed is not None:
        yield f"completed at {report.completed['at']}, in {report.completed['seconds']:.1f} s"
    if report.passed:
        yield f"PASSED: run `draftline migrate --complete {path}`"
        return
    yield "FAILED:"
    for problem in report.problems:
        yield f"  {problem}"
