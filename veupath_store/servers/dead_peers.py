"""Noticing that the other side of a connection is gone, or that a firewall in between has forgotten it."""

import socket
from asyncio import BaseTransport
from typing import Final

DEAD_AFTER: Final = 10
"""Seconds without an acknowledgement after which either side gives a connection up: longer than a switch needs to
restart or a virtual machine to move, and below `command_timeout`."""

KEEPALIVE: Final = {"idle": 5, "interval": 2, "count": 3}
"""Seconds until an idle connection is probed, seconds between two probes, and how many may stay unanswered."""


def detect_dead_peer(transport: BaseTransport) -> None:
    """Let the kernel notice, within `DEAD_AFTER` seconds, that the other side does not answer any more."""
    opened = transport.get_extra_info("socket")
    if opened.family == socket.AF_UNIX:
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": KEEPALIVE["idle"], "TCP_KEEPINTVL": KEEPALIVE["interval"]}
    options |= {"TCP_KEEPCNT": KEEPALIVE["count"], "TCP_USER_TIMEOUT": DEAD_AFTER * 1000}
    for name, value in options.items():
        if hasattr(socket, name):  # not every system has all of them
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
