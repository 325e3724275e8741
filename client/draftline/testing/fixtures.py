"""The fixtures for pytest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from draftline import Client
from draftline.testing.service import Service, serving


@pytest.fixture(scope="session")
def draftline_service() -> Iterator[Service]:
    """Start a service that all tests of the run share; each worker of pytest-xdist has its own."""
    with serving() as service:
        yield service


@pytest.fixture
def draftline_client(draftline_service: Service) -> Iterator[Client]:
    """Connect a blocking client with a tenant of its own, as the user `test`."""
    with draftline_service.client() as client:
        yield client
