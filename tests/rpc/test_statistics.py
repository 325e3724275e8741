"""GetStatistics over a real channel, by both clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import draftline
import grpc
import pytest
from click.testing import CliRunner
from draftline import (
    AsyncClient,
    DeclaredStatistic,
    StatisticCondition,
    StatisticKey,
    StatisticOrder,
    StatisticState,
    documents,
)
from draftline._core import statistic_calls
from draftline.v1 import draft_pb2, draft_pb2_grpc
from draftline_server.cli import main

GROSS = "sum(/Gross)"
STATISTIC = DeclaredStatistic("gross", ("/Genre", StatisticKey("/Day", "year")), ("/Gross",))
FIELDS = {"/Genre": "text", "/Gross": "number", "/Day": "date"}


@pytest.fixture
async def client(server_address: str, tenant_id: str) -> AsyncIterator[AsyncClient]:
    """A client of a tenant with three films and a statistic."""
    async with AsyncClient(server_address, tenant_id=tenant_id, user="ada") as opened:
        for number, (genre, gross) in enumerate([("Drama", 0.1), ("Drama", 0.2), (None, 10**30)]):
            content = {"Genre": genre, "Gross": gross, "Day": f"202{number}-05-06"}
            await opened.create_content("films", content, record_id=str(number))
        await opened.put_collection("films", fields=FIELDS, statistics=[STATISTIC])
        yield opened


async def test_collection_shows_its_statistics(client: AsyncClient) -> None:
    found = await client.get_collection("films")
    (shown,) = found.statistics
    assert (shown.state, shown.group_count, shown.statistic.name) == (StatisticState.READY, 3, "gross")
    assert shown.statistic.group_by == (StatisticKey("/Genre"), StatisticKey("/Day", draftline.Grain.YEAR))
    await client.put_collection("films", fields=FIELDS)
    assert (await client.get_collection("films")).statistics == ()


async def test_answers_are_exact_and_know_the_drafts_of_their_user_only(
    client: AsyncClient, server_address: str, tenant_id: str
) -> None:
    await client.save_draft("films", "0", {"Gross": 1.1, "Genre": "Comedy"})
    query = {"measures": ["count", GROSS, "avg(/Gross)"], "group_by": ["/Genre"]}
    found = await client.statistics("films", **query)
    assert found.statistic == "gross"
    assert [each.keys["/Genre"] for each in found.groups] == ["Comedy", "Drama", None]
    comedy, drama, none = found.groups
    assert (comedy.baseline[GROSS], comedy.merged[GROSS], comedy.difference[GROSS]) == (
        0,
        1.1,
        1.1,
    )
    assert (drama.baseline[GROSS], drama.merged["count"], drama.difference["count"]) == (0.3, 1, -1)
    assert (comedy.baseline["avg(/Gross)"], drama.baseline["avg(/Gross)"]) == (None, 0.15)
    assert none.merged[GROSS] == 10**30
    assert found.rows()[0] == {
        "/Genre": "Comedy", "count": 1, GROSS: 1.1, "avg(/Gross)": 1.1, "count baseline": 0,
        f"{GROSS} baseline": 0, "avg(/Gross) baseline": None, "count difference": 1,
        f"{GROSS} difference": 1.1, "avg(/Gross) difference": None,
    }  # fmt: skip
    async with AsyncClient(server_address, tenant_id=tenant_id, user="bob") as bob:
        others = await bob.statistics("films", **query)
    assert [(each.keys["/Genre"], each.difference["count"]) for each in others.groups] == [("Drama", 0), (None, 0)]


async def test_groups_are_ordered_filtered_and_limited(client: AsyncClient) -> None:
    found = await client.statistics(
        "films", measures=[GROSS], group_by=["year(/Day)"], order_by=[f"{GROSS} desc"], limit=2
    )
    assert [each.keys["year(/Day)"] for each in found.groups] == ["2022", "2021"]
    assert found.truncated
    kept = await client.statistics(
        "films", measures=["count", GROSS], group_by=["year(/Day)"], filter='Genre = "Drama" AND Day >= 2020-01-01',
        having=[StatisticCondition(GROSS, "<", 0.15)],
        order_by=[StatisticOrder("year(/Day)", descending=True)],
    )  # fmt: skip
    assert [(each.keys["year(/Day)"], each.merged["count"]) for each in kept.groups] == [("2020", 1)]


async def test_query_without_a_statistic_is_refused_or_scanned(client: AsyncClient) -> None:
    query = {"measures": ["count"], "filter": "Day >= 2021-05-06"}
    with pytest.raises(draftline.FailedPreconditionError, match="declare") as caught:
        await client.statistics("films", **query)
    assert caught.value.reason == "STATISTIC_NOT_READY"
    assert caught.value.metadata["declare"] == '{"group_by": [{"path": "/Day"}], "measures": []}'
    scanned = await client.statistics("films", **query, allow_scan=True)
    assert (scanned.groups[0].merged, scanned.statistic) == ({"count": 2}, "")
    with pytest.raises(draftline.FailedPreconditionError, match="declare a field, and a statistic that groups by it"):
        await client.statistics("unknown", measures=["count"])


@pytest.mark.parametrize("fields", [{"/Gross": "number"}, {**FIELDS, "/Sold": "boolean"}], ids=["one", "all"])
async def test_statistic_that_an_error_names_can_be_declared_and_covers_the_query(
    client: AsyncClient, fields: dict[str, str]
) -> None:
    queries: list[dict[str, Any]] = [
        {"measures": ["count"]},
        {"measures": [GROSS, "avg(/Gross)"]},
        {"measures": ["count(/Gross)"], "filter": "Gross > 0"},
    ]
    if "/Day" in fields:
        queries += [
            {"measures": ["count"], "group_by": ["month(/Day)"], "filter": "Day >= 2020-01-15"},
            {"measures": ["min(/Gross)", "count_distinct(/Genre)"]},
            {"measures": [GROSS], "group_by": ["/Genre"], "filter": "Gross > 0 AND Day < 2021-02-03"},
        ]
    await client.put_collection("films", fields=fields)
    for query in queries:
        with pytest.raises(draftline.FailedPreconditionError) as caught:
            await client.statistics("films", **query)
        named = json.loads(caught.value.metadata["declare"])
        keys = [StatisticKey(key["path"], key.get("grain", "").lower() or None) for key in named["group_by"]]
        statistic = DeclaredStatistic("named", keys, named["measures"], range_by=named.get("range_by", ""))
        await client.put_collection("films", fields=fields, statistics=[statistic])
        await client.wait_until_built("films")
        answer = await client.statistics("films", **query)
        assert answer.statistic == "named"
        await client.put_collection("films", fields=fields)
        assert answer.groups == (await client.statistics("films", **query, allow_scan=True)).groups


async def test_statistic_follows_its_field_to_another_type_while_drafts_exist(client: AsyncClient) -> None:
    statistics = [DeclaredStatistic("code", ("/Code",))]
    for record_id, code in (("0", "5"), ("1", 5.0)):
        await client.patch_content("films", record_id, {"Code": code})
    await client.save_draft("films", "2", {"Code": 7})
    query = {"measures": ["count"], "group_by": ["/Code"]}
    expected = {
        "text": [("5", 1, 0), (None, 2, 0)],
        "number": [(5, 1, 0), (7, 1, 1), (None, 1, -1)],
        "boolean": [(None, 3, 0)],
    }
    for type_, groups in expected.items():
        await client.put_collection("films", fields={"/Code": type_}, statistics=statistics)
        await client.wait_until_built("films")
        found = await client.statistics("films", **query)
        assert found.statistic == "code"
        assert [(each.keys["/Code"], each.merged["count"], each.difference["count"]) for each in found.groups] == groups
    await client.put_collection("films", fields={"/Genre": "text"})
    with pytest.raises(draftline.InvalidArgumentError, match="/Code is not a declared field"):
        await client.statistics("films", **query, allow_scan=True)


async def test_statistic_of_a_field_that_is_not_declared_is_refused(client: AsyncClient) -> None:
    for statistic in (
        DeclaredStatistic("x", ("/Missing",)),
        DeclaredStatistic("x", ("/Genre",), ("/Genre",)),
        DeclaredStatistic("x", ("month(/Genre)",)),
        DeclaredStatistic("x", ("/Day", "year(/Day)")),
    ):
        with pytest.raises(draftline.InvalidArgumentError):
            await client.put_collection("films", fields=FIELDS, statistics=[statistic])
    with pytest.raises(draftline.InvalidArgumentError):
        await client.put_collection("films", fields=FIELDS, statistics=[STATISTIC, STATISTIC])


async def test_command_prints_rows_as_exact_json_and_as_a_table(
    client: AsyncClient, server_address: str, tenant_id: str
) -> None:
    await client.save_draft("films", "2", {"Gross": Decimal("1000000000000000000000000000000.25")})
    options = ["--address", server_address, "--tenant", tenant_id, "--user", "ada", "--by", "/Genre"]
    arguments = ["stats", "films", *options, "--measure", GROSS, "--measure", "count", "--order", "count desc"]
    printed = await asyncio.to_thread(CliRunner().invoke, main, [*arguments, "--json"])
    found = await client.statistics("films", measures=[GROSS, "count"], group_by=["/Genre"], order_by=["count desc"])
    assert documents.decode(printed.stdout) == found.rows()
    assert len({tuple(row) for row in found.rows()}) == 1  # the columns of a table
    assert found.rows()[1][f"{GROSS} difference"] == 0.25
    shown = (await asyncio.to_thread(CliRunner().invoke, main, arguments)).stdout
    assert "Drama" in shown
    assert "1,000,000,000,000,000,000,000,000,000,000.25" in shown
    assert "+0.25" in shown
    by_count = [*options, "--measure", "count", "--order", "count desc"]
    bars = (await asyncio.to_thread(CliRunner().invoke, main, ["stats", "films", *by_count])).stdout
    lengths = {line.split()[1]: line.count("\u2588") for line in bars.splitlines() if "\u2588" in line}
    assert lengths == {"Drama": 24, "(none)": 12}


async def test_groups_are_read_as_rows_and_as_columns(
    client: AsyncClient, grpc_channel: grpc.Channel, tenant_id: str
) -> None:
    """Read them alike from the columns of this service, and from the groups of one that does not know columns."""
    await client.save_draft("films", "2", {"Gross": Decimal("1000000000000000000000000000000.25"), "Genre": '"a, b"'})
    query = {"measures": [GROSS, "count", "avg(/Gross)"], "group_by": ["/Genre", "year(/Day)"]}
    found = await client.statistics("films", **query)
    rows, columns = found.rows(), found.columns()
    assert rows == [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    assert columns["/Genre"] == ['"a, b"', "Drama", "Drama", None]
    assert columns[GROSS] == [Decimal("1000000000000000000000000000000.25"), 0.1, 0.2, 0]
    assert columns[f"{GROSS} baseline"] == [0, 0.1, 0.2, 10**30]
    assert (len(found.groups), found.groups[-1], found.groups[1:3]) == (4, found.groups[3], tuple(found.groups)[1:3])
    with pytest.raises(IndexError):
        found.groups[4]
    unused = {"filter": "", "order_by": (), "having": (), "limit": 0, "allow_scan": False}
    call = statistic_calls.get_statistics(tenant_id, "films", **query, **unused)
    request = draft_pb2.GetStatisticsRequest.FromString(call.request.SerializeToString())
    request.as_columns = False
    response = draft_pb2_grpc.DraftServiceStub(grpc_channel).GetStatistics(
        request, metadata=(("x-draftline-user", "ada"),), timeout=10
    )
    assert response.groups
    older = call.method.parse(response)
    assert older == found
    assert (older.rows(), older.columns()) == (rows, columns)
    none = await client.statistics("films", **query, having=[StatisticCondition("count", ">", 9)])
    assert (none.rows(), none.columns()) == ([], {name: [] for name in columns})


@pytest.mark.usefixtures("client")
async def test_struct_encoding_has_doubles_where_they_are_exact(grpc_channel: grpc.Channel, tenant_id: str) -> None:
    request = draft_pb2.GetStatisticsRequest(tenant_id=tenant_id, collection="films")
    request.measures.add(function=draft_pb2.STATISTIC_FUNCTION_SUM, path="/Gross")
    request.group_by.add(path="/Genre")
    response = draft_pb2_grpc.DraftServiceStub(grpc_channel).GetStatistics(request, timeout=10)
    drama, none = (each.merged[0] for each in response.groups)
    assert drama.value.number_value == 0.3
    assert float(none.json or none.value.number_value) == 1e30
