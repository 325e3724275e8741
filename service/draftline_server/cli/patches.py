"""`draftline patch`: apply the patches of a file."""

from __future__ import annotations

import json
import threading
import uuid
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

import click
from draftline import (
    BulkWriter,
    Client,
    DraftlineError,
    FieldWarning,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
    UnknownFieldWarning,
)

from ..record_files.patch_lines import FilePatch, PatchLine, patch_lines, patch_of
from ..record_files.readers import RecordFileError
from .app import json_option, reporting
from .client import with_client
from .file_progress import with_progress
from .terminal_text import echo, echo_json

MAX_SHOWN = 100  # failures that are printed; all are counted and written to the file of failures
# Errors that every further patch would have too.
STOPPING = (UnavailableError, UnauthenticatedError, PermissionDeniedError)
# The request ids of a run are made within this namespace.
NAMESPACE = uuid.UUID("5f9a1f4e-5b0e-4f7e-9d0a-6c1f6f0c2b8d")


class Failure(NamedTuple):
    """A line that failed, with the patch unless the line is invalid."""

    line: PatchLine
    patch: FilePatch | None
    error: Exception

    def as_dict(self) -> Mapping[str, Any]:
        """Return the position and the error, for JSON."""
        error = self.error
        known = {"code": error.code.name, "reason": error.reason} if isinstance(error, DraftlineError) else {}
        record = {"collection": self.patch.collection, "record_id": self.patch.record_id} if self.patch else {}
        return {"line": self.line.number, **record, **known, "message": self.message}

    @property
    def message(self) -> str:
        text = self.error.message if isinstance(self.error, DraftlineError) else str(self.error)
        return text.removeprefix(f"line {self.line.number}: ")

    def __str__(self) -> str:
        record = f", {self.patch.collection}/{self.patch.record_id}" if self.patch else ""
        label = f" ({self.error.code.name}/{self.error.reason})" if isinstance(self.error, DraftlineError) else ""
        return f"line {self.line.number}{record}: {self.message}{label}"


