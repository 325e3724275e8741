"""Read a counter from a cache in memory while another caller increments it.

make serve                                  in one terminal
.venv/bin/python examples/cache.py          in another
"""

from __future__ import annotations

import sys
import threading

import draftline
from draftline import op

VOTES = 100


def vote(client: draftline.Client) -> None:
    for _ in range(VOTES):
        client.patch_content("votes", "jaws", operations=[op.increment("/votes")])


def main(address: str) -> None:
    with (
        draftline.Client(address, tenant_id="demo", user="ada") as client,
        draftline.CachedReader(client, "votes") as reader,
    ):
        started = client.patch_content("votes", "jaws", {"votes": 0}, allow_missing=True)
        voter = threading.Thread(target=vote, args=(client,))
        voter.start()
        seen = [0]
        while seen[-1] < VOTES:
            film = reader.get("votes", "jaws", min_version=started.record.version)
            seen.append(film.content["votes"])
        voter.join()
        print(f"{seen[-1]} votes, and the count never decreased" if seen == sorted(seen) else "votes were lost")
        print(f"{reader.stats.hits} reads from memory, {reader.stats.misses} from the service")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["127.0.0.1:50051"]))
