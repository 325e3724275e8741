"""The toy system of record of `upstream.py`: what it keeps, and its servers for both protocols."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from draftline.v1 import upstream_pb2_grpc

from .grpc_service import UpstreamService
from .http_service import Handler, HttpServer
from .system import FAULTS, PartWrite, RefusedError, System

__all__ = ["FAULTS", "PartWrite", "RefusedError", "Running", "System", "UpstreamService"]


class Running:
    """Serves a system on two ports of loopback until `stop`; 0 chooses a free port."""

    def __init__(self, system: System, grpc_port: int = 0, http_port: int = 0) -> None:
        self._http = HttpServer(("127.0.0.1", http_port), type("ThisHandler", (Handler,), {"system": system}))
        self._threads = ThreadPoolExecutor(32)
        self._grpc = grpc.server(self._threads, options=[("grpc.so_reuseport", 0)])
        upstream_pb2_grpc.add_UpstreamServiceServicer_to_server(UpstreamService(system), self._grpc)
        self.grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{grpc_port}")
        self.http_port = self._http.server_address[1]
        self._grpc.start()
        self._http_thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._http_thread.start()

    def stop(self) -> None:
        """Cancel all calls, and return when no thread of the servers runs any more."""
        self._grpc.stop(None).wait()
        self._threads.shutdown(cancel_futures=True)
        self._http.shutdown()
        self._http_thread.join()
        self._http.server_close()
