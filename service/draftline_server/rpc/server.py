"""The gRPC server: services, health, reflection and graceful shutdown."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress

import grpc
import structlog
from draftline.v1 import change_pb2, collection_pb2, content_pb2, draft_pb2, sync_pb2, tenant_pb2
from google.protobuf.descriptor import ServiceDescriptor

from ..auth.authentication import Authenticator
from ..observability.listen_errors import listen_error
from ..observability.telemetry import Telemetry
from .admission import Admission
from .call_tracker import SETTLE_S, CallOptions, CallTracker
from .condition_warnings import ConditionWarnings
from .connections import Connections
from .handlers import handlers
from .idempotency import IdempotencyLayer
from .public_services import PublicServices
from .receive_buffer import ReceiveBuffer, ReceiveBufferOptions
from .send_buffer import SendBuffer
from .server_options import ServerOptions
from .services.health import Health
from .sockets import Sockets
from .tls import Tls

SERVICES: tuple[ServiceDescriptor, ...] = (
    content_pb2.DESCRIPTOR.services_by_name["ContentService"],
    collection_pb2.DESCRIPTOR.services_by_name["CollectionService"],
    draft_pb2.DESCRIPTOR.services_by_name["DraftService"],
    change_pb2.DESCRIPTOR.services_by_name["ChangeService"],
    sync_pb2.DESCRIPTOR.services_by_name["SyncService"],
    tenant_pb2.DESCRIPTOR.services_by_name["TenantService"],
)
PING_TIMEOUT_S = 20.0
HANDSHAKE_TIMEOUT_S = 20.0
SETTINGS_TIMEOUT_S = 20.0
IDENTITY_ALONE = 1  # bit set of the accepted compression algorithms
# The flow-control window: the bytes that a caller can send for a call that is not read. This is the initial value of
# HTTP/2. With grpc's growing window, a caller could fill 64 MiB on every stream that is not read.
WINDOW_BYTES = 65_535
MIN_UNREAD_S = 10.0  # minimum time for which a response may stay unread
MAX_PUBLIC_BYTES = 32 * 1024 * 1024  # of incomplete messages to health and reflection


class Server:
    """Serves `servicers` (by service name) until it is stopped. Calls `on_write` with the tenant of each write."""

    def __init__(
        self,
        servicers: Mapping[str, object],
        idempotency: IdempotencyLayer,
        on_write: Callable[[str], None],
        health: Health,
        options: ServerOptions,
        *,
        authenticator: Authenticator,
        tls: Tls | None,
        conditions: ConditionWarnings,
        telemetry: Telemetry,
    ) -> None:
        self._options = options
        self.health = health
        self._authenticator = authenticator
        self._tls = tls
        sockets = Sockets()
        self.connections = Connections(sockets)
        receive_buffer = ReceiveBuffer(_receive_buffer_options(options), sockets, self.connections.record_closed)
        unread_s = max(MIN_UNREAD_S, 2 * options.stream_idle_timeout_s)  # so that streams get an error first
        self.calls = CallTracker(
            _call_options(options),
            idempotency=idempotency,
            conditions=conditions,
            authenticator=authenticator,
            admission=Admission(options.admission),
            receive_buffer=receive_buffer,
            send_buffer=SendBuffer(options.max_send_buffer_bytes, unread_s, sockets, self.connections.record_closed),
            connections=self.connections,
            on_write=on_write,
            telemetry=telemetry,
        )
        self._server = grpc.aio.server(options=channel_options(options))
        for service in SERVICES:
            handler = handlers(service, servicers[service.full_name], self.calls)
            self._server.add_generic_rpc_handlers((handler,))
        public = PublicServices(options.stream_idle_timeout_s, receive_buffer, self.connections)
        self._server.add_generic_rpc_handlers((public.health(health),))
        if options.reflection:
            self._server.add_generic_rpc_handlers(public.reflection([service.full_name for service in SERVICES]))

    @property
    def unauthenticated_calls(self) -> int:
        """The number of calls rejected so far because authentication failed."""
        return self._authenticator.failure_count

    async def is_ready(self) -> bool:
        """Return whether new calls are likely to be answered."""
        return self.health.is_reachable and not self.calls.draining

    async def start(self) -> int:
        """Bind, start serving and return the port.

        Raises OSError if the address is in use, ValueError if keys cannot be used.
        """
        try:
            await self._authenticator.start()
            port = await self._bind()
        except BaseException:
            await self._close_credentials()
            raise
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_relevant)
        await self._server.start()
        await self.health.start()
        return port

    async def drain(self) -> None:
        """Reject new calls, let calls in flight finish within the drain timeout, then cancel the rest."""
        structlog.get_logger().info("draining", timeout_s=self._options.drain_timeout_s)
        await self.health.drain()
        # Accept calls that have arrived: grpc would end them with CANCELLED, as if by their caller (grpc/grpc#41785).
        await self.calls.drain()
        stopping = asyncio.create_task(self._server.stop(self._options.drain_timeout_s))
        await asyncio.sleep(SETTLE_S)  # so that callers get GOAWAY before their responses
        await self.calls.wait_idle(self._options.drain_timeout_s)
        with suppress(TimeoutError):  # wait until the last responses are sent
            await asyncio.wait_for(asyncio.shield(stopping), SETTLE_S)
        # Only streams of health and reflection are still open, and they never end by themselves.
        await self._server.stop(None)
        await stopping
        await self._close_credentials()

    async def _bind(self) -> int:
        address = self._options.address
        try:
            if self._tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, await self._tls.start())
        except RuntimeError as error:
            host, _, port = address.rpartition(":")
            problem = listen_error(host, int(port), "DRAFTLINE_HOST", "set DRAFTLINE_PORT to another one")
            raise OSError(problem) from error

    async def _close_credentials(self) -> None:
        await self._authenticator.close()
        if self._tls is not None:
            await self._tls.close()

    async def wait(self) -> None:
        await self._server.wait_for_termination()


def _is_relevant(record: logging.LogRecord) -> bool:
    """Return False for the traceback that grpc logs if a caller disconnects before the whole response is sent."""
    return not (record.exc_info and isinstance(record.exc_info[1], grpc.aio.InternalError))


def channel_options(options: ServerOptions) -> list[tuple[str, int]]:
    """Return the channel arguments for grpc."""
    return [
        ("grpc.so_reuseport", int(options.shares_port)),  # grpc's default lets a second server take the port silently
        ("grpc.max_receive_message_length", options.max_request_bytes),
        ("grpc.max_send_message_length", options.max_response_bytes),
        # The same limit twice: grpc rejects randomly between the soft and the hard limit.
        ("grpc.max_metadata_size", options.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", options.max_metadata_bytes),
        ("grpc.max_concurrent_streams", options.max_streams),
        ("grpc.max_allowed_incoming_connections", options.max_connections),
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        ("grpc.http2.bdp_probe", 0),  # it would grow the windows
        # grpc inflates compressed messages before it checks their size: 1 MiB may become 1 GiB.
        ("grpc.compression_enabled_algorithms_bitset", IDENTITY_ALONE),
        # It counts finished calls that are not freed yet, and rejected a tenth of 90 concurrent calls because of them.
        ("grpc.http.overload_protection", 0),
        ("grpc.max_connection_age_ms", _ms(options.max_connection_age_s)),
        ("grpc.max_connection_age_grace_ms", _ms(options.max_connection_age_grace_s)),
        ("grpc.keepalive_time_ms", _ms(options.keepalive_interval_s)),
        ("grpc.keepalive_timeout_ms", _ms(PING_TIMEOUT_S)),
        ("grpc.http2.ping_timeout_ms", _ms(PING_TIMEOUT_S)),  # the one that grpc 1.78 uses
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(options.keepalive_min_interval_s)),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.server_handshake_timeout_ms", _ms(HANDSHAKE_TIMEOUT_S)),
        ("grpc.http2.settings_timeout", _ms(SETTINGS_TIMEOUT_S)),
    ]


def _receive_buffer_options(options: ServerOptions) -> ReceiveBufferOptions:
    return ReceiveBufferOptions(
        max_bytes=options.max_receive_buffer_bytes,
        max_public_bytes=MAX_PUBLIC_BYTES,
        streams=options.max_streams,
        window_bytes=WINDOW_BYTES,
        call_bytes=options.max_metadata_bytes,
    )


def _call_options(options: ServerOptions) -> CallOptions:
    return CallOptions(
        max_calls=options.max_calls,
        max_arriving=options.admission.max_running + options.admission.queue_limit,
        max_request_bytes=options.max_request_bytes,
        timeout_s=options.call_timeout_s,
        message_timeout_s=options.message_timeout_s,
        idle_timeout_s=options.stream_idle_timeout_s,
        pace=options.import_pace,
    )


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
