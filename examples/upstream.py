"""A toy system of record that Draftline can synchronize with, over gRPC and HTTP, with faults on request.

.venv/bin/python examples/upstream.py                                     serves gRPC on port 50061, HTTP on 8061
.venv/bin/python examples/upstream.py --fault timeout-after-apply=0.05    loses the response of 5 % of the writes

It keeps parts in memory, and has what a system needs so that nothing is lost or doubled: idempotency keys, versions
(ETags over HTTP), the client's reference, changes by cursor with deletions, and snapshots. The operator's file defines
it by {"toy": {"kind": "grpc", "address": "127.0.0.1:50061", "tls": null, "networks": ["127.0.0.0/8"],
"tenants": ["demo"]}}.
"""

from __future__ import annotations

import argparse
import signal
import threading

from toy_system import FAULTS, Running, System


def rate(text: str) -> tuple[str, float]:
    """Return the name and the rate of `--fault`. Raise ArgumentTypeError if it is not valid."""
    name, _, share = text.partition("=")
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if name not in FAULTS or not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"write NAME=RATE, with a rate from 0 to 1 and a name of {', '.join(FAULTS)}")
    return name, value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="faults:\n" + "\n".join(f"  {name:20} {text}" for name, text in FAULTS.items()),
    )
    parser.add_argument("--grpc-port", type=int, default=50061)
    parser.add_argument("--http-port", type=int, default=8061)
    parser.add_argument("--fault", type=rate, action="append", default=[], metavar="NAME=RATE")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    options = parser.parse_args()
    running = Running(System(dict(options.fault), options.seed), options.grpc_port, options.http_port)
    print(f"gRPC on 127.0.0.1:{running.grpc_port}, HTTP on http://127.0.0.1:{running.http_port}", flush=True)
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.set())
    stopped.wait()
    running.stop()


if __name__ == "__main__":
    main()
