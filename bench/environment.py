"""The benchmark environment: a PostgreSQL, a server and load processes, all private to it."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from draftline_server.auth.permissions import Permission
from draftline_server.auth.tokens import TokenRules, development_token
from draftline_server.embedded_postgres.server import EmbeddedPostgres
from draftline_server.ops import migrate

from .load_generators import LoadGenerators, load_generators
from .processes import Server, children_cpu_s, run_server, run_sync_workers

DAY_S = 86_400
RULES = TokenRules("bench", "bench", max_lifetime_s=DAY_S)
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Environment:
    """The benchmark environment. `server` has default settings and authenticates callers by tokens."""

    home: Path
    postgres: EmbeddedPostgres
    binaries: Path | None
    secret_file: Path
    server: Server
    load_generators: LoadGenerators

    @property
    def url(self) -> str:
        return self.postgres.url

    @property
    def address(self) -> str:
        return self.server.address

    def token(self, tenants: Sequence[str], user: str = "bench") -> str:
        """Return a token with every permission in these tenants."""
        scopes = [permission.value for permission in Permission]
        secret = self.secret_file.read_bytes()
        return development_token(secret, RULES, user=user, tenants=tenants, scopes=scopes, lifetime_s=DAY_S)

    def start_server(self, **settings: object) -> AbstractContextManager[Server]:
        """Return a context manager that runs another server over the same database."""
        return self.start_server_at(self.url, **settings)

    def start_server_at(self, url: str, **settings: object) -> AbstractContextManager[Server]:
        """Return a context manager that runs another server over another database."""
        return run_server(self.home, url, **_authentication(self.secret_file), **settings)

    def start_sync_workers(self, **settings: object) -> AbstractContextManager[Server]:
        """Return a context manager that runs the workers of syncs over the same database."""
        return run_sync_workers(self.home, self.url, **settings)

    def cpu_used_s(self, server: Server) -> Mapping[str, float]:
        """Return the processor time so far of the server and of PostgreSQL."""
        pid = self.postgres.pid
        return {"server": server.cpu_s(), "PostgreSQL": children_cpu_s(pid) if pid is not None else 0.0}


@contextmanager
def benchmark_environment(binaries: Path | None) -> Iterator[Environment]:
    """Set up the environment, and remove it at the end of the block. Raise BenchError if a server does not start."""
    with (
        tempfile.TemporaryDirectory(prefix="draftline-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "data", binaries=binaries) as postgres,
    ):
        home = Path(folder)
        secret_file = home / "secret"
        secret_file.write_text(f"{secrets.token_urlsafe(SECRET_BYTES)}\n")
        migrate.upgrade(postgres.url)
        with (
            run_server(home, postgres.url, **_authentication(secret_file)) as server,
            load_generators(home) as generators,
        ):
            yield Environment(home, postgres, binaries, secret_file, server, generators)


def _authentication(secret_file: Path) -> dict[str, object]:
    return {
        "auth_secret_file": secret_file,
        "auth_issuer": RULES.issuer,
        "auth_audience": RULES.audience,
        "auth_max_lifetime_s": RULES.max_lifetime_s,
    }
