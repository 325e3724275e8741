"""Measure pages with related records against the same pages alone.

Each film has one maker. Each maker has ten films, which are its own, and ten partners, which other makers share.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import asyncpg
import draftline
import grpc
import uvloop
from draftline import DeclaredRelation
from draftline.v1 import draft_pb2, types_pb2

from .environment import Environment
from .measurements import Measurements
from .processes import BenchError
from .records import fill, settle
from .sizes import Sizes

TENANT = "relations"
FILMS, MAKERS = "movies", "makers"
FILMS_EACH = 10  # of a maker
PAGE = 100
WARM_UP, SAMPLES = 1, 4

FILMS_ALONE, FILMS_WITH_MAKER = "GetMerged, 100 films", "GetMerged, 100 films with a maker each"
MAKERS_ALONE, MAKERS_WITH_FILMS = "GetMerged, 100 makers", f"GetMerged, 100 makers with {FILMS_EACH} films each"
MAKERS_WITH_TITLES = f"GetMerged, 100 makers with the titles of {FILMS_EACH} films each"
MAKERS_WITH_PARTNERS = f"GetMerged, 100 makers with {FILMS_EACH} shared partners each"

NAME_MAKERS = """
UPDATE draftline.record SET content = content
    || jsonb_build_object('Maker', 'film-' || lpad(((content ->> 'Number')::int % $3::int)::text, 8, '0'))
WHERE tenant_id = $1 AND collection = $2
"""

# Partners are among the makers of the same page.
NAME_PARTNERS = """
UPDATE draftline.record SET content = content || jsonb_build_object('Partners', (
    SELECT jsonb_agg('film-' || lpad((n.number / $3 * $3 + (n.number + 7 * k) % $3)::text, 8, '0'))
    FROM generate_series(1, $4::int) AS k, (SELECT (content ->> 'Number')::int AS number) AS n))
WHERE tenant_id = $1 AND collection = $2
"""

Call = Callable[[], Awaitable[Any]]


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    uvloop.run(_prepare(environment, sizes.records))
    uvloop.run(_measure(environment, sizes, measurements))


async def _prepare(environment: Environment, count: int) -> None:
    makers = max(PAGE, count // FILMS_EACH)
    connection = await asyncpg.connect(environment.url, server_settings={"statement_timeout": "0"})
    try:
        await fill(connection, TENANT, FILMS, makers * FILMS_EACH)
        await fill(connection, TENANT, MAKERS, makers)
        await connection.execute(NAME_MAKERS, TENANT, FILMS, makers)
        await connection.execute(NAME_PARTNERS, TENANT, MAKERS, PAGE, FILMS_EACH)
    finally:
        await connection.close()
    async with draftline.AsyncClient(
        environment.address, tenant_id=TENANT, token=environment.token([TENANT]), timeout=None
    ) as client:
        await client.put_collection(FILMS, relations=[DeclaredRelation("maker", "/Maker", MAKERS, inverse="films")])
        await client.put_collection(MAKERS, relations=[DeclaredRelation("partners", "/Partners", MAKERS)])
        for collection in (FILMS, MAKERS):
            await client.wait_until_built(collection)
    await settle(environment.url)


async def _measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    async with grpc.aio.insecure_channel(environment.address) as channel:
        calls = {
            FILMS_ALONE: await _call(environment, channel, FILMS),
            FILMS_WITH_MAKER: await _call(environment, channel, FILMS, "maker", included=PAGE),
            MAKERS_ALONE: await _call(environment, channel, MAKERS),
            MAKERS_WITH_FILMS: await _call(environment, channel, MAKERS, "films", included=PAGE * FILMS_EACH),
            MAKERS_WITH_TITLES: await _call(
                environment, channel, MAKERS, "films", included=PAGE * FILMS_EACH, fields=["Title"]
            ),
            MAKERS_WITH_PARTNERS: await _call(environment, channel, MAKERS, "partners", included=PAGE),
        }
        for name, times_s in (await _times_s(calls, sizes.page_rounds)).items():
            measurements.add_times(name, times_s)


async def _call(
    environment: Environment, channel: grpc.aio.Channel, collection: str, expand: str = "", *, included: int = 0,
    fields: Sequence[str] = (),
) -> Call:  # fmt: skip
    """Return a call for a page. Raise BenchError if it does not include as many records as expected."""
    request = draft_pb2.GetMergedRequest(
        tenant_id=TENANT, collection=collection, page_size=PAGE, expand=[expand] if expand else [],
        included_fields=fields, response_encoding=types_pb2.ENCODING_JSON,
    )  # fmt: skip
    rpc: Any = channel.unary_unary("/draftline.v1.DraftService/GetMerged")
    metadata = (("authorization", f"Bearer {environment.token([TENANT], 'ada')}"),)
    answer = draft_pb2.GetMergedResponse.FromString(await rpc(request.SerializeToString(), metadata=metadata))
    if (len(answer.records), len(answer.included)) != (PAGE, included):
        raise BenchError(f"a page has {len(answer.records)} records and includes {len(answer.included)}")
    message = request.SerializeToString()
    return lambda: rpc(message, metadata=metadata)


async def _times_s(calls: Mapping[str, Call], rounds: int) -> Mapping[str, Sequence[float]]:
    """Time the calls in rounds, so that other load on the machine affects all of them alike."""
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            for number in range(WARM_UP + SAMPLES):
                started = time.perf_counter()
                await call()
                if number >= WARM_UP:
                    times_s[name].append(time.perf_counter() - started)
    return times_s
