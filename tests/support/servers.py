"""Databases cloned from the template, and real servers on background threads."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import uvloop
from draftline_server import app
from draftline_server.ops import revisions
from draftline_server.settings import Settings
from draftline_server.store.query_stats import call_queries

from support import sql

T = TypeVar("T")


def on_database(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def run_sql(url: str, *statements: str) -> None:
    """Run statements one after another on a new connection."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    beside(asyncio.run, run())


def beside(work: Callable[..., T], *arguments: Any) -> T:
    """Run work in another thread, for work that starts its own event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *arguments).result()


@contextmanager
def cloned(postgres_url: str, template: str) -> Iterator[str]:
    name = f"draftline_test_{uuid.uuid4().hex}"
    # Copied as files: twice as fast as through the log of an empty cluster.
    sql.fetch(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    try:
        yield on_database(postgres_url, name)
    finally:
        sql.fetch(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(frozen=True)
class RunningServer:
    """A real server on a background thread."""

    address: str
    url: str
    app: app.App

    @contextmanager
    def statements_of_calls(self) -> Iterator[list[str]]:
        """Collect the statements of calls, without those of background work."""
        seen: list[str] = []
        observers = self.app.database.observers

        def observe(sql: str, _: BaseException | None) -> None:
            if call_queries.get() is not None:
                seen.append(sql)

        observers.append(observe)
        try:
            yield seen
        finally:
            observers.remove(observe)


@contextmanager
def serving(url: str, *, revision: str = "", **settings: object) -> Iterator[RunningServer]:
    """Serve a database with these settings on a background thread until the end of the block.

    `revision` is the schema revision that the service needs; empty: that of this version.
    """
    started: Future[app.App] = Future()
    loop = uvloop.new_event_loop()  # as it is served
    stop = asyncio.Event()

    async def serve() -> None:
        try:
            async with app.running(
                Settings(
                    **{
                        "port": 0,
                        "metrics_port": None,
                        "log_level": "error",
                        "drain_timeout_s": 2,
                        "max_imports": 16,
                        **settings,
                    }
                ),
                url,
                revision or revisions.head(),
            ) as running:
                started.set_result(running)
                await stop.wait()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="server")
    thread.start()
    try:
        running = started.result(timeout=60)
        yield RunningServer(running.address, url, running)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def start(url: str, **settings: object) -> None:
    """Start a server and stop it; for settings with which it must not start."""

    async def serve() -> None:
        async with app.running(Settings(**{"port": 0, "metrics_port": None, **settings}), url, revisions.head()):
            pass

    beside(asyncio.run, serve())
