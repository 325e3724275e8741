"""A full disk is an error of its own, and a warning until a minute after the last failure."""

from __future__ import annotations

import asyncpg
import pytest
from draftline_server.background.storage_watch import RECENT_S, StorageWatch
from draftline_server.domain.errors import OverloadedError, StorageFullError
from draftline_server.store.driver_errors import NothingDoneError, translate
from draftline_server.store.query_stats import QueryRunner, QueryTiming


def test_full_disk_is_told_apart_from_other_scarce_resources() -> None:
    full, scarce = asyncpg.DiskFullError(), asyncpg.OutOfMemoryError()
    assert isinstance(translate(full), StorageFullError)
    assert isinstance(translate(scarce), OverloadedError)
    refused = NothingDoneError()
    refused.__cause__ = full
    assert isinstance(translate(refused), StorageFullError)


async def test_statement_that_finds_the_disk_full_is_counted_and_warned_of() -> None:
    now, watch, runner = [1000.0], StorageWatch(lambda: now[0]), QueryRunner()
    runner.observers.append(watch.query_ended)

    async def fail() -> None:
        raise asyncpg.DiskFullError

    with pytest.raises(asyncpg.DiskFullError):
        await runner.run("copy", fail())
    assert (watch.failures, "disk" in watch.warning) == (1, True)
    watch.query_ended(QueryTiming("get_content", 0.0, 0.1, failed=True, sqlstate="57014"))
    now[0] += RECENT_S + 1
    assert (watch.failures, watch.warning) == (1, "")
