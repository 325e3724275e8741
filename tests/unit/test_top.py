"""`draftline top` computes rates and quantiles between two scrapes, as Prometheus estimates them."""

from __future__ import annotations

import math

import pytest
from draftline_server.ops.metrics_client import Between, ScrapeError, parsed, quantile, scrape
from draftline_server.ops.top import activity

BEFORE = """
# TYPE grpc_server_call_duration_seconds histogram
grpc_server_call_duration_seconds_bucket{grpc_method="s/Patch",grpc_status="OK",le="0.001"} 10
grpc_server_call_duration_seconds_bucket{grpc_method="s/Patch",grpc_status="OK",le="0.01"} 10
grpc_server_call_duration_seconds_bucket{grpc_method="s/Patch",grpc_status="OK",le="+Inf"} 10
grpc_server_call_duration_seconds_count{grpc_method="s/Patch",grpc_status="OK"} 10
grpc_server_call_duration_seconds_sum{grpc_method="s/Patch",grpc_status="OK"} 0.01
grpc_server_call_duration_seconds_count{grpc_method="s/Idle",grpc_status="OK"} 3
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 100
"""
AFTER = """
# TYPE draftline_build_info gauge
draftline_build_info{version="9.9"} 1
# TYPE grpc_server_call_duration_seconds histogram
grpc_server_call_duration_seconds_bucket{grpc_method="s/Patch",grpc_status="OK",le="0.001"} 10
grpc_server_call_duration_seconds_bucket{grpc_method="s/Patch",grpc_status="OK",le="0.01"} 100
grpc_server_call_duration_seconds_bucket{grpc_method="s/Patch",grpc_status="OK",le="+Inf"} 100
grpc_server_call_duration_seconds_count{grpc_method="s/Patch",grpc_status="OK"} 100
grpc_server_call_duration_seconds_sum{grpc_method="s/Patch",grpc_status="OK"} 0.5
grpc_server_call_duration_seconds_bucket{grpc_method="s/Patch",grpc_status="ABORTED",le="0.001"} 10
grpc_server_call_duration_seconds_bucket{grpc_method="s/Patch",grpc_status="ABORTED",le="0.01"} 10
grpc_server_call_duration_seconds_bucket{grpc_method="s/Patch",grpc_status="ABORTED",le="+Inf"} 10
grpc_server_call_duration_seconds_count{grpc_method="s/Patch",grpc_status="ABORTED"} 10
grpc_server_call_duration_seconds_count{grpc_method="s/Idle",grpc_status="OK"} 3
# TYPE draftline_statement_duration_seconds histogram
draftline_statement_duration_seconds_count{statement="read"} 10
draftline_statement_duration_seconds_sum{statement="read"} 0.1
draftline_statement_duration_seconds_count{statement="patch"} 2
draftline_statement_duration_seconds_sum{statement="patch"} 0.5
# TYPE draftline_batch_size histogram
draftline_batch_size_count{kind="patches"} 4
draftline_batch_size_sum{kind="patches"} 50
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 101
# TYPE draftline_pool_in_use gauge
draftline_pool_in_use 7
"""


def test_activity_is_what_was_done_between_two_scrapes() -> None:
    now = activity(Between(parsed(BEFORE, 10.0), parsed(AFTER, 12.0)), None)
    assert (now.interval_s, now.version, now.cpu_cores, now.pool_in_use) == (2.0, "9.9", 0.5, 7)
    (patch,) = now.methods  # what was not called is not told
    assert (patch.method, patch.calls_per_s, patch.errors_per_s) == ("s/Patch", 50.0, 5.0)
    # Of the hundred, ten are in the first bucket, and ninety evenly in the second.
    assert (patch.p50_ms, patch.p95_ms) == pytest.approx((1 + 9 * 40 / 90, 1 + 9 * 85 / 90))
    assert [(each.statement, each.runs_per_s, each.mean_ms) for each in now.statements] == [
        ("patch", 1.0, 250.0),
        ("read", 5.0, 10.0),
    ]
    assert now.patches_per_statement == 12.5
    assert not now.is_database_reachable
    assert now.locks is None


def test_counter_that_began_anew_counts_from_nothing() -> None:
    between = Between(parsed("calls_total 100\n", 0.0), parsed("calls_total 30\n", 10.0))
    assert between.rate("calls_total") == 3.0


@pytest.mark.parametrize(
    ("buckets", "wanted", "estimated"),
    [
        ({math.inf: 0.0}, 0.5, None),
        ({1.0: 10.0, math.inf: 10.0}, 0.5, 0.5),
        ({1.0: 0.0, 2.0: 10.0, math.inf: 10.0}, 0.9, 1.9),
        ({1.0: 1.0, math.inf: 10.0}, 0.99, 1.0),
        ({math.inf: 10.0}, 0.5, 0.0),
    ],
)
def test_quantile_is_that_of_prometheus(buckets: dict[float, float], wanted: float, estimated: float | None) -> None:
    assert quantile(buckets, wanted) == (None if estimated is None else pytest.approx(estimated))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/metrics", "https://127.0.0.1/metrics", "metrics"])
def test_where_there_are_no_metrics_that_is_told(url: str) -> None:
    with pytest.raises(ScrapeError, match="metrics"):
        scrape(url)
