"""Check that the service can listen on its ports, or already does."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException

from ..observability.listen_errors import NOT_ALLOWED, NOT_HERE, bind_error
from ..settings import Settings
from .results import Finding, fault, ok, skipped, warning

ANSWER_S = 3.0
PORT_IN_USE_FIX = "stop that program (find it by `ss -ltnp 'sport = :{port}'`), or set {setting} to another port"


def ports(settings: Settings, health: Callable[[str], str]) -> Iterator[Finding]:
    """Yield the findings on the ports. `health` returns the health state of the service at an address."""
    yield _grpc(settings, health)
    if settings.metrics.port is None:
        yield skipped("metrics port", "no metrics are served: DRAFTLINE_METRICS_PORT is empty")
    else:
        yield _metrics(settings.metrics.host, settings.metrics.port)


def _grpc(settings: Settings, health: Callable[[str], str]) -> Finding:
    host = settings.server.host
    check, setting, port = "port", "DRAFTLINE_PORT", settings.server.port
    problem = bind_error(host, port)
    if problem is None:
        return ok(check, f"{host}:{port} is free" if port else "any free port")
    if problem != errno.EADDRINUSE:
        return _bind_fault(check, host, port, problem, "DRAFTLINE_HOST")
    state = health(f"{host}:{port}")
    if state == "SERVING":
        return ok(check, f"a service listens on {host}:{port} and is SERVING")
    if state == "NOT_SERVING":
        return warning(
            check, f"a service listens on {host}:{port} and is NOT_SERVING",
            "check whether its database is reachable; the service recovers by itself",
        )  # fmt: skip
    message = f"{host}:{port} is in use by another program, or by a service with other settings ({state})"
    return fault(check, message, PORT_IN_USE_FIX.format(port=port, setting=setting))


def _metrics(host: str, port: int) -> Finding:
    check, problem = "metrics port", bind_error(host, port)
    if problem is None:
        return ok(check, f"{host}:{port} is free" if port else "any free port")
    if problem != errno.EADDRINUSE:
        return _bind_fault(check, host, port, problem, "DRAFTLINE_METRICS_HOST")
    if _serves_metrics(host, port):
        return ok(check, f"a service serves metrics on {host}:{port}")
    message = f"{host}:{port} is in use by another program"
    return fault(check, message, PORT_IN_USE_FIX.format(port=port, setting="DRAFTLINE_METRICS_PORT"))


def _bind_fault(check: str, host: str, port: int, problem: int | None, setting: str) -> Finding:
    sentence = NOT_ALLOWED if problem == errno.EACCES else NOT_HERE
    return fault(check, *sentence.format(host=host, port=port, setting=setting).split("; ", 1))


def _serves_metrics(host: str, port: int) -> bool:
    """Return whether a Draftline service answers at the metrics port."""
    connection = HTTPConnection(host.strip("[]"), port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/metrics")
        return b"\ndraftline_build_info" in connection.getresponse().read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
