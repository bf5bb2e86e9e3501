"""What this process has saved, and who in it waits to hear of that.

A hint, not a message: whoever hears it looks into the database, and looks there now and then also without one, for what
other processes have saved.
"""

from collections.abc import Callable
from typing import Final, TypeVar
from uuid import UUID

T = TypeVar("T")

CONVERSATIONS: Final = "conversations"
"""A conversation was changed, and its log does not say so yet."""

WORK: Final = "work"
"""An operation waits for a worker."""


def of_operation(operation_id: UUID) -> str:
    """The topic of one operation: somebody asked to cancel it, or it has ended, or is gone."""
    return f"operation {operation_id}"


def added(listeners: list[T], listener: T) -> Callable[[], None]:
    """Add a listener, and return what to call when it is no longer wanted; twice is harmless."""
    listeners.append(listener)

    def forget() -> None:
        if listener in listeners:
            listeners.remove(listener)

    return forget


class Listeners:
    """Who is called when something of a topic was saved."""

    def __init__(self) -> None:
        self._of: dict[str, list[Callable[[], None]]] = {}

    def add(self, topic: str, listener: Callable[[], None]) -> Callable[[], None]:
        """Have something called, as with `added`, after each commit, or single statement, of a topic.

        The topic is `CONVERSATIONS`, `WORK`, or what `of_operation` returns; what is called must not block or raise.
        """
        forget = added(self._of.setdefault(topic, []), listener)

        def forget_topic() -> None:
            forget()
            if not self._of.get(topic):
                self._of.pop(topic, None)

        return forget_topic

    def tell(self, topic: str) -> None:
        """Call those of a topic."""
        for listener in list(self._of.get(topic, ())):
            listener()
