"""The reasons for which the service cannot listen on an address."""

from __future__ import annotations

import errno
import socket

NOT_HERE = "{host} is not an address of this machine; set {setting} to one of its addresses, such as 127.0.0.1"
NOT_ALLOWED = "this user is not allowed to listen on port {port}; use a port above 1023"


def bind_error(host: str, port: int) -> int | None:
    """Return the errno of binding to the address, or None if that succeeds. The socket is closed at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            # Connections in TIME_WAIT must not make the bind fail. Without listen(), no client can connect.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except (socket.gaierror, UnicodeError):  # UnicodeError: a name with a part that is empty or too long
        return errno.EADDRNOTAVAIL
    except OSError as error:
        return error.errno
    return None


def listen_error(host: str, port: int, host_setting: str, in_use_fix: str) -> str:
    """Return a sentence about an address that could not be listened on, after another attempt to bind to it."""
    problem = bind_error(host, port)
    if problem == errno.EACCES:
        reason = NOT_ALLOWED.format(port=port)
    elif problem in (None, errno.EADDRINUSE):
        reason = f"the port may be in use; {in_use_fix}"
    else:
        reason = NOT_HERE.format(host=host, setting=host_setting)
    return f"cannot listen on {host}:{port}: {reason}"
