"""The connectors that the service has pass the tests that it offers to others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from draftline.testing.upstream import UpstreamConformance
from draftline.upstreams import Applied, CollectionBinding, FieldMapping, Outcome, Upstream, WriteItem
from draftline_server.upstreams.registry import Upstreams
from support.http_dialects import Dialect, JsonApi, OData, Scim, serving
from support.memory_upstream import MemorySystem, MemoryUpstream, Traits
from support.servers import cloned, run_sql
from support.toy_upstream import endpoints, grpc_endpoint, shipped, toy

DOCUMENT = Path(__file__).parents[2] / "docs" / "connectors.md"
BINDING = CollectionBinding(collection="conformance", resource="parts")


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    """A toy system of record, over gRPC and HTTP."""
    served = toy.Running(toy.System())
    yield served
    served.stop()


@pytest.fixture(scope="module")
def tables_url(postgres_url: str) -> Iterator[str]:
    """An empty database."""
    with cloned(postgres_url, "template0") as url:
        yield url


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


class ReadAfterWrite(MemoryUpstream):
    """A connector that reads a record after it wrote it, in place of returning what the write stored."""

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        outcomes = await super().write(collection, items, atomic=atomic)
        return [await self._read(collection, each) if isinstance(each, Applied) else each for each in outcomes]

    async def _read(self, collection: str, applied: Applied) -> Applied:
        (found,) = await self.lookup(collection, [applied.remote_id])
        return Applied(applied.remote_id, found.remote_version, found)


def test_connector_that_reads_after_a_write_fails() -> None:
    """The record that it returns may hold a write of others, which Draftline would take for its own."""

    class Reading(UpstreamConformance):
        def open(self) -> Upstream:
            return ReadAfterWrite(MemorySystem())

    with pytest.raises(AssertionError):
        Reading().test_stored_record_is_that_of_its_own_write()


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


class TestHttp(UpstreamConformance):
    """The toy over HTTP, with the configuration that is shipped, one request for each record."""

    changed: ClassVar[dict[str, Any]] = {"batch": None}

    @pytest.fixture(autouse=True)
    def _endpoint(self, running: Any) -> None:
        definition = shipped("toy")
        definition |= {"base_url": f"http://127.0.0.1:{running.http_port}", "tenants": ["acme"]}
        definition["resources"]["parts"] |= self.changed
        self.upstreams = Upstreams(lambda: endpoints(toy=definition))

    def open(self) -> Upstream:
        return self.upstreams.open("toy", "acme", [BINDING])


class TestHttpInBatches(TestHttp):
    """The toy over HTTP, with the configuration that is shipped."""

    changed: ClassVar[dict[str, Any]] = {}


class Shipped(UpstreamConformance):
    """A configuration that is shipped, against a small server of its protocol."""

    name = ""
    dialect: type[Dialect] = OData
    path = ""
    binding = CollectionBinding(collection="conformance")

    @pytest.fixture(autouse=True)
    def _endpoint(self) -> Iterator[None]:
        with serving(self.dialect, MemorySystem()) as (host, _):
            definition = {**shipped(self.name), "base_url": f"http://{host}{self.path}", "networks": ["127.0.0.0/8"]}
            if definition["auth"]["kind"].startswith("oauth"):
                definition["auth"] = {"kind": "bearer", "secret_file": "odata.secret"}
            current = endpoints({definition["auth"]["secret_file"]: "a-secret"}, api=definition)
            self.upstreams = Upstreams(lambda: current)
            yield

    def open(self) -> Upstream:
        return self.upstreams.open("api", "acme", [self.binding])


class TestOData(Shipped):
    name, dialect, path = "odata", OData, "/v4"
    binding = CollectionBinding(collection="conformance", resource="parts")


class TestScim(Shipped):
    name, dialect, path = "scim", Scim, "/scim/v2"
    binding = CollectionBinding(
        collection="conformance",
        resource="users",
        fields=(
            FieldMapping(local="/name", remote="/userName"),
            FieldMapping(local="/note", remote="/name/formatted"),
            FieldMapping(local="/rate", remote="/urn:example:rate"),
        ),
    )


class TestJsonApi(Shipped):
    name, dialect, path = "jsonapi", JsonApi, "/v1"
    binding = CollectionBinding(collection="conformance", resource="articles")


def same_name(path: str) -> FieldMapping:
    return FieldMapping(local=path, remote=path)


class Tables(UpstreamConformance):
    """A table of a PostgreSQL database."""

    columns = ""
    roles: ClassVar[dict[str, Any]] = {}
    binding = CollectionBinding(collection="conformance", resource="parts")

    @pytest.fixture(autouse=True)
    def _endpoint(self, tables_url: str) -> None:
        name = type(self).__name__.lower()
        columns = f"name text, rate int CHECK (rate < 1000), note text, {self.columns}"
        run_sql(tables_url, f"DROP TABLE IF EXISTS {name}", f"CREATE TABLE {name} ({columns})")
        definition = {"kind": "postgres", "url_file": "url", "tenants": ["acme"]}
        definition["tables"] = {"parts": {"table": name, **self.roles}}
        current = endpoints({"url": tables_url}, tables=definition)
        self.upstreams = Upstreams(lambda: current)

    def open(self) -> Upstream:
        return self.upstreams.open("tables", "acme", [self.binding])


class TestTable(Tables):
    """A table that has only a key, which is the record id."""

    columns = "id text PRIMARY KEY"


class TestTableWithColumns(Tables):
    """A table with generated keys, and a column for each purpose."""

    columns = """id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ref text UNIQUE, v int NOT NULL DEFAULT 1,
        changed timestamptz NOT NULL DEFAULT clock_timestamp(), gone boolean NOT NULL DEFAULT false"""
    roles: ClassVar[dict[str, Any]] = {
        "generated_key": True,
        "reference": "ref",
        "version": "v",
        "updated": "changed",
        "deleted": "gone",
    }


class TestTableWithTimesOfDeletion(Tables):
    """A table whose rows have the time of their deletion, and columns that the database generates."""

    columns = """id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ref text UNIQUE, changed timestamptz,
        gone_at timestamptz, size int GENERATED ALWAYS AS (length(name)) STORED"""
    roles: ClassVar[dict[str, Any]] = {
        "generated_key": True, "reference": "ref", "updated": "changed", "deleted": "gone_at"
    }  # fmt: skip
    binding = CollectionBinding(
        collection="conformance", resource="parts", fields=tuple(map(same_name, ("/name", "/rate", "/note")))
    )


class TestTableWithTransactionIds(Tables):
    """A table whose rows have the id of the transaction that wrote them."""

    columns = "id uuid PRIMARY KEY DEFAULT gen_random_uuid(), xid xid8, gone boolean"
    roles: ClassVar[dict[str, Any]] = {"generated_key": True, "transaction_id": "xid", "deleted": "gone"}


def documented() -> dict[str, Any]:
    """Return what the examples of docs/connectors.md define."""
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL):
        exec(code, names)
    return names


TestDocumented: type[UpstreamConformance] = documented()["TestShelf"]
