"""A PostgreSQL server that is created, started and stopped with this process.

Invariants:

* One live process per data directory, by an flock, which the kernel releases however that process ends.
* The server is a direct child in its own session: a Ctrl-C in the terminal reaches us, not the server, so the service
  drains before `stop`. On Linux it has a death signal: when we are killed it shuts down by itself, and the next
  `start` waits for that.
* ``cluster/`` (PGDATA) is created by an atomic rename: if it exists, it is complete.
* A server that ends before `stop`, for example because the disk is full, is restarted until it runs.
* It listens on a Unix socket in a directory that only its owner can enter, hence ``trust``; there is no TCP port.
* It never runs as root: for root it runs in a user namespace, or else as the owner of the data directory.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from draftline_server.embedded_postgres import process as child
from draftline_server.embedded_postgres.process import EmbeddedPostgresError, InUseError
from draftline_server.embedded_postgres.socket_path import conninfo_at, make_socket_dir, remove_socket_dir, url_at
from draftline_server.embedded_postgres.watchdog import Keeper

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "InUseError"]

_LOG_BYTES = 8 * 1024 * 1024
_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "max_locks_per_transaction": "256",  # statements on partitioned tables lock all partitions
    # The binaries only have pglz, which after each checkpoint took longer than the patches themselves.
    "wal_compression": "off",
    "shared_preload_libraries": "",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_checkpoints": "off",
    # Log neither contents nor statements.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


class EmbeddedPostgres:
    """One PostgreSQL server over ``data_dir``, with a database and a superuser both called ``draftline``.

    Not thread-safe. On Linux the death signal fires when the *thread* that called `start` ends, so call it from a
    thread that lives as long as the server should: the main thread, not one of a pool.
    """

    def __init__(
        self, data_dir: Path, *, durable: bool = True, binaries: Path | None = None, connections: int = 100
    ) -> None:
        """Set the directory; nothing is accessed before `start`.

        ``durable=False`` trades crash safety of the data for speed, for tests. ``binaries`` is the directory of
        ``postgres`` and ``initdb``; without it `process.find_binaries` finds one. ``connections`` is max_connections.
        """
        self._dir = Path(data_dir).resolve()
        self._cluster = self._dir / "cluster"
        self._durable = durable
        self._binaries = binaries
        self._connections = connections
        self._identity = child.SAME
        self._bin = Path()
        self._socket_dir = Path()
        self._lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: Keeper | None = None

    @property
    def url(self) -> str:
        """URL for asyncpg, SQLAlchemy (with its driver's prefix) and libpq. Raises EmbeddedPostgresError if stopped."""
        return url_at(self._running_socket_dir())

    @property
    def conninfo(self) -> str:
        """The same as libpq keywords, for ``psql "<conninfo>"``. Raises EmbeddedPostgresError if stopped."""
        return conninfo_at(self._running_socket_dir())

    @property
    def exists(self) -> bool:
        """True if the cluster exists, which may be damaged; otherwise `start` creates it."""
        return child.has_data(self._cluster)

    @property
    def log_path(self) -> Path:
        """The server's log. Beyond 8 MiB it is rotated to ``postgres.log.1``, replacing the previous one."""
        return self._dir / "postgres.log"

    @property
    def pid(self) -> int | None:
        """The server's process id, or None if it is not running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, timeout_s: float = 30.0) -> None:
        """Create the cluster if it is missing, start the server, and return when it accepts connections.

        Waits, within ``timeout_s``, for a server of this directory that is still shutting down.
        Raises EmbeddedPostgresError if the start fails. Then nothing is left running, and `start` may be called again.
        """
        if self._lock is not None:
            raise EmbeddedPostgresError(f"PostgreSQL in {self._dir} is already started by this object")
        deadline = time.monotonic() + timeout_s
        try:
            self._bin = child.find_binaries(self._binaries)
            self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._identity = child.identity_for(self._dir)
            self._take_lock()
            self._wait_for_previous(deadline)
            version = self._check_binaries(deadline)
            if self.exists:
                child.check_data_version(self._cluster, self._bin, version)
            else:
                self._init(version, deadline)
            self._socket_dir = make_socket_dir(self._dir, self._give)
            self._launch(deadline)
            self._keeper = Keeper(self)
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                raise EmbeddedPostgresError(self._system_problem(error)) from error
            raise

    def stop(self, timeout_s: float = 30.0) -> None:
        """Shut down: fast (SIGINT) within ``timeout_s``, then immediate (SIGQUIT), then SIGKILL. No-op if stopped."""
        if self._keeper is not None:
            self._keeper.stop()
            self._keeper = None
        for number, patience_s in ((signal.SIGINT, timeout_s), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
            if self._process is None:
                break
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
                self._process = None
        if self._lock is not None:
            remove_socket_dir(self._dir)
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _system_problem(self, error: OSError) -> str:
        reason = f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")
        fix = "free space on its disk"
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            fix = f"DRAFTLINE_DATA_DIR must be a directory that user {os.geteuid()} can write to"
        return f"Cannot start PostgreSQL in {self._dir}: {reason}; {fix}"

    def _running_socket_dir(self) -> Path:
        if self._process is None:
            raise EmbeddedPostgresError(f"PostgreSQL in {self._dir} is not running")
        return self._socket_dir

    def _open(self, path: Path) -> IO[bytes]:
        """Open for appending and reading. Never follows a link, because root may write in another user's directory."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        opened = os.open(path, flags, 0o600)
        self._give(opened)
        return os.fdopen(opened, "a+b", buffering=0)

    def _take_lock(self) -> None:
        lock = self._open(self._dir / "draftline.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read(20).decode().strip() or "unknown"
            lock.close()
            raise InUseError(
                f"{self._dir} is in use by another Draftline (process {holder}): stop it, or use another directory"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n".encode())
        self._lock = lock

    def _wait_for_previous(self, deadline: float) -> None:
        while pids := child.servers(self._cluster):
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"Another process already runs PostgreSQL in {self._cluster} (pids {pids}): "
                    "wait until it has shut down, or stop it with SIGINT to the lowest pid"
                )
            time.sleep(0.02)
        pid = child.pid_file(self._cluster)[0]
        if pid and Path("/proc", pid).exists():  # a stale file whose pid now belongs to another program
            (self._cluster / "postmaster.pid").unlink()

    def _give(self, made: Path | int) -> None:
        child.give(made, self._identity)

    def _run(self, deadline: float, program: str, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes]:
        left_s = max(0.1, deadline - time.monotonic())
        return child.run(self._identity, self._dir, self._bin / program, *arguments, stdin=stdin, timeout_s=left_s)

    def _check_binaries(self, deadline: float) -> int:
        """Run PostgreSQL and return its major version. Fall back to an unprivileged user if a namespace is refused."""
        status, output = self._run(deadline, "postgres", "--version")
        if status == child.NAMESPACE_REFUSED:
            self._identity = child.hand_over(self._dir)
            status, output = self._run(deadline, "postgres", "--version")
        version = child.version_of(output)
        if status != 0 or version is None:
            raise EmbeddedPostgresError(
                f"{self._bin}/postgres does not run in {self._dir} (status {status}):\n{child.last_lines(output)}"
            )
        return version

    def _init(self, version: int, deadline: float) -> None:
        """Create the cluster, with its database, in a temporary directory, and rename it into place."""
        for leftover in self._dir.glob("cluster.init-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh = tempfile.mkdtemp(prefix="cluster.init-", dir=self._dir)
        self._give(Path(fresh))
        options = ["--username=draftline", "--encoding=UTF8", "--locale=C", "--auth-local=trust", "--auth-host=reject"]
        if version >= 17:  # collates like C, with case mapping beyond ASCII
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not self._durable:
            options.append("--no-sync")
        single = ["--single", "-D", fresh, "-c", "exit_on_error=true", *self._fsync_settings(), "postgres"]
        create = b"CREATE DATABASE draftline;\n"
        for program, arguments, stdin in (("initdb", ["-D", fresh, *options], b""), ("postgres", single, create)):
            status, output = self._run(deadline, program, *arguments, stdin=stdin)
            if status != 0:
                end = child.last_lines(output)
                raise EmbeddedPostgresError(f"{program} failed in {fresh} (status {status}):\n{end}")
        Path(fresh).rename(self._cluster)
        if self._durable:
            made = os.open(self._dir, os.O_RDONLY)
            os.fsync(made)  # without it, a power loss could undo the rename, and the next start discards the cluster
            os.close(made)

    def _fsync_settings(self) -> list[str]:
        state = "on" if self._durable else "off"
        return [f"--{name}={state}" for name in ("fsync", "synchronous_commit", "full_page_writes")]

    def start_again(self) -> None:
        """Restart a server that has ended. Called by the keeper. Raises OSError if it cannot be started."""
        with self._open(self.log_path) as log:
            self._process = self._spawn(log)

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()] + self._fsync_settings()
        settings.append(f"--max_connections={self._connections}")
        settings.append('--unix_socket_directories="' + str(self._socket_dir).replace('"', '""') + '"')
        server = self._bin / "postgres"
        return child.spawn(self._identity, self._dir, log, server, "-D", str(self._cluster), *settings)

    def _launch(self, deadline: float) -> None:
        self.trim_log()
        with self._open(self.log_path) as log:
            before = log.seek(0, os.SEEK_END)
            self._process = self._spawn(log)
            while not self.is_ready():
                ended = self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    outcome = f"ended with status {self._process.returncode}" if ended else "is not ready in time"
                    log.seek(before)
                    end = child.last_lines(log.read())
                    raise EmbeddedPostgresError(
                        f"PostgreSQL in {self._cluster} {outcome}. End of {self.log_path}:\n{end}"
                    )
                time.sleep(0.01)

    def is_ready(self) -> bool:
        """Return whether the server accepts connections."""
        lines = child.pid_file(self._cluster)
        return self.pid is not None and lines[0] == str(self.pid) and lines[7] == "ready"

    def trim_log(self) -> None:
        """Rotate a log beyond its limit, by copy and truncate because PostgreSQL holds it open for append."""
        with contextlib.suppress(OSError), self._open(self.log_path) as log:
            if log.seek(0, os.SEEK_END) > _LOG_BYTES:
                with self._open(self.log_path.with_suffix(".log.1")) as older:
                    older.truncate(0)
                    log.seek(0)
                    shutil.copyfileobj(log, older)
                log.truncate(0)
