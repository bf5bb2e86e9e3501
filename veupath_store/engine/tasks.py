"""Starting tasks that outlive the unit of work in which they are started."""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from tortoise.context import get_current_context

from veupath_store.engine.statements import Statements

T = TypeVar("T")

_running: Final[set[asyncio.Task[Any]]] = set()


def start_detached(coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
    """Start a task that does not inherit the open unit of work.

    A task copies its parent's context, the open transaction included: its own queries would join that
    transaction, and fail once it has ended. A detached task's queries run on the pool.

    It is kept alive until it is done, so the caller need not keep it; its error is the caller's to ask.
    """
    context = contextvars.copy_context()
    context.run(_leave_transactions)
    task = asyncio.get_running_loop().create_task(coroutine, name=name, context=context)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


def _leave_transactions() -> None:
    current = get_current_context()
    if current is None:
        return
    handler = current.connections
    handler._set_storage(
        {
            alias: client.pool if isinstance(client, Statements) else client
            for alias, client in handler._copy_storage().items()
        }
    )