class PatchRun:
    """One run over a file. Outcomes arrive in a thread of the bulk writer."""

    def __init__(self, collection: str, run_id: str, failures: TextIO | None, *, dry_run: bool) -> None:
        self._collection = collection
        self._run_id = run_id
        self._dry_run = dry_run
        self._file = failures
        self._lock = threading.Lock()
        self.succeeded = self.failed = 0
        self.shown: list[Failure] = []
        self._warned: set[str] = set()
        self.stopped_by: Exception | None = None

    def add(self, writer: BulkWriter, line: PatchLine) -> None:
        """Queue the patch of a line, or count a failure if there is none."""
        patch = None
        try:
            patch = patch_of(line, self._collection)
            options = {"request_id": self._request_id(line), **patch.options}
            future = writer.patch(patch.collection, patch.record_id, validate_only=self._dry_run, **options)
        except (ValueError, TypeError) as error:
            self._failed(Failure(line, patch, error))
        else:
            future.add_done_callback(lambda ended: self._ended(line, patch, ended))

    def _request_id(self, line: PatchLine) -> str:
        return str(uuid.uuid5(NAMESPACE, "\0".join((self._run_id, self._collection, str(line.number), line.text))))

    def _ended(self, line: PatchLine, patch: FilePatch, future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            with self._lock:
                self.succeeded += 1
                self._report_warnings(line, future.result().warnings)
        elif isinstance(error, Exception):
            self._failed(Failure(line, patch, error))

    def _report_warnings(self, line: PatchLine, warned: Iterable[FieldWarning]) -> None:
        """Print each warning once, with the first line that it is about."""
        for each in warned:
            if each.message not in self._warned:
                self._warned.add(each.message)
                echo(f"Warning: line {line.number}: {each.argument}: {each.message}", err=True)

    def _failed(self, failure: Failure) -> None:
        with self._lock:
            self.failed += 1
            repeats = self.stopped_by is not None and isinstance(failure.error, STOPPING)
            if isinstance(failure.error, STOPPING):
                self.stopped_by = self.stopped_by or failure.error
            if not repeats and len(self.shown) < MAX_SHOWN:
                self.shown.append(failure)
                echo(str(failure), err=True)
            if self._file is not None:
                self._file.write(self._line_to_repeat(failure) + "\n")

    def _line_to_repeat(self, failure: Failure) -> str:
        """Return the line with its error and its request id, so that a run over the failures repeats no patch.

        The text of the line is kept, because parsing it would change numbers.
        """
        described = {"line": failure.line.number, "error": failure.as_dict()}
        if failure.patch is None:
            return json.dumps({"text": failure.line.text, **described}, ensure_ascii=False)
        identified = "" if self._dry_run else f'"request_id": "{self._request_id(failure.line)}", '
        members = failure.line.text.strip()[1:-1].strip()
        return f"{{{identified}{members}, {json.dumps(described, ensure_ascii=False)[1:]}"

    def result(self) -> Mapping[str, Any]:
        """Return the counts and the first failures, for JSON."""
        run_id = None if self._dry_run else self._run_id
        failures = [failure.as_dict() for failure in self.shown]
        counts = {"succeeded": self.succeeded, "failed": self.failed}
        return {**counts, "dry_run": self._dry_run, "run_id": run_id, "failures": failures}


@click.command("patch")
@click.argument("file", type=click.File("rb"))
@click.option("--collection", default="", help="Collection of the lines that name none.")
@click.option("--dry-run", is_flag=True, help="Validate each patch against the current record; change nothing.")
@click.option(
    "--run-id", metavar="ID", help="Repeat the run with this id: a patch that it applied is not applied again."
)
@click.option("--failures", "failures_path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the lines that failed to this file, each with its error.")  # fmt: skip
@json_option
@reporting
@with_client
def patch_command(
    client: Client, *, file: BinaryIO, collection: str, dry_run: bool, run_id: str | None,
    failures_path: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Apply the patches of a file, each by itself.

    FILE (`-`: standard input) has one JSON object per line: record_id, and delta or operations; optionally collection,
    strategy, depth, expected_version, condition, allow_missing, allow_deleted, parent_id, position, change_reason and
    request_id, as in PatchContent. The patches of one record are applied in the order of the file. A patch that fails
    does not stop the others: failures are printed with their lines, and the exit status is 1.

    Each run has an id, which is printed. If a run is interrupted, repeat it with --run-id and the same file: the
    service recognizes the patches that it has applied.
    """
    run_id = run_id or uuid.uuid4().hex
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UnknownFieldWarning)  # the run reports them with their lines
        failures = stack.enter_context(_opened(failures_path, file)) if failures_path else None
        run = PatchRun(collection, run_id, failures, dry_run=dry_run)
        if not dry_run:
            echo(f"Run {run_id}; repeat it with --run-id {run_id} if it is interrupted.", err=True)
        broken = _apply(client, run, file)
    _report(run, broken, as_json=as_json)


def _opened(path: Path, patches: BinaryIO) -> TextIO:
    """Open the file of failures, which must not be the file of the patches."""
    if path.exists() and patches.name != "-" and path.samefile(patches.name):
        raise click.UsageError("--failures would overwrite the file of the patches: pass another one.")
    return path.open("w", encoding="utf-8")


def _apply(client: Client, run: PatchRun, file: BinaryIO) -> RecordFileError | None:
    """Apply the patches. Return the error that ended the file early, after all patches before it have ended."""
    with client.bulk_writer(on_error=lambda _: None) as writer:
        try:
            lines = with_progress(patch_lines(file), file, lambda count: f"{count:,} patches, {run.failed:,} failed")
            for line in lines:
                run.add(writer, line)
                if run.stopped_by is not None:
                    break
        except RecordFileError as error:
            return error
    return None


def _report(run: PatchRun, broken: RecordFileError | None, *, as_json: bool) -> None:
    """Print the result. Raise the error that stopped the run, or ClickException if patches failed."""
    result = run.result()
    verb = "would succeed" if result["dry_run"] else "applied"
    summary = f"{run.succeeded:,} patches {verb}, {run.failed:,} failed"
    if as_json:
        echo_json(json.dumps(result, ensure_ascii=False))
    else:
        echo(summary)
    if run.stopped_by is not None:
        raise run.stopped_by
    if broken is not None:
        raise click.ClickException(f"{broken}; the lines after it were not read")
    if run.failed:
        more = run.failed - len(run.shown)
        hint = f"; {more:,} of them are not printed, --failures writes all to a file" if more else ""
        raise click.ClickException(f"{run.failed:,} patches failed{hint}")
