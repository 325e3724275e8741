"""Writers and a watcher that go on while services are replaced, and count what was acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import draftline
from draftline import op

from support import sql
from support.polling import until

WRITERS = 3
# Calls go to every address, and to another one while a service is replaced.
SPREAD = [("grpc.lb_policy_name", "round_robin")]


class Load:
    """Writers that patch, save drafts and list until they are stopped; a call that fails is kept."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.acknowledged = 0
        self.failures: list[BaseException] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def round(self, client: draftline.Client, user: str) -> None:
        """Make the calls of one round; one of them increments the counter."""
        client.patch_content("films", "counter", operations=[op.increment("/n")], allow_missing=True)
        client.save_draft("films", f"draft-{user}", create={"n": 1}, replace=True)
        assert len(list(client.get_merged("films", order_by="n desc", filter="n >= 0"))) >= 1

    @contextmanager
    def on(self, *addresses: str) -> Iterator[None]:
        target = "ipv4:" + ",".join(addresses)
        self._stop.clear()
        threads = [threading.Thread(target=self._write, args=(f"user-{n}", target)) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def stored(self, url: str) -> int:
        """Return how many increments are stored."""
        counter = f"tenant_id = '{self.tenant}' AND record_id = 'counter'"
        (row,) = sql.fetch(url, f"SELECT content->>'n' AS n FROM draftline.record WHERE {counter}")
        return int(row["n"])

    def advance(self) -> None:
        """Wait until every writer has very probably made a call on each service."""
        start = self.acknowledged
        until(lambda: self.failures or self.acknowledged >= start + 5 * WRITERS)

    def _write(self, user: str, target: str) -> None:
        with draftline.Client(target, tenant_id=self.tenant, user=user, options=SPREAD) as client:
            while not self._stop.is_set():
                try:
                    self.round(client, user)
                except BaseException as error:
                    self.failures.append(error)
                    return
                with self._lock:
                    self.acknowledged += 1


class FullLoad(Load):
    """A load with writes of every kind, and a watch that must see each increment once."""

    def __init__(self, tenant: str) -> None:
        super().__init__(tenant)
        self.seen: list[int] = []  # the versions of the counter

    def round(self, client: draftline.Client, user: str) -> None:
        super().round(client, user)
        own, number = f"own-{user}", self.acknowledged
        patches = [draftline.Patch(own, {"n": number}, allow_missing=True, allow_deleted=True)]
        client.batch_patch_content("films", patches, change_reason="batch")
        client.save_draft("films", own, operations=[op.add("/seen", number)])
        committed = client.commit("films", record_ids=[own], conflict_policy="keep_mine")
        client.revert(commit_id=committed.commit_id, conflict_policy="keep_theirs")
        client.delete_content("films", own)
        client.undelete_content("films", own)
        client.import_content("imported", [(f"{user}-{n}", {"n": number}) for n in range(3)])
        with client.bulk_writer() as writer:
            writer.patch("films", own, operations=[op.increment("/bulk")])
        assert client.statistics("films", measures=["count", "sum(/n)"]).groups

    @contextmanager
    def on(self, *addresses: str) -> Iterator[None]:
        target = "ipv4:" + ",".join(addresses)
        client = draftline.Client(target, tenant_id=self.tenant, user="watcher", options=SPREAD)
        watch = client.watch("films", filter='record_id = "counter"')
        watch.__enter__()  # the watch begins here, before the first increment
        watching = threading.Thread(target=self._watch, args=(watch,))
        watching.start()
        try:
            with super().on(*addresses):
                yield
            until(lambda: self.failures or len(self.seen) >= self.acknowledged)
        finally:
            watch.close()
            watching.join()
            client.close()

    def _watch(self, watch: draftline.Watch[draftline.Change]) -> None:
        try:
            self.seen.extend(change.version for change in watch)
        except BaseException as error:
            self.failures.append(error)
