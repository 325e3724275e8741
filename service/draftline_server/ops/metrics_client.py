"""What a service tells at /metrics, and what it did between two looks at that."""

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
    """Nobody tells any metrics there; the text says why."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """All samples, by name and labels, at a time of the monotonic clock."""

    at_s: float
    samples: Mapping[str, Mapping[Labels, float]]

    def value(self, name: str) -> float:
        """The sum over all labels; 0 for what is not told."""
        return sum(self.samples.get(name, {}).values())

    def label(self, name: str, label: str) -> str:
        """The label of a sample that has it; empty if there is none."""
        return next((value for labels in self.samples.get(name, {}) for key, value in labels if key == label), "")


def scrape(url: str) -> Scrape:
    """Reads `http://host:port/metrics`. ScrapeError."""
    place = urlsplit(url)
    if place.scheme != "http" or not place.hostname:
        raise ScrapeError(f"metrics are read by http, as in http://127.0.0.1:9464/metrics, not at {url}")
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", place.path or "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise ScrapeError(f"no metrics at {url}: {error}") from error
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise ScrapeError(f"no metrics at {url}: it answers {answer.status}")
    return parsed(text, time.monotonic())


def parsed(text: str, at_s: float) -> Scrape:
    """The samples in the text format of Prometheus."""
    samples: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            samples.setdefault(each.name, {})[frozenset(each.labels.items())] = each.value
    return Scrape(at_s, samples)


@dataclass(frozen=True, slots=True)
class Between:
    """What was done from one scrape to the next."""

    before: Scrape
    after: Scrape

    @property
    def seconds(self) -> float:
        return max(self.after.at_s - self.before.at_s, 1e-9)

    def rate(self, name: str) -> float:
        """Per second, over all labels."""
        return sum(self.grown(name).values()) / self.seconds

    def grown(self, name: str) -> dict[Labels, float]:
        """By how much each counter grew; one that is lower than it was began anew."""
        now, then = self.after.samples.get(name, {}), self.before.samples.get(name, {})
        grown = {labels: value - then.get(labels, 0.0) for labels, value in now.items()}
        return {labels: more if more >= 0 else now[labels] for labels, more in grown.items()}

    def grown_by(self, name: str, label: str) -> dict[str, float]:
        """The same, summed up by one label."""
        summed: dict[str, float] = {}
        for labels, more in self.grown(name).items():
            key = dict(labels).get(label, "")
            summed[key] = summed.get(key, 0.0) + more
        return summed

    def quantiles(self, name: str, label: str, value: str, wanted: Iterable[float]) -> list[float | None]:
        """Of a histogram's samples with this label, as Prometheus estimates them. None: there were none."""
        buckets: dict[float, float] = {}
        for labels, more in self.grown(f"{name}_bucket").items():
            told = dict(labels)
            if told.get(label) == value:
                bound = float(told["le"])
                buckets[bound] = buckets.get(bound, 0.0) + more
        return [quantile(buckets, each) for each in wanted]


def quantile(buckets: Mapping[float, float], wanted: float) -> float | None:
    """From how many samples are at most each bound, evenly spread between two. Beyond the last: that bound."""
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
