"""Nothing lost, doubled or torn, whatever is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import chain, cycle, islice
from pathlib import Path

import grpc
from support.call_history import End, History, Stored
from support.crash_harness import Recovery, recovery, staged
from support.polling import eventually
from support.retrying_writers import CHANNEL_OPTIONS, Writer, prepare
from support.soak_scale import IS_SOAK, length

KILLS = length("KILLS", 2, soak=20)  # of the server and of backends of PostgreSQL
RESTARTS = length("RESTARTS", 1, soak=5)  # of PostgreSQL
WRITES = length("WRITES", 0, soak=200_000)  # calls acknowledged at least, over all faults
STEADY_S = length("STEADY_S", 0.5, soak=5.0)  # between two faults
WRITERS = length("WRITERS", 6, soak=64)
BLIND = 4  # more, who have no request ids
PATIENCE_S = 30.0
LONG_S = 3_600.0
# A long run counts if every writer wrote before each fault, and the service was back soon, as etcd requires of itself.
MOST_BACK_S, MOST_RECOVERED_S = 5.0, 10.0
TENANT = "acme"


async def test_nothing_is_lost_doubled_or_torn_whatever_is_killed(
    data_dir: Path, report: Callable[[str], None]
) -> None:
    history, is_over = History(), asyncio.Event()
    recoveries: list[Recovery] = []
    with staged(data_dir) as stage:
        async with grpc.aio.insecure_channel(stage.address, CHANNEL_OPTIONS) as channel:
            await prepare(channel, TENANT, history)
            writers = [Writer(channel, TENANT, f"w{number}", history) for number in range(WRITERS)]
            writers += [Writer(channel, TENANT, f"b{number}", history, has_ids=False) for number in range(BLIND)]
            working = [asyncio.create_task(writer.work(is_over.is_set)) for writer in writers]
            kills = islice(cycle([stage.kill_service, stage.kill_backend, stage.terminate_backends]), KILLS)
            for number, fault in enumerate(chain(kills, [stage.restart_postgres] * RESTARTS), 1):
                share = WRITES * number // (KILLS + RESTARTS)
                await eventually(lambda share=share: len(history.acknowledged) >= share, LONG_S)
                recoveries.append(await recovery(fault, history, steady_s=STEADY_S, patience_s=PATIENCE_S))
                report(str(recoveries[-1]))
            is_over.set()
            await asyncio.gather(*working)
        stored = await Stored.read(stage.postgres.url, TENANT)
    report(
        f"{history.count(End.DONE)} calls acknowledged, {history.count(End.REFUSED)} refused, "
        f"{history.count(End.UNKNOWN)} unknown, {len(stored.log)} changes of {len(stored.records)} records"
    )
    assert history.problems(stored) == []
    assert all(each.back_s < PATIENCE_S for each in recoveries)
    if IS_SOAK:
        assert min(each.rate_before for each in recoveries) * STEADY_S >= WRITERS
        assert max(each.back_s for each in recoveries) < MOST_BACK_S
        assert max(each.recovered_s for each in recoveries) < MOST_RECOVERED_S
