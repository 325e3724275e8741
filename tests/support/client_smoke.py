"""Use both clients on a live service in an environment that has only the client; print "done" at the end."""

from __future__ import annotations

import asyncio
import sys
import uuid

import draftline
from draftline import DraftEdit, op

FILMS = [("m-1", {"Title": "Alien", "Votes": 1}), ("m-2", {"Title": "Jaws", "Votes": 2**70})]


def blocking(address: str, tenant_id: str) -> None:
    with draftline.Client(address, tenant_id=tenant_id, user="ada") as client:
        assert client.import_content("movies", FILMS).inserted_count == 2
        client.put_collection("movies", fields={"/Votes": "number"})
        with client.watch("movies") as watch, draftline.CachedReader(client, "movies") as reader:
            result = client.patch_content("movies", "m-1", operations=[op.increment("/Votes"), op.add("/Rating", 8.5)])
            assert result.changed_fields == ("Rating", "Votes")
            assert next(watch).paths[0].path == "/Rating"
            assert reader.get("movies", "m-1", min_version=2).content == {"Title": "Alien", "Votes": 2, "Rating": 8.5}
        with client.session("movies") as session:
            session.save([DraftEdit("m-1", {"Title": "ALIEN"}, strategy="deep"), DraftEdit("m-2", delete=True)])
            assert [f"{each.state}" for each in client.get_merged("movies", show_deleted=True)] == ["draft", "draft"]
        client.revert(commit_id=session.results.commit_id)
        try:
            client.patch_content("movies", "m-1", {}, expected_version=1)
        except draftline.VersionMismatchError as error:
            assert error.current_version == 4  # noqa: PT017  no pytest here
        else:
            raise AssertionError("a stale version was taken")


async def asynchronous(address: str, tenant_id: str) -> None:
    async with draftline.AsyncClient(address, tenant_id=tenant_id, user="bob") as client:
        async with client.watch("movies") as watch, draftline.AsyncCachedReader(client, "movies") as reader:
            await asyncio.gather(
                *(client.patch_content("movies", "m-2", operations=[op.increment("/Votes")]) for _ in range(9))
            )
            assert [(await watch.__anext__()).version for _ in range(9)] == list(range(4, 13))
            assert (await reader.get("movies", "m-2")).content["Votes"] == 2**70 + 9
        listed = [each.record_id async for each in client.stream_merged("movies", order_by="Votes desc")]
        assert listed == ["m-2", "m-1"]


if __name__ == "__main__":
    tenant = f"tenant-{uuid.uuid4()}"
    blocking(sys.argv[1], tenant)
    asyncio.run(asynchronous(sys.argv[1], tenant))
    print("done")
