"""The connectors that the service has pass the tests that it offers to others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from draftline.testing.upstream import UpstreamConformance
from draftline.upstreams import CollectionBinding, FieldMapping, Upstream
from draftline_server.upstreams.registry import Upstreams
from support.memory_upstream import MemorySystem, MemoryUpstream, Traits
from support.toy_upstream import endpoints, grpc_endpoint, toy

BINDING = CollectionBinding(collection="conformance", resource="parts")


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    """A toy system of record, over gRPC and HTTP."""
    served = toy.Running(toy.System())
    yield served
    served.stop()


class TestMemory(UpstreamConformance):
    """The upstream in memory."""

    traits = Traits(page_size=2)

    @pytest.fixture(autouse=True)
    def _system(self) -> None:
        self.system = MemorySystem(traits=self.traits)

    def open(self) -> Upstream:
        return MemoryUpstream(self.system)


class TestMemoryWithoutGuarantees(TestMemory):
    """The upstream in memory, of a system that has neither keys nor versions."""

    traits = Traits(keys=False, conditional=False, reference=False, atomic=False, max_batch=1, page_size=2)


class TestGrpc(UpstreamConformance):
    """The toy over gRPC."""

    fields: tuple[FieldMapping, ...] = ()

    @pytest.fixture(autouse=True)
    def _endpoint(self, running: Any) -> None:
        toy_endpoint = grpc_endpoint(running.grpc_port)
        self.upstreams = Upstreams(lambda: endpoints(toy=toy_endpoint))

    def open(self) -> Upstream:
        binding = CollectionBinding(collection="conformance", resource="parts", fields=self.fields)
        return self.upstreams.open("toy", "acme", [binding])


class TestGrpcWithMappedFields(TestGrpc):
    """The toy over gRPC, whose fields have other names and forms."""

    fields = (
        FieldMapping(local="/name", remote="/about/title"),
        FieldMapping(local="/note", remote="/about/note"),
        FieldMapping(local="/rate", remote="/price~1h", type="number"),
    )
