"""The report of a rehearsal, a JSON file."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .sessions import RehearsalError

FORMAT = 1
SEAL = "checksum"


@dataclass(slots=True)
class Report:
    """All that a rehearsal found. Times are in seconds, sizes in bytes.

    `database` identifies the database, `scripts` is the digest of the migration files, and `schema` has the digests of
    the objects of the schema before the migration. `problems` are sentences; it has passed if there are none.
    """

    database: dict[str, Any]
    revision: str
    target: str
    version: str
    started_at: str
    scripts: str
    schema_digest: str
    schema: dict[str, str]
    copy: dict[str, Any] = field(default_factory=dict)
    reached: str = ""
    services_may_run: bool = False
    seconds: float = 0.0
    steps: list[dict[str, Any]] = field(default_factory=list)
    longest_lock_s: float = 0.0
    locks: list[dict[str, Any]] = field(default_factory=list)
    wal_bytes: int = 0
    size_before: int = 0
    size_after: int = 0
    size_peak: int = 0
    rewritten: list[str] = field(default_factory=list)
    changed_rows: dict[str, int] = field(default_factory=dict)
    tables: list[dict[str, Any]] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    check: dict[str, int] | None = None
    problems: list[str] = field(default_factory=list)
    passed: bool = False
    completed: dict[str, Any] | None = None
    format: int = FORMAT

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.started_at)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_report(report: Report, path: Path) -> None:
    """Write the report with a checksum. An existing file is replaced as a whole."""
    values = asdict(report)
    text = json.dumps({**values, SEAL: _checksum(values)}, indent=1, ensure_ascii=False) + "\n"
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise RehearsalError(f"the report cannot be written to {path}: {error.strerror or error}") from error


def read_report(path: Path) -> Report:
    """Return the report in a file. Raise RehearsalError unless it is as a rehearsal has written it."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RehearsalError(f"the report {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RehearsalError(f"{path} is not a report of a rehearsal: it is not JSON") from error
    if not isinstance(values, dict) or SEAL not in values or "format" not in values:
        raise RehearsalError(f"{path} is not a report of a rehearsal")
    if values["format"] != FORMAT:
        raise RehearsalError(
            f"the report {path} has format {values['format']}, this version reads {FORMAT}: rehearse again"
        )
    if values.pop(SEAL) != _checksum(values):
        raise RehearsalError(f"the report {path} was changed after it was written: rehearse again")
    try:
        return Report(**values)
    except TypeError as error:
        raise RehearsalError(f"{path} is not a report of this version: rehearse again") from error


def _checksum(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
