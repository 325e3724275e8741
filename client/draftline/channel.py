"""What both clients are told when they are made, and what follows from it for the channel and each call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Any

import grpc

from draftline import collection_calls, content_calls, draft_calls
from draftline.methods import Method
from draftline.models import Unset

MAX_MESSAGE_BYTES = 16 << 20
DEFAULT_TIMEOUT_S = 30.0

# A gRPC server closes a connection that is pinged more often than every 5 minutes, unless
# it is told otherwise; load balancers tend to forget an idle one after 350 seconds.
KEEPALIVE_TIME_MS = 320_000
KEEPALIVE_TIMEOUT_MS = 20_000

RETRY_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

METHODS: tuple[Method[Any, Any, Any], ...] = (
    *content_calls.METHODS,
    *collection_calls.METHODS,
    *draft_calls.METHODS,
)

Token = str | Callable[[], str]
Metadata = tuple[tuple[str, str], ...]


def service_config(methods: Iterable[Method[Any, Any, Any]]) -> str:
    """gRPC's service config, by which the channel itself sends reads again."""
    reads = [{"service": f"draftline.v1.{it.service}", "method": it.name} for it in methods if it.is_read]
    return json.dumps({"methodConfig": [{"name": reads, "retryPolicy": RETRY_POLICY}]})


def channel_options(extra: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The options of the channel; those of the caller win."""
    options = {
        "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
        "grpc.keepalive_time_ms": KEEPALIVE_TIME_MS,
        "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
        "grpc.primary_user_agent": f"draftline-python/{version('draftline')}",
        "grpc.service_config": service_config(METHODS),
    }
    return list({**options, **dict(extra)}.items())


class Connection:
    """The part of a client that does no I/O."""

    def __init__(
        self,
        target: str,
        *,
        tenant_id: str | None = None,
        user: str | None = None,
        token: Token | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float | None = DEFAULT_TIMEOUT_S,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Opens nothing yet: the first call connects.

        Args:
            target: where the service is, `host:port` or any name that gRPC resolves.
            tenant_id: the organisation of every call that names none itself.
            user: who acts, until the service reads tokens. Printable ASCII.
            token: sent as a bearer token with each call; a function is asked for it each
                time, so it should answer from memory. Without `credentials` it travels in
                the clear: give both, unless the service is on this machine.
            credentials: TLS, for example `grpc.ssl_channel_credentials()`. None: plain text.
            timeout: seconds that a call may take if it names no timeout itself; None: any time.
            options: further channel options of gRPC, which win over the client's own.

        Raises:
            ValueError: `user` cannot be sent.
        """
        if user is not None and not (user.isascii() and user.isprintable() and user.strip() == user and user):
            raise ValueError(f"a user is printable ASCII without spaces around it, not {user!r}")
        self._target = target
        self._tenant_id = tenant_id
        self._user = user
        self._token = token
        self._credentials = credentials
        self._timeout_s = timeout
        self._options = channel_options(options)
        self._is_closed = False
        self._rpcs: dict[str, Any] = {}
        self._open()

    def _open(self) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r}, tenant_id={self._tenant_id!r}, user={self._user!r})"

    def _tenant(self, tenant_id: str | None) -> str:
        tenant_id = self._tenant_id if tenant_id is None else tenant_id
        if not tenant_id:
            raise ValueError("no tenant_id: give one to the client or to the call")
        return tenant_id

    def _timeout(self, timeout: float | Unset | None) -> float | None:
        return self._timeout_s if isinstance(timeout, Unset) else timeout

    def _metadata(self) -> Metadata:
        metadata = []
        if self._user is not None:
            metadata.append(("x-draftline-user", self._user))
        if self._token is not None:
            token = self._token if isinstance(self._token, str) else self._token()
            metadata.append(("authorization", f"Bearer {token}"))
        return tuple(metadata)

    def _rpc(self, kind: Any, method: Method[Any, Any, Any]) -> Any:
        """The callable that sends a method; `kind` is the channel's maker of such callables."""
        rpc = self._rpcs.get(method.path)
        if rpc is None:
            rpc = kind(method.path, method.request.SerializeToString, method.response.FromString)
            self._rpcs[method.path] = rpc
        return rpc

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the client is closed")
