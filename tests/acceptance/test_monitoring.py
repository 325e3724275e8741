"""Rules, dashboard and documentation speak of what a service really tells, all of it and nothing else."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import promql_parser
import pytest
import yaml
from draftline import Client, ConflictError, NotFoundError
from draftline_server.observability.worker_metrics import WorkerMetrics
from draftline_server.rpc.server import SERVICES
from draftline_server.rpc.status import CODES
from support.metrics import Scrape, scrape
from support.servers import cloned, serving

ROOT = Path(__file__).parent.parent.parent
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "draftline.rules.yaml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "draftline.json").read_text())
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
# What Prometheus itself adds to whatever it scrapes.
ITS_OWN = {"up"}
ITS_OWN_LABELS = {"job", "instance"}
# Labels of which not every value comes up in a walk.
METHODS = {f"{service.full_name}/{method.name}" for service in SERVICES for method in service.methods}
KNOWN = {"grpc_method": METHODS, "grpc_status": {code.name for code in grpc.StatusCode}, "reason": set(CODES)}

ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    *((rule["alert"], rule["expr"]) for rule in ALERTS),
    *((f"{panel['title']}, {target['refId']}", target["expr"]) for panel in PANELS for target in panel["targets"]),
]
VARIABLES = {"$__rate_interval": "5m", "$job": "draftline", "$instance": ".*"}


@pytest.fixture(scope="module")
def told(postgres_url: str, template: str) -> Iterator[list[Scrape]]:
    """Yield the metrics of a service after a walk through its calls, and those that a worker adds."""
    with cloned(postgres_url, template) as url, serving(url, metrics_port=0, draft_check_interval_s=0.01) as server:
        walk(server.address)
        assert server.app.metrics_port is not None
        yield [scrape(server.app.metrics_port), Scrape(asyncio.run(WorkerMetrics().text()).decode())]


def walk(address: str) -> None:
    with (
        Client(address, tenant_id="acme", user="ada") as ada,
        Client(address, tenant_id="acme", user="bob") as bob,
        bob.watch("films") as watch,
    ):
        ada.import_content("films", [(f"m-{number}", {"n": number}) for number in range(3)])
        next(watch)
        ada.save_draft("films", "m-1", {"n": -1})
        ada.save_draft("films", "m-2", {"n": -2})
        bob.patch_content("films", "m-1", {"n": 10})
        with pytest.raises(ConflictError):
            ada.commit("films", all=True)
        ada.commit("films", all=True, conflict_policy="keep_mine")
        ada.save_draft("films", "m-2", {"n": -3})
        ada.discard("films", all=True)
        assert len(list(ada.get_merged("films"))) == 3
        with pytest.raises(NotFoundError):
            ada.get_content("films", "none")


def selectors(node: Any) -> Iterator[Any]:
    """The metrics that a query reads."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if getattr(node, name, None) is not None:
            yield from selectors(getattr(node, name))
    for argument in getattr(node, "args", None) or ():
        yield from selectors(argument)


def alternatives(pattern: str) -> list[str]:
    """`x/(a|b)` are x/a and x/b."""
    before, middle, after = re.fullmatch(r"([^(]*?)(?:\((.*?)\))?([^()]*)", pattern).groups()
    if middle is None:
        return pattern.split("|")
    return [f"{before}{each}{after}" for each in middle.split("|")]


def parsed(query: str) -> Any:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return promql_parser.parse(query)


@pytest.mark.parametrize(("name", "query"), QUERIES)
def test_query_reads_what_is_told_by_labels_that_it_has(name: str, query: str, told: list[Scrape]) -> None:
    found = list(selectors(parsed(query)))
    assert {selector.name for selector in found} == set(
        re.findall(r"\b(?:grpc_server|draftline|process)_\w+|\bup\b", query)
    )
    grouped = {label.strip() for labels in re.findall(r"\bby \((.*?)\)", query) for label in labels.split(",")}
    for selector in found:
        if selector.name in ITS_OWN:
            continue
        samples = [
            sample
            for each in told
            for family in each.families
            for sample in family.samples
            if sample.name == selector.name
        ]
        assert samples, f"{selector.name} is told by nobody"
        assert all(grouped <= sample.labels.keys() | ITS_OWN_LABELS for sample in samples)
        matchers = [each for each in selector.matchers.matchers if each.name not in ITS_OWN_LABELS]
        for matcher in matchers:
            values = KNOWN.get(matcher.name) or {sample.labels[matcher.name] for sample in samples}
            for alternative in alternatives(matcher.value):
                assert any(re.fullmatch(alternative, value) for value in values), alternative


