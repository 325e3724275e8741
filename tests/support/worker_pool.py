"""A service of several workers, and connections to each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import draftline
import psutil

from support.polling import until
from support.server_process import Served

OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
MODULE = "draftline_server.processes.worker"
MOST_CONNECTIONS = 200  # that it may take until each worker has one: the kernel chooses by the caller's port


def workers(service: Served) -> list[psutil.Process]:
    """Return the running worker processes."""
    return workers_of(service.process.pid)


def workers_of(supervisor: int) -> list[psutil.Process]:
    """Return the running worker processes of a supervisor, which may have ended."""
    try:
        children = psutil.Process(supervisor).children()
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return MODULE in process.cmdline()
    except psutil.Error:  # it ends, and may be a zombie by now
        return False


def callers_of(worker: psutil.Process, address: str) -> set[Any]:
    """Return the remote ends of the worker's connections."""
    port = int(address.rpartition(":")[2])
    return {each.raddr for each in worker.net_connections("tcp") if each.laddr.port == port and each.raddr}


@contextmanager
def client_of_each(service: Served, **options: Any) -> Iterator[list[draftline.Client]]:
    """Open one client for each worker, each on its own connection."""
    crew = workers(service)
    found: dict[int, draftline.Client] = {}
    with ExitStack() as opened:
        for _ in range(MOST_CONNECTIONS):
            before = {worker.pid: callers_of(worker, service.address) for worker in crew}
            client = draftline.Client(service.address, options=OWN_CONNECTION, **options)
            list(client.list_collections())
            (pid,) = until(
                lambda before=before: [
                    worker.pid for worker in crew if callers_of(worker, service.address) - before[worker.pid]
                ]
            )
            if pid in found:
                client.close()
            else:
                found[pid] = opened.enter_context(client)
            if len(found) == len(crew):
                yield [found[worker.pid] for worker in crew]
                return
    raise AssertionError(f"{MOST_CONNECTIONS} connections went to {len(found)} of {len(crew)} workers")
