"""Scrape a service's metrics, and compute the differences between two scrapes."""

from __future__ import annotations

import http.client
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 5.0

DURATION = "grpc_server_call_duration_seconds"
STATEMENT = "draftline_statement_duration_seconds"

Labels = frozenset[tuple[str, str]]


class ScrapeError(Exception):
    """The metrics could not be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """All samples by name and labels, with the monotonic time of the scrape."""

    at_s: float
    samples: Mapping[str, Mapping[Labels, float]]

    def value(self, name: str) -> float:
        """Return the sum over all labels, or 0 if there is no such sample."""
        return sum(self.samples.get(name, {}).values())

    def label(self, name: str, label: str) -> str:
        """Return the value of a label of the first sample that has it, or an empty string."""
        return next((value for labels in self.samples.get(name, {}) for key, value in labels if key == label), "")


def scrape(url: str) -> Scrape:
    """Scrape `http://host:port/metrics`. Raise ScrapeError if that fails or `url` is not http."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ScrapeError(f"{url} is not an http URL such as http://127.0.0.1:9464/metrics")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", parts.path or "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise ScrapeError(f"no metrics at {url}: {error}") from error
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise ScrapeError(f"no metrics at {url}: status {answer.status}")
    return parsed(text, time.monotonic())


def parsed(text: str, at_s: float) -> Scrape:
    """Parse samples in the Prometheus text format."""
    samples: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            samples.setdefault(each.name, {})[frozenset(each.labels.items())] = each.value
    return Scrape(at_s, samples)


@dataclass(frozen=True, slots=True)
class Between:
    """The differences between two scrapes."""

    before: Scrape
    after: Scrape

    @property
    def seconds(self) -> float:
        return max(self.after.at_s - self.before.at_s, 1e-9)

    def rate(self, name: str) -> float:
        """Return the rate of a counter per second, over all labels."""
        return sum(self.grown(name).values()) / self.seconds

    def grown(self, name: str) -> dict[Labels, float]:
        """Return the increase of each counter. A counter that is lower than before was reset."""
        now, then = self.after.samples.get(name, {}), self.before.samples.get(name, {})
        grown = {labels: value - then.get(labels, 0.0) for labels, value in now.items()}
        return {labels: more if more >= 0 else now[labels] for labels, more in grown.items()}

    def grown_by(self, name: str, label: str) -> dict[str, float]:
        """Return the increase of a counter, summed by one label."""
        summed: dict[str, float] = {}
        for labels, more in self.grown(name).items():
            key = dict(labels).get(label, "")
            summed[key] = summed.get(key, 0.0) + more
        return summed

    def quantiles(self, name: str, label: str, value: str, wanted: Iterable[float]) -> list[float | None]:
        """Estimate quantiles of a histogram, as Prometheus does, for one value of a label; None without samples."""
        buckets: dict[float, float] = {}
        for labels, more in self.grown(f"{name}_bucket").items():
            values = dict(labels)
            if values.get(label) == value:
                bound = float(values["le"])
                buckets[bound] = buckets.get(bound, 0.0) + more
        return [quantile(buckets, each) for each in wanted]


def quantile(buckets: Mapping[float, float], wanted: float) -> float | None:
    """Estimate a quantile from cumulative counts by upper bound, interpolating linearly within a bucket.

    Return the highest finite bound for a quantile beyond it, and None if there are no samples.
    """
    total = buckets.get(math.inf, 0.0)
    if total <= 0:
        return None
    rank, lower, below = wanted * total, 0.0, 0.0
    for bound in sorted(buckets):
        count = buckets[bound]
        if count >= rank:
            if math.isinf(bound):
                return lower
            share = (rank - below) / (count - below) if count > below else 1.0
            return lower + (bound - lower) * share
        lower, below = bound, count
    return lower
