"""Tracebacks that can be logged: where something failed, without what it failed on."""

import traceback

from veupath_store.errors import StoreError


def safe_traceback(error: BaseException) -> str:
    """The traceback of an error and of its causes, as Python prints it, with the messages of the store's errors only.

    The message of another error may hold what somebody wrote: ``KeyError: 'their text'``, or Tortoise's words about a
    value. Only its type is shown.

    Args:
        error: What was raised.

    Returns:
        Several lines.
    """
    parts: list[str] = []
    seen: set[int] = set()
    link = ""
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        parts.append(_one(current) + link)
        current, link = _before(current)
    return "".join(reversed(parts)).rstrip()


def _one(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__))
    message = f": {error}" if isinstance(error, StoreError) else ""
    return f"Traceback (most recent call last):\n{frames}{type(error).__module__}.{type(error).__qualname__}{message}\n"


def _before(error: BaseException) -> tuple[BaseException | None, str]:
    """The error that came before, and the line that stands between the two."""
    if error.__cause__ is not None:
        return error.__cause__, "\nThe above exception was the direct cause of the following exception:\n\n"
    if error.__context__ is not None and not error.__suppress_context__:
        return error.__context__, "\nDuring handling of the above exception, another exception occurred:\n\n"
    return None, ""
