"""Sockets that nobody may use any more: in a forked child those of its parent, and those that a closed loop left open.

A child has copies of all descriptors of its parent, the one of its event loop's epoll included. Whatever the child
sends, if only the farewell of a connection that is finalised, mixes with what the parent sends; what it unregisters,
the parent no longer hears of. So in the child each of these descriptors becomes ``/dev/null`` before anything runs.
It is not closed: the next socket of the child would get its number, and be used by the old connection.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

_transports: Final[WeakKeyDictionary[asyncio.BaseTransport, asyncio.AbstractEventLoop]] = WeakKeyDictionary()


def keep_from_children(transport: asyncio.BaseTransport) -> None:
    """Have a connection's socket replaced in every child that is forked while it is open."""
    _transports[transport] = asyncio.get_running_loop()


def hang_up(loop: asyncio.AbstractEventLoop) -> None:
    """End the connections that a closed event loop left open.

    They would wait for the garbage collector: of ``asyncio.run`` again and again, 80 of them at once on Python 3.13.
    """
    for transport, its in list(_transports.items()):
        opened = transport.get_extra_info("socket")
        if its is loop and opened is not None and opened.fileno() >= 0:  # uvloop has closed them itself
            with contextlib.suppress(OSError):  # the server was first
                opened.shutdown(socket.SHUT_RDWR)


def in_forked_child(call: Callable[[], None]) -> Callable[[], None]:
    """Have a function called in every child that is forked, before anything else runs there."""
    if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
        os.register_at_fork(after_in_child=call)
    return call


@in_forked_child
def _replace_sockets() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        for transport in _transports:
            opened = transport.get_extra_info("socket")
            if opened is not None and opened.fileno() >= 0:
                os.dup2(nothing, opened.fileno(), inheritable=False)
    finally:
        os.close(nothing)
    _transports.clear()
