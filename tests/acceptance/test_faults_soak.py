"""Nothing lost, doubled or torn, whatever is killed. DRAFTLINE_KILLS and DRAFTLINE_RESTARTS make it longer."""

from __future__ import annotations

import asyncio
import os
from itertools import chain, cycle, islice
from pathlib import Path

import grpc
from history import End, History, Stored
from stage import Recovery, recovery, staged
from writers import CHANNEL_OPTIONS, Writer, prepare

KILLS = int(os.environ.get("DRAFTLINE_KILLS", "3"))
RESTARTS = int(os.environ.get("DRAFTLINE_RESTARTS", "1"))
STEADY_S = float(os.environ.get("DRAFTLINE_STEADY_S", "1"))  # between two faults
WRITERS = 24
BLIND = 4  # more, who have no request ids
PATIENCE_S = 30.0
TENANT = "acme"


async def test_nothing_is_lost_doubled_or_torn_whatever_is_killed(tmp_path: Path) -> None:
    history, is_over = History(), asyncio.Event()
    recoveries: list[Recovery] = []
    with staged(tmp_path / "data") as stage:
        async with grpc.aio.insecure_channel(stage.address, CHANNEL_OPTIONS) as channel:
            await prepare(channel, TENANT, history)
            writers = [Writer(channel, TENANT, f"w{number}", history) for number in range(WRITERS)]
            writers += [Writer(channel, TENANT, f"b{number}", history, has_ids=False) for number in range(BLIND)]
            working = [asyncio.create_task(writer.work(is_over.is_set)) for writer in writers]
            kills = islice(cycle([stage.kill_service, stage.kill_backend, stage.terminate_backends]), KILLS)
            for fault in chain(kills, [stage.restart_postgres] * RESTARTS):
                recoveries.append(await recovery(fault, history, steady_s=STEADY_S, patience_s=PATIENCE_S))
                print(recoveries[-1], flush=True)
            is_over.set()
            await asyncio.gather(*working)
        stored = await Stored.read(stage.postgres.url, TENANT)
    print(
        f"{history.count(End.DONE)} calls acknowledged, {history.count(End.REFUSED)} refused, "
        f"{history.count(End.UNKNOWN)} unknown, {len(stored.log)} changes of {len(stored.records)} records"
    )
    assert history.problems(stored) == []
    assert all(each.back_s < PATIENCE_S for each in recoveries)