def test_queries_that_read_nothing_would_be_found(told: list[Scrape]) -> None:
    (selector,) = selectors(parsed("sum(rate(draftline_no_such_thing_total[5m])) > 1"))
    assert not any(selector.name in each.sample_names for each in told)


def test_every_method_is_told_from_the_start(told: list[Scrape]) -> None:
    name = "grpc_server_call_started_total"
    samples = [sample for family in told[0].families for sample in family.samples if sample.name == name]
    assert {sample.labels["grpc_method"] for sample in samples} == METHODS


def test_every_metric_is_documented_and_every_documented_metric_is_told(told: list[Scrape]) -> None:
    documented = re.findall(r"^\| `((?:grpc|draftline|process)_\w+)` \| (.*?) ?\| (.+) \|$", OPERATIONS, re.MULTILINE)
    real = {name for each in told for name in re.findall(r"^# HELP (\S+)", each.text, re.MULTILINE)}
    assert sorted(name for name, _, _ in documented) == sorted(real)
    labels: dict[str, set[str]] = {}
    for family in (family for each in told for family in each.families):
        name = family.name if family.type != "counter" else f"{family.name}_total"
        labels[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    assert {name: set(re.findall(r"`(\w+)`", shown)) for name, shown, _ in documented} == labels


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    sections = re.split(
        r"^### (\w+)$", OPERATIONS.partition("\n## Alerts\n")[2].partition("\n## ")[0], flags=re.MULTILINE
    )
    titles, texts = sections[1::2], sections[2::2]
    assert titles == [rule["alert"] for rule in ALERTS]
    for rule, text in zip(ALERTS, texts, strict=True):
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "warn")
        meaning, *todo = text.strip().split("\n\n", 1)
        assert meaning
        assert len(re.findall(r"^- ", todo[0], re.MULTILINE)) >= 2


def test_alerts_that_the_dashboard_names_exist() -> None:
    named = {name for panel in PANELS for name in re.findall(r"Draftline\w+", panel["description"])}
    assert named
    assert named <= {rule["alert"] for rule in ALERTS}


def test_alert_tests_expect_every_alert_and_feed_the_metrics_that_it_reads() -> None:
    """Check the input of the tests of alerts, which run only where promtool is installed."""
    tests = yaml.safe_load((PROMETHEUS / "draftline.rules.test.yaml").read_text())["tests"]
    fed = [{re.split(r"[{]", series["series"])[0] for series in test["input_series"]} for test in tests]
    expected = [set(re.findall(r'alertname="(\w+)"', str(test["promql_expr_test"]))) for test in tests]
    assert set().union(*expected) == {rule["alert"] for rule in ALERTS}
    for rule in ALERTS:
        read = {selector.name for selector in selectors(parsed(rule["expr"]))}
        for metrics, alerts in zip(fed, expected, strict=True):
            assert rule["alert"] not in alerts or read <= metrics, rule["alert"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not there")
def test_alerts_fire_when_they_should() -> None:
    for arguments in (["check", "config", "prometheus.yaml"], ["test", "rules", "draftline.rules.test.yaml"]):
        done = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


LEVELS, LOGGERS = ("info", "warning", "error", "log"), ("log", "structlog.get_logger()")
EVENT = re.compile(r"^\| `(\w+)` \| (.+?) \| (.*?) ?\| (.+) \|$", re.MULTILINE)


def logged_events() -> dict[str, set[str]]:
    """The events that the source logs, each with its keys."""
    found: dict[str, set[str]] = {"call": set(), "authentication_failed": {"reason"}, "connection_closed": {"reason"}}
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            names = [each.value for each in node.args if isinstance(each, ast.Constant)]
            if node.func.attr in LEVELS and ast.unparse(node.func.value) in LOGGERS and names:
                keys = {each.arg.replace("exc_info", "exception") for each in node.keywords if each.arg}
                found.setdefault(names[0], set()).update(keys)
    return found


def test_every_log_event_is_documented_with_its_keys() -> None:
    table = OPERATIONS.partition("### Log events")[2].partition("\n## ")[0]
    documented = {name: set(re.findall(r"`(\w+)`", keys)) for name, _, keys, _ in EVENT.findall(table)}
    logged = logged_events()
    assert documented.keys() == logged.keys()
    for name, keys in logged.items():
        assert keys - {"worker"} <= documented[name], name
