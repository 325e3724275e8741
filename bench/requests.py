"""Endless iterators of serialized requests."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator

from draftline.v1 import content_pb2, types_pb2

from .load_generators import Load
from .records import record_id

BATCH = 100  # patches in one BatchPatchContent
STREAMED = 50  # patches in one message of StreamPatches


def patches(load: Load) -> Iterator[bytes]:
    """Yield patches of random records."""
    rng = _rng(load)
    request = content_pb2.PatchContentRequest()
    while True:
        _fill(request, load, rng, rng.randrange(load.records))
        yield request.SerializeToString()


def patches_of_one_record(load: Load) -> Iterator[bytes]:
    """Yield patches of one record, the same in every process."""
    rng = _rng(load)
    request = content_pb2.PatchContentRequest()
    while True:
        _fill(request, load, rng, 0)
        yield request.SerializeToString()


def patches_of_a_declared_field(load: Load) -> Iterator[bytes]:
    """Yield patches of random records that move an order entry of each."""
    rng = _rng(load)
    request = content_pb2.PatchContentRequest()
    while True:
        _fill(request, load, rng, rng.randrange(load.records))
        request.delta.json = f'{{"Worldwide Gross":{rng.randrange(1 << 30)}}}'
        yield request.SerializeToString()


def batches(load: Load) -> Iterator[bytes]:
    """Yield batches of patches, each of BATCH random records."""
    rng = _rng(load)
    size = min(BATCH, load.records)
    request = content_pb2.BatchPatchContentRequest(tenant_id=load.tenant_id)
    while True:
        del request.requests[:]
        for number in rng.sample(range(load.records), size):
            _fill(request.requests.add(), load, rng, number)
            request.requests[-1].ClearField("request_id")
        request.request_id = _uuid(rng)
        yield request.SerializeToString()


def stream_messages(load: Load) -> Iterator[bytes]:
    """Yield messages of StreamPatches, each with STREAMED patches of random records."""
    rng = _rng(load)
    message = content_pb2.StreamPatchesRequest()
    while True:
        del message.items[:]
        for _ in range(STREAMED):
            _fill(message.items.add().patch, load, rng, rng.randrange(load.records))
        yield message.SerializeToString()


def gets(load: Load) -> Iterator[bytes]:
    """Yield reads of random records."""
    rng = _rng(load)
    request = content_pb2.GetContentRequest(
        tenant_id=load.tenant_id, collection=load.collection, response_encoding=types_pb2.ENCODING_JSON
    )
    while True:
        request.record_id = record_id(rng.randrange(load.records))
        yield request.SerializeToString()


def _rng(load: Load) -> random.Random:
    return random.Random(load.seed)  # noqa: S311 - a load needs no secrets


def _fill(request: content_pb2.PatchContentRequest, load: Load, rng: random.Random, number: int) -> None:
    request.tenant_id, request.collection = load.tenant_id, load.collection
    request.record_id = record_id(number)
    request.response_encoding = types_pb2.ENCODING_JSON
    request.delta.json = delta(rng)
    request.request_id = _uuid(rng) if load.request_ids else ""


def delta(rng: random.Random) -> str:
    return f'{{"IMDB Votes":{rng.randrange(1 << 40)}}}'


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
