"""Let fifty callers count votes for a film concurrently, without losing any.

make serve                                  in one terminal
.venv/bin/python examples/votes.py          in another
"""

from __future__ import annotations

import asyncio
import sys

import draftline
from draftline import op

CALLERS, VOTES = 50, 20


async def vote(client: draftline.AsyncClient, film: str) -> None:
    for _ in range(VOTES):
        await client.patch_content(
            "votes", film, operations=[op.increment("/votes", 1)], allow_missing=True, fields=["votes"]
        )


async def main(address: str) -> None:
    async with draftline.AsyncClient(address, tenant_id="demo", user="ada") as client:
        started = await client.patch_content("votes", "alien", {"votes": 0}, allow_missing=True)
        await asyncio.gather(*(vote(client, "alien") for _ in range(CALLERS)))
        film = await client.get_content("votes", "alien")
        versions = film.version - started.record.version
        print(f"{film.content['votes']} of {CALLERS * VOTES} votes, {versions} versions later")


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:] or ["127.0.0.1:50051"])))
