"""The options that both clients take, and the channel options, metadata and attempts derived from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import grpc
import grpc.aio

from draftline._core import (
    change_calls,
    collection_calls,
    content_calls,
    draft_calls,
    statistic_calls,
    sync_calls,
    tenant_calls,
)
from draftline._core.arguments import check_timeout, checked_value
from draftline._core.methods import Call, Method, RequestT, ResponseT, ResultT
from draftline._core.retries import Attempts, Retry
from draftline._core.status import error_of_call
from draftline._core.targets import check_target, explained
from draftline._core.version import __version__
from draftline.documents import Numbers, numbers_as
from draftline.errors import DraftlineError
from draftline.models import Unset

MAX_MESSAGE_BYTES = 16 << 20
DEFAULT_TIMEOUT_S = 30.0
DEFAULT_RETRY = Retry()

# By default, a gRPC server closes a connection that is pinged more often than every 5 minutes;
# load balancers tend to drop an idle one after 350 seconds.
KEEPALIVE_TIME_MS = 320_000
KEEPALIVE_TIMEOUT_MS = 20_000

# After a failed connection gRPC fails every call for a while without reconnecting. By default
# this backoff grows to two minutes, during which a watch would not notice that the service is back.
INITIAL_RECONNECT_BACKOFF_MS = 200
MAX_RECONNECT_BACKOFF_MS = 3_000

METHODS: tuple[Method[Any, Any, Any], ...] = (
    *content_calls.METHODS,
    *collection_calls.METHODS,
    *draft_calls.METHODS,
    *sync_calls.METHODS,
    *statistic_calls.METHODS,
    *change_calls.METHODS,
    *tenant_calls.METHODS,
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
    """Return the channel options; those of the caller take precedence. Raise TypeError unless they are pairs."""
    pairs: Any = extra.items() if isinstance(extra, Mapping) else extra
    pairs = list(pairs) if isinstance(pairs, Iterable) and not isinstance(pairs, (str, bytes)) else [pairs]
    if not all(isinstance(each, (tuple, list)) and len(each) == 2 for each in pairs):
        raise TypeError(f'options must be pairs such as ("grpc.keepalive_time_ms", 60_000), not {extra!r}')
    options = {
        "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
        "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
        "grpc.keepalive_time_ms": KEEPALIVE_TIME_MS,
        "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
        "grpc.primary_user_agent": f"draftline-python/{__version__}",
        "grpc.initial_reconnect_backoff_ms": INITIAL_RECONNECT_BACKOFF_MS,
        "grpc.max_reconnect_backoff_ms": MAX_RECONNECT_BACKOFF_MS,
    }
    return list({**options, **dict(pairs)}.items())


def check_token(token: str) -> None:
    """Raise ValueError if a token cannot be sent in metadata. The message does not contain the token."""
    if not token:
        raise ValueError("the token is empty")
    for position, character in enumerate(token):
        if not "!" <= character <= "~":
            kind = "a newline" if character in "\r\n" else "a space" if character.isspace() else "a character"
            raise ValueError(
                f"the token has {kind} at index {position}, but only printable ASCII without spaces can be sent"
                + ("; strip the text that was read from a file" if character.isspace() else "")
            )


def _check_types(*, target: object, token: object, credentials: object, retry: object) -> None:
    if not isinstance(target, str):
        raise TypeError(f"target must be a string such as 127.0.0.1:50051, not {target!r}")
    if token is not None and not isinstance(token, str) and not callable(token):
        raise TypeError(f"token must be a string or a function that returns one, not a {type(token).__name__}")
    if credentials is not None and not isinstance(credentials, grpc.ChannelCredentials):
        raise TypeError(
            "credentials must be grpc.ChannelCredentials, such as grpc.ssl_channel_credentials(), "
            f"not {type(credentials).__name__}"
        )
    if not isinstance(retry, Retry):
        raise TypeError(f"retry must be a draftline.Retry, not {retry!r}")


class Connection(ABC):
    """The I/O-free part of a client."""

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
        numbers: Numbers = "exact",
    ) -> None:
        """Create a client without connecting: the first call connects.

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
            target: the address of the service, `host:port` or any name that gRPC resolves.
            tenant_id: the default tenant, for calls that do not pass their own.
            user: the acting user, for a service that does not read tokens. Printable ASCII.
            token: the bearer token of each call, or a function that returns it. The function is
                called for every attempt, so it should answer from memory; for `AsyncClient` it may
                be async. A call rejected as UNAUTHENTICATED had no effect, and is retried once with
                a new token from the function, so that a watch outlives the token that it was opened
                with. Exceptions of the function propagate. Without `credentials` a token is sent
                unencrypted: pass both, unless the service is on this machine.
            credentials: TLS, for example `grpc.ssl_channel_credentials()`. None: plain text.
            timeout: the default timeout of a call in seconds, over all its attempts; None: no limit.
            retry: the number of attempts and the backoff of calls that may be retried.
            options: further gRPC channel options, which override the client's own.
            interceptors: gRPC interceptors, for the blocking or the asyncio channel according to
                the client; the first is the outermost. They see each attempt of a call.
            numbers: "exact" returns a number with a fraction or an exponent as a float if that holds
                exactly its decimal value, else as a Decimal; "decimal" always returns a Decimal.

        Raises:
            ValueError: `user` is not printable ASCII, `target` is a URL, or `token` cannot be sent.
            TypeError: an option has the wrong type.
        """
        _check_types(target=target, token=token, credentials=credentials, retry=retry)
        check_timeout(timeout)
        checked_value("tenant_id", tenant_id, str | None)
        checked_value("user", user, str | None)
        if isinstance(token, str):
            check_token(token)
        if numbers not in ("exact", "decimal"):
            raise ValueError(f'numbers must be "exact" or "decimal", not {numbers!r}')
        check_target(target)
        if user is not None and not (user.isascii() and user.isprintable() and user.strip() == user and user):
            raise ValueError(f"user must be printable ASCII, without spaces at either end and not empty, not {user!r}")
        self._target = target
        self._tenant_id = tenant_id
        self._user = user
        self._token = token
        self._credentials = credentials
        self._timeout_s = timeout
        self._retry = retry
        self._options = channel_options(options)
        self._interceptors = tuple(interceptors)
        self._numbers: Numbers = numbers
        self._is_closed = False
        self._rpcs: dict[str, Any] = {}
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Prepare the channel."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r}, tenant_id={self._tenant_id!r}, user={self._user!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: create one in each process")

    def _tenant(self, tenant_id: str | None) -> str:
        tenant_id = self._tenant_id if tenant_id is None else tenant_id
        checked_value("tenant_id", tenant_id, str | None)
        if not tenant_id:
            raise ValueError("no tenant_id: pass it to the client or to the method")
        return tenant_id

    def _attempts(self, timeout: float | Unset | None, *, may_repeat: bool, may_renew: bool = True) -> Attempts:
        timeout_s = self._timeout_s if isinstance(timeout, Unset) else timeout
        check_timeout(timeout_s)
        return Attempts(self._retry, timeout_s, may_repeat=may_repeat, may_renew=may_renew and self._may_renew)

    @property
    def _may_renew(self) -> bool:
        """True if the token can be renewed after it was rejected, because a function supplies it."""
        return callable(self._token)

    def _metadata_with(self, token: str | Awaitable[str] | None) -> Metadata:
        metadata = []
        if self._user is not None:
            metadata.append(("x-draftline-user", self._user))
        if token is not None:
            if not isinstance(token, str):
                hint = ": an async function needs draftline.AsyncClient" if isinstance(token, Awaitable) else ""
                raise TypeError(f"the token must be a string, not {type(token).__name__}{hint}")
            check_token(token)
            metadata.append(("authorization", f"Bearer {token}"))
        return tuple(metadata)

    def _token_now(self) -> str | Awaitable[str] | None:
        return self._token() if callable(self._token) else self._token

    def _rpc(self, kind: Any, method: Method[Any, Any, Any]) -> Any:
        """Return the callable that sends a method, cached; `kind` is the channel's factory of such callables."""
        rpc = self._rpcs.get(method.path)
        if rpc is None:
            rpc = kind(method.path, method.request.SerializeToString, method.response.FromString)
            self._rpcs[method.path] = rpc
        return rpc

    def _parse(self, method: Method[RequestT, ResponseT, ResultT], response: ResponseT) -> ResultT:
        """Return the result in a response, with numbers as the client is to return them."""
        with numbers_as(self._numbers):
            return method.parse(response)

    def _parsing(self, call: Call[RequestT, ResponseT, ResultT]) -> Call[RequestT, ResponseT, ResultT]:
        """Return the call with a parser that returns numbers as the client is to return them."""
        method = call.method
        parser = replace(method, parse=lambda response: self._parse(method, response))
        return Call(parser, call.request)

    def _error(self, failure: grpc.RpcError) -> DraftlineError:
        """Return the error of a failed call, with numbers in conflicts as the client is to return them."""
        with numbers_as(self._numbers):
            error = error_of_call(failure)
        return explained(error, self._target, uses_tls=self._credentials is not None)

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the client is closed: create a new one")
