"""A stateless service that sells seats by patches, and never sells a seat twice.

make serve                                  in one terminal
.venv/bin/python examples/service.py        in another

A purchase is one patch: its condition, its operations and the log entry are one statement. The service reads nothing
first, and any number of instances may sell concurrently. The buyer's request id makes a repeated click buy once.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from dataclasses import dataclass

import draftline
from draftline import op

SHOW, SEATS, BUYERS = "alien-at-midnight", 40, 60


@dataclass(frozen=True)
class Purchase:
    """The request of a buyer's browser, which it repeats if there is no response."""

    buyer: str
    request_id: str


class BoxOffice:
    def __init__(self, client: draftline.AsyncClient) -> None:
        self._client = client

    async def open(self) -> None:
        """Offer all seats, and forget earlier sales."""
        seats = {"free": SEATS, "sold_to": []}
        await self._client.patch_content("shows", SHOW, seats, strategy="replace", allow_missing=True)

    async def buy(self, purchase: Purchase) -> str:
        """Buy a seat, and return a message for the buyer."""
        try:
            result = await self._client.patch_content(
                "shows",
                SHOW,
                operations=[op.increment("/free", -1), op.add("/sold_to/-", purchase.buyer)],
                condition="free > 0",
                fields=["free"],
                change_reason=f"sold to {purchase.buyer}",
                request_id=purchase.request_id,
            )
        except draftline.ConditionNotMetError:
            return "sold out"
        return f"yours, {result.record.content['free']} left"


async def main(address: str) -> None:
    async with draftline.AsyncClient(address, tenant_id="demo", user="box-office") as client:
        office = BoxOffice(client)
        await office.open()
        purchases = [Purchase(f"buyer-{number}", str(uuid.uuid4())) for number in range(BUYERS)]
        messages = await asyncio.gather(*(office.buy(each) for each in purchases for _ in range(2)))
        sold = sum(each.startswith("yours") for each in messages[::2])
        show = await client.get_content("shows", SHOW)
        buyers = show.content["sold_to"]
        print(f"{sold} of {BUYERS} buyers got a seat, {show.content['free']} are free")
        print(f"{len(buyers)} seats are sold, to {len(set(buyers))} buyers")


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:] or ["127.0.0.1:50051"])))
