"""The options of the gRPC server."""

from __future__ import annotations

from dataclasses import dataclass

from .admission import AdmissionOptions
from .import_pace import PaceOptions


@dataclass(frozen=True, slots=True)
class ServerOptions:
    address: str
    shares_port: bool  # with other servers that set it as well
    reflection: bool
    call_timeout_s: float
    message_timeout_s: float
    stream_idle_timeout_s: float
    import_pace: PaceOptions
    drain_timeout_s: float
    max_request_bytes: int
    max_response_bytes: int
    max_metadata_bytes: int
    max_receive_buffer_bytes: int  # of incomplete messages of all connections together
    max_send_buffer_bytes: int  # of unread responses
    max_calls: int  # concurrent calls of all callers
    max_connections: int
    max_streams: int  # concurrent calls of a connection, which are streams in HTTP/2
    max_connection_age_s: float
    max_connection_age_grace_s: float  # for calls in progress on a connection of that age
    keepalive_interval_s: float  # idle time of a connection after which it is sent a keepalive ping
    keepalive_min_interval_s: float  # a caller that pings more often loses its connection
    admission: AdmissionOptions
