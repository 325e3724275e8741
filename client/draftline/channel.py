"""What both clients are told when they are made, and what follows from it for the channel and each call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib.metadata import version
from typing import Any

import grpc
import grpc.aio

from draftline import change_calls, collection_calls, content_calls, draft_calls
from draftline.methods import Method
from draftline.models import Unset
from draftline.retries import Attempts, Retry

MAX_MESSAGE_BYTES = 16 << 20
DEFAULT_TIMEOUT_S = 30.0
DEFAULT_RETRY = Retry()

# A gRPC server closes a connection that is pinged more often than every 5 minutes, unless
# it is told otherwise; load balancers tend to forget an idle one after 350 seconds.
KEEPALIVE_TIME_MS = 320_000
KEEPALIVE_TIMEOUT_MS = 20_000

# After a failed connection gRPC fails every call for a while without trying another. By default
# that grows to two minutes, for which a watch would miss that the service is back.
INITIAL_RECONNECT_BACKOFF_MS = 200
MAX_RECONNECT_BACKOFF_MS = 3_000

METHODS: tuple[Method[Any, Any, Any], ...] = (
    *content_calls.METHODS,
    *collection_calls.METHODS,
    *draft_calls.METHODS,
    *change_calls.METHODS,
)

Token = str | Callable[[], str] | Callable[[], Awaitable[str]]
Interceptor = (
    grpc.UnaryUnaryClientInterceptor
    | grpc.UnaryStreamClientInterceptor
    | grpc.StreamUnaryClientInterceptor
    | grpc.aio.ClientInterceptor
)
Metadata = tuple[tuple[str, str], ...]


def channel_options(extra: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The options of the channel; those of the caller win."""
    options = {
        "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
        "grpc.keepalive_time_ms": KEEPALIVE_TIME_MS,
        "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
        "grpc.primary_user_agent": f"draftline-python/{version('draftline')}",
        "grpc.initial_reconnect_backoff_ms": INITIAL_RECONNECT_BACKOFF_MS,
        "grpc.max_reconnect_backoff_ms": MAX_RECONNECT_BACKOFF_MS,
    }
    return list({**options, **dict(extra)}.items())


class Connection(ABC):
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
        retry: Retry = DEFAULT_RETRY,
        options: Sequence[tuple[str, Any]] = (),
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        """Opens nothing yet: the first call connects.

            client = draftline.Client(
                "content.example.org:443",
                tenant_id="acme",
                credentials=grpc.ssl_channel_credentials(),
                token=lambda: session.access_token,
                timeout=5,
                retry=draftline.Retry(max_attempts=3),
                options=[("grpc.keepalive_time_ms", 60_000)],
            )

        Args:
            target: where the service is, `host:port` or any name that gRPC resolves.
            tenant_id: the organisation of every call that names none itself.
            user: who acts, until the service reads tokens. Printable ASCII.
            token: sent as a bearer token with each call. A function is asked for it each time, so
                it should answer from memory; `AsyncClient` takes one that is awaited too. A call
                that is refused as UNAUTHENTICATED did nothing, and is sent once more with what the
                function then answers, so that a watch outlives the tokens that it is opened with.
                What the function raises is raised on. Without `credentials` a token travels
                in the clear: give both, unless the service is on this machine.
            credentials: TLS, for example `grpc.ssl_channel_credentials()`. None: plain text.
            timeout: seconds that a call may take if it names no timeout itself, all its attempts
                together; None: any time.
            retry: how often, and how much later, calls are sent again that may be.
            options: further channel options of gRPC, which win over the client's own.
            interceptors: gRPC's own, for the blocking or the asyncio channel as the client is; the
                first is the outermost. They see each attempt of a call.

        Raises:
            ValueError: `user` cannot be sent, or `target` is a web address.
        """
        if target.startswith(("http://", "https://")):
            raise ValueError(f"a target is host:port, as 127.0.0.1:50051, and not {target!r}; TLS is by `credentials`")
        if user is not None and not (user.isascii() and user.isprintable() and user.strip() == user and user):
            raise ValueError(f"a user is printable ASCII without spaces around it, not {user!r}")
        self._target = target
        self._tenant_id = tenant_id
        self._user = user
        self._token = token
        self._credentials = credentials
        self._timeout_s = timeout
        self._retry = retry
        self._options = channel_options(options)
        self._interceptors = tuple(interceptors)
        self._is_closed = False
        self._rpcs: dict[str, Any] = {}
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Prepares the channel."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r}, tenant_id={self._tenant_id!r}, user={self._user!r})"

    def _tenant(self, tenant_id: str | None) -> str:
        tenant_id = self._tenant_id if tenant_id is None else tenant_id
        if not tenant_id:
            raise ValueError("no tenant_id: give one to the client or to the call")
        return tenant_id

    def _attempts(self, timeout: float | Unset | None, *, may_repeat: bool, may_renew: bool = True) -> Attempts:
        timeout_s = self._timeout_s if isinstance(timeout, Unset) else timeout
        return Attempts(self._retry, timeout_s, may_repeat=may_repeat, may_renew=may_renew and self._may_renew)

    @property
    def _may_renew(self) -> bool:
        """Whether there may be another token than the one that was refused."""
        return callable(self._token)

    def _metadata_with(self, token: str | Awaitable[str] | None) -> Metadata:
        metadata = []
        if self._user is not None:
            metadata.append(("x-draftline-user", self._user))
        if token is not None:
            if not isinstance(token, str):
                raise TypeError(f"a token is a string, not {type(token).__name__}")
            metadata.append(("authorization", f"Bearer {token}"))
        return tuple(metadata)

    def _token_now(self) -> str | Awaitable[str] | None:
        return self._token() if callable(self._token) else self._token

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
