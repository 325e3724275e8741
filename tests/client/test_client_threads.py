"""One blocking client in several threads: calls of all kinds at once, and a close while they run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import draftline
from draftline import op

THREADS, ROUNDS = 6, 4


def test_client_is_shared_by_threads(server_address: str, tenant_id: str) -> None:
    with draftline.Client(server_address, tenant_id=tenant_id, user="ada") as client:
        client.create_content("films", {"n": 0, "bulk": 0}, record_id="shared")
        watch = client.watch("films", filter='record_id = "shared"')
        with watch, client.bulk_writer() as writer, draftline.CachedReader(client, "films") as reader:

            def work(thread: int) -> None:
                own = f"own-{thread}"
                for number in range(ROUNDS):
                    written = client.patch_content("films", "shared", operations=[op.increment("/n")])
                    seen = reader.get("films", "shared", min_version=written.record.version)
                    assert seen.version >= written.record.version
                    writer.patch("films", "shared", operations=[op.increment("/bulk")])
                    with client.session("films") as session:
                        session.edit(own, {"n": number}) if number else session.create(own, {"n": 0})
                    (merged,) = client.get_merged("films", filter=f'record.record_id = "{own}"')
                    assert merged.content == {"n": number}

            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(work, range(THREADS)))
            writer.flush()
            versions = [next(watch).version for _ in range(2 * THREADS * ROUNDS)]
        assert client.get_content("films", "shared").content == {"n": THREADS * ROUNDS, "bulk": THREADS * ROUNDS}
        assert versions == list(range(2, 2 + 2 * THREADS * ROUNDS))
        assert len(list(client.get_merged("films"))) == THREADS + 1


def test_close_ends_the_calls_of_other_threads_with_an_error(server_address: str, tenant_id: str) -> None:
    client = draftline.Client(server_address, tenant_id=tenant_id, user="ada")
    watch = client.watch("films")
    watch.__enter__()
    uses: list[Callable[[], Any]] = [
        lambda: client.patch_content("films", "1", {"n": 1}, allow_missing=True),
        lambda: list(client.get_merged("films")),
        lambda: next(watch),
    ]
    started, ended = threading.Barrier(len(uses) + 1), list[str]()

    def repeat(use: Callable[[], Any]) -> None:
        use()
        started.wait(60)
        try:
            while True:
                use()
        except (RuntimeError, StopIteration, draftline.CallCancelledError) as error:
            ended.append(type(error).__name__)

    threads = [threading.Thread(target=repeat, args=(use,)) for use in uses]
    for thread in threads:
        thread.start()
    started.wait(60)
    client.close()
    for thread in threads:
        thread.join(60)
    assert len(ended) == len(uses), ended
