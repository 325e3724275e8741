"""Every watcher sees every acknowledged change once, in the order of its record, whoever is cut off or killed."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import grpc
from support.call_history import End, History, Stored, Written
from support.crash_harness import staged
from support.polling import eventually
from support.resuming_watchers import Watcher
from support.retrying_writers import CHANNEL_OPTIONS, Writer, prepare
from support.soak_scale import length
from support.tcp_proxy import Proxy, before

WATCH_S = length("WATCH_S", 3.0, soak=60.0)
KILLS = length("WATCH_KILLS", 2, soak=6)
WRITERS = 10
WATCHERS = 5
CUT_OFF = 2  # of these, at random
CUT_EVERY_S = 0.5
TENANT = "acme"


async def cutting(proxy: Proxy) -> None:
    while True:
        await asyncio.sleep(random.uniform(0, 2 * CUT_EVERY_S))
        proxy.cut()


def by_record(changes: Sequence[Written]) -> dict[str, list[Written]]:
    found: dict[str, list[Written]] = defaultdict(list)
    for change in changes:
        found[change.record_id].append(change)
    return found


async def test_watchers_see_every_change_once_and_in_order(data_dir: Path, report: Callable[[str], None]) -> None:
    history, is_over = History(), asyncio.Event()
    with staged(data_dir, watch_heartbeat_s=1) as stage, before(stage.address) as (proxy, cut_address):
        addresses = [cut_address] * CUT_OFF + [stage.address] * (WATCHERS - CUT_OFF)
        watchers = [Watcher(address, TENANT) for address in addresses]
        watching = [asyncio.create_task(watcher.watch()) for watcher in watchers]
        await asyncio.gather(*(watcher.is_ready.wait() for watcher in watchers))
        async with grpc.aio.insecure_channel(stage.address, CHANNEL_OPTIONS) as channel:
            await prepare(channel, TENANT, history)
            writers = [Writer(channel, TENANT, f"w{number}", history) for number in range(WRITERS)]
            working = [asyncio.create_task(writer.work(is_over.is_set)) for writer in writers]
            cuts = asyncio.create_task(cutting(proxy))
            for _ in range(KILLS):
                await asyncio.sleep(WATCH_S / (KILLS + 1))
                await stage.kill_service()
            await asyncio.sleep(WATCH_S / (KILLS + 1))
            is_over.set()
            await asyncio.gather(*working)
            cuts.cancel()
        stored = await Stored.read(stage.postgres.url, TENANT)
        await eventually(lambda: all(len(watcher.seen) >= len(stored.log) for watcher in watchers))
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    report(
        f"{history.count(End.DONE)} calls, {len(stored.log)} changes, "
        f"streams of the watchers: {[watcher.streams for watcher in watchers]}, {proxy.cuts} connections cut"
    )
    assert history.problems(stored) == []
    expected = by_record([replace(written, place=(0, 0)) for written in stored.log])
    for watcher in watchers:
        assert watcher.surprises == []
        assert by_record(watcher.seen) == expected
