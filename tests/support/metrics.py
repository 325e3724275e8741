"""Read the metrics endpoint of a service."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 10.0


class Scrape:
    """One reading of /metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families: list[Metric] = list(text_string_to_metric_families(text))

    @property
    def sample_names(self) -> set[str]:
        return {sample.name for family in self.families for sample in family.samples}

    def values(self, name: str, **labels: str) -> Iterator[float]:
        for family in self.families:
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    yield sample.value

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels; 0 if there are none."""
        return sum(self.values(name, **labels))


def page(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(port: int) -> Scrape:
    status, text = page(port, "/metrics")
    assert status == 200
    return Scrape(text)
