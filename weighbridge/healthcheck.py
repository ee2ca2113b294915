"""The container's health check: `python -m weighbridge.healthcheck RECEIVER_PORT ADMIN_PORT [HOST]`.

Ends with 0 when the bridge is alive and its receiver can be reached at the container's own address, as other
containers reach it; else with 1 and the reason on standard error. Imports nothing that takes time: it runs every
ten seconds. It reads no settings, so whoever moves the ports of the image tells it.
"""

from __future__ import annotations

import http.client
import socket
import sys

TIMEOUT_S = 2.0  # of each of the two questions; both together stay below the 5 s that the image allows


def complaint(receiver_port: int, admin_port: int, host: str) -> str:
    """Why the bridge is not healthy; "" when it is."""
    try:
        socket.create_connection((host, receiver_port), TIMEOUT_S).close()
    except OSError as error:
        return (
            f"receiver.endpoint cannot be reached at {host}:{receiver_port} ({error}); in a container it is "
            f"0.0.0.0:{receiver_port}"
        )
    admin = http.client.HTTPConnection(host, admin_port, timeout=TIMEOUT_S)
    try:
        admin.request("GET", "/healthz")
        status = admin.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"admin.endpoint does not answer at {host}:{admin_port} ({error})"
    finally:
        admin.close()
    return "" if status == http.HTTPStatus.OK else f"/healthz at {host}:{admin_port} answers {status}"


def own_address() -> str:
    """The container's address on its network; raises OSError when it has none."""
    return socket.gethostbyname(socket.gethostname())


def main(arguments: list[str]) -> str:
    """What is wrong, for `sys.exit`; "" is success there."""
    try:
        receiver_port, admin_port, *host = arguments
        return complaint(int(receiver_port), int(admin_port), host[0] if host else own_address())
    except OSError as error:
        return f"this container has no address: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
