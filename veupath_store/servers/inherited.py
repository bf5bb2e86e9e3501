"""What a forked child must not touch: the sockets of its parent.

A child has copies of all descriptors of its parent, the one of its event loop's epoll included. Whatever the child
sends, if only the farewell of a connection that is finalised, mixes with what the parent sends; what it unregisters,
the parent no longer hears of. So in the child each of these descriptors becomes ``/dev/null`` before anything runs.
It is not closed: the next socket of the child would get its number, and be used by the old connection.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Final
from weakref import WeakSet

_transports: Final[WeakSet[asyncio.BaseTransport]] = WeakSet()


def keep_from_children(transport: asyncio.BaseTransport) -> None:
    """Have a connection's socket replaced in every child that is forked while it is open."""
    _transports.add(transport)


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
            socket = transport.get_extra_info("socket")
            if socket is not None and socket.fileno() >= 0:
                os.dup2(nothing, socket.fileno(), inheritable=False)
    finally:
        os.close(nothing)
    _transports.clear()
