"""Endless iterators of serialized requests."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator

from draftline.v1 import content_pb2, types_pb2

from .load_generators import Load
from .records import record_id

BATCH = 100  # patches in one BatchPatchContent


def patches(load: Load) -> Iterator[bytes]:
    """Yield patches of random records."""
    chooser = _chooser(load)
    request = content_pb2.PatchContentRequest()
    while True:
        _fill(request, load, chooser, chooser.randrange(load.records))
        yield request.SerializeToString()


def patches_of_one_record(load: Load) -> Iterator[bytes]:
    """Yield patches of one record, the same in every process."""
    chooser = _chooser(load)
    request = content_pb2.PatchContentRequest()
    while True:
        _fill(request, load, chooser, 0)
        yield request.SerializeToString()


def batches(load: Load) -> Iterator[bytes]:
    """Yield batches of patches, each of BATCH random records."""
    chooser = _chooser(load)
    size = min(BATCH, load.records)
    request = content_pb2.BatchPatchContentRequest(tenant_id=load.tenant_id)
    while True:
        del request.requests[:]
        for number in chooser.sample(range(load.records), size):
            _fill(request.requests.add(), load, chooser, number)
            request.requests[-1].ClearField("request_id")
        request.request_id = _uuid(chooser)
        yield request.SerializeToString()


def gets(load: Load) -> Iterator[bytes]:
    """Yield reads of random records."""
    chooser = _chooser(load)
    request = content_pb2.GetContentRequest(
        tenant_id=load.tenant_id, collection=load.collection, response_encoding=types_pb2.ENCODING_JSON
    )
    while True:
        request.record_id = record_id(chooser.randrange(load.records))
        yield request.SerializeToString()


def _chooser(load: Load) -> random.Random:
    return random.Random(load.seed)  # noqa: S311 - a load needs no secrets


def _fill(request: content_pb2.PatchContentRequest, load: Load, chooser: random.Random, number: int) -> None:
    request.tenant_id, request.collection = load.tenant_id, load.collection
    request.record_id = record_id(number)
    request.response_encoding = types_pb2.ENCODING_JSON
    request.delta.json = delta(chooser)
    request.request_id = _uuid(chooser) if load.request_ids else ""


def delta(chooser: random.Random) -> str:
    return f'{{"IMDB Votes":{chooser.randrange(1 << 40)}}}'


def _uuid(chooser: random.Random) -> str:
    return str(uuid.UUID(int=chooser.getrandbits(128), version=4))
