"""Measure a whole list as one stream: its rate, and the server memory that it takes."""

from __future__ import annotations

from .environment import Environment
from .lists import COLLECTION, tenant_of, user_with
from .load_generators import Load
from .measurements import Measurements
from .processes import BenchError
from .sizes import Sizes

STREAM = "StreamMerged of the whole list"
MEMORY = "server memory above idle, StreamMerged of the whole list"


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    """Measure on a fresh server: memory that an earlier load allocated would hide what the stream takes."""
    tenant_id = tenant_of(sizes.records)
    token = environment.token([tenant_id], user_with(max(sizes.own_drafts)))
    for _ in range(sizes.rounds):
        with environment.start_server() as server:
            idle_mib = server.memory_mib()
            server.forget_peak()
            load = Load("stream", server.address, token=token, tenant_id=tenant_id, collection=COLLECTION)
            outcome = environment.load_generators.run_once(load)
            if outcome["count"] != sizes.records:
                raise BenchError(f"the stream has {outcome['count']:,} of {sizes.records:,} records")
            measurements.add(STREAM, "records/s", outcome["count"] / outcome["seconds"])
            measurements.add(MEMORY, "MiB", server.peak_memory_mib() - idle_mib)
