"""What an error is to a client of HTTP, a problem document of RFC 9457, and to a log, a traceback without values.

Needs no web framework: `problem_of` is for all of them.
"""

import traceback
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

from pydantic import ConfigDict
from tortoise.exceptions import DoesNotExist, ObjectDoesNotExistError

from veupath_store.errors import (
    ConflictError,
    InvalidInputError,
    LeaseLostError,
    NotFoundError,
    OperationActiveError,
    OutcomeUnknownError,
    PruneRefusedError,
    StaleVersionError,
    StoreError,
    UnavailableError,
)
from veupath_store.values.value import Value

MEDIA_TYPE: Final = "application/problem+json"

RETRY_AFTER: Final = 2
"""Seconds, as the header of a 503 says: a pool is free again sooner, a failover takes a little longer."""


class Problem(Value):
    """A problem document. It may have other members beside these, the application's own (`with_members`).

    Attributes:
        type: Which problem: ``/problems/not-found``, ``/problems/stale-version``, …; a name, not an address.
            ``about:blank`` where all there is to say is the status.
        title: The same in words, equal for all problems of the type.
        status: The status of the response.
        detail: What happened this time. Never holds what is stored, what was sent, or where the servers are.
        path: The value that was refused, as in ``plan.root.parameters.organism``.
        constraint: The name of the constraint that a conflict violated.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    path: str | None = None
    constraint: str | None = None

    def with_members(self, members: Mapping[str, Any]) -> Self:
        """The same problem with members of the application's own, as a code or the request's id.

        Args:
            members: Their names, and values that JSON has. Those of the problem itself stay as they are.

        Returns:
            A new problem.
        """
        return type(self)(**{**members, **self.model_dump(exclude_none=True)})

    def headers(self) -> dict[str, str]:
        """What the response's headers should say beside the media type."""
        retry = {"Retry-After": str(RETRY_AFTER)} if self.status == _UNAVAILABLE else {}
        return {"Cache-Control": "no-store", **retry}


_NOT_FOUND, _CONFLICT, _INVALID, _INTERNAL, _UNAVAILABLE = 404, 409, 422, 500, 503

_KINDS: Final[dict[type[BaseException], tuple[int, str, str]]] = {
    NotFoundError: (_NOT_FOUND, "not-found", "Not found"),
    DoesNotExist: (_NOT_FOUND, "not-found", "Not found"),
    ObjectDoesNotExistError: (_NOT_FOUND, "not-found", "Not found"),
    ConflictError: (_CONFLICT, "conflict", "Conflict"),
    StaleVersionError: (_CONFLICT, "stale-version", "Changed by somebody else"),
    PruneRefusedError: (_CONFLICT, "prune-refused", "Refused to dismiss so many conversations"),
    OperationActiveError: (_CONFLICT, "operation-active", "Another operation is active"),
    LeaseLostError: (_CONFLICT, "lease-lost", "The lease is lost"),
    InvalidInputError: (_INVALID, "invalid-input", "Invalid input"),
    # Not 503, which proxies and clients take for leave to send it again.
    OutcomeUnknownError: (_INTERNAL, "outcome-unknown", "It is not known whether it was saved"),
    UnavailableError: (_UNAVAILABLE, "unavailable", "Unavailable for now"),
}

# No fault of the request, whose every statement was accepted: a deferred constraint, or a trigger, refused the whole.
_AT_COMMIT: Final = (_INTERNAL, "commit-refused", "The transaction was refused")

# Said instead of the error's own message, which speaks to the application or names its servers.
_DETAILS: Final[dict[str, str]] = {
    "not-found": "There is no such thing.",
    "prune-refused": "The list of live strategies is empty, or partial, or foreign. Nothing was dismissed.",
    "outcome-unknown": "It may have been saved. Look before you send it again.",
    "commit-refused": "Nothing was saved. The reason is in the server's log.",
    "unavailable": "The store does not answer, or is too busy. Send it again later.",
}
_GENERIC: Final = "The request failed. The reason is in the server's log."


def problem_of(error: BaseException) -> Problem:
    """What to answer for an error, of the store or any other.

    Args:
        error: What was raised.

    Returns:
        The problem: of the nearest class of the error that has one; for everything else a 500 that says nothing. A
        COMMIT that fails is never the client's fault: 503 where it may be repeated, or else 500.
    """
    kind = next((_KINDS[ancestor] for ancestor in type(error).__mro__ if ancestor in _KINDS), None)
    if kind is None:
        return Problem(type="about:blank", title="Internal Server Error", status=_INTERNAL, detail=_GENERIC)
    status, name, title = kind
    if status < _INTERNAL and isinstance(error, StoreError) and error.at_commit:
        status, name, title = _AT_COMMIT
        return Problem(type=f"/problems/{name}", title=title, status=status, detail=_DETAILS[name])
    return Problem(
        type=f"/problems/{name}",
        title=title,
        status=status,
        detail=_detail(error, name),
        path=error.path if isinstance(error, InvalidInputError) else None,
        constraint=error.constraint if isinstance(error, ConflictError) else None,
    )


def _detail(error: BaseException, name: str) -> str:
    if isinstance(error, NotFoundError):
        return str(error)
    if isinstance(error, InvalidInputError):
        return error.reason
    return _DETAILS.get(name) or str(error)


def safe_traceback(error: BaseException) -> str:
    """The traceback of an error and of its causes, as Python prints it, with the messages of the store's errors only.

    The message of another error may hold what somebody wrote: ``KeyError: 'their text'``, or Tortoise's words about a
    value. Only its type is shown.
    """
    text = link = ""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        text = _one(current) + link + text
        current, link = _before(current)
    return text.rstrip()


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
