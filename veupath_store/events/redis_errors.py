"""The client's errors become store errors here, once."""

import re
from typing import Final

from redis import exceptions as redis_errors

from veupath_store.errors import (
    ConfigurationError,
    InternalError,
    OutcomeUnknownError,
    StoreError,
    UnavailableError,
)

DRIVER_ERRORS: Final = (redis_errors.RedisError, OSError, TimeoutError)
"""What the client raises. Anything else is a defect and is not touched."""

_CODE: Final = re.compile(r"[A-Z]{2,}\b")
_BY_CLASS: Final[dict[type[Exception], str]] = {
    redis_errors.BusyLoadingError: "LOADING",
    redis_errors.ReadOnlyError: "READONLY",
    redis_errors.OutOfMemoryError: "OOM",
    redis_errors.NoPermissionError: "NOPERM",
    redis_errors.ExecAbortError: "EXECABORT",
    redis_errors.MasterDownError: "MASTERDOWN",
    redis_errors.TryAgainError: "TRYAGAIN",
    redis_errors.ClusterDownError: "CLUSTERDOWN",
}
# The server has done nothing, and the cause will pass, by itself or by an operator's hand.
_PASSING: Final = {
    "LOADING": "it is still loading its data",
    "READONLY": "it is a read-only replica, as after a failover",
    "OOM": "its memory is full",
    "BUSY": "it is busy with a script",
    "MISCONF": "it cannot persist its data",
    "MASTERDOWN": "it has lost its master",
    "NOREPLICAS": "too few replicas are in reach",
    "TRYAGAIN": "its slots are being moved",
    "CLUSTERDOWN": "its cluster is down",
    "UNBLOCKED": "it ended the command",
}


def translate(error: Exception, *, sent: bool, writes: bool) -> StoreError:
    """The store's error for a client's error.

    What the server said is removed from the client's error, except for its code: it may quote what it was sent.

    Args:
        error: What the client or the operating system raised.
        sent: Whether the server may have seen the request.
        writes: Whether the request must not be repeated blindly.

    Returns:
        The error to raise ``from`` the given one.
    """
    # While it connects to a socket, the client wraps what the server said.
    if isinstance(error, redis_errors.ConnectionError) and isinstance(error.__cause__, redis_errors.RedisError):
        error = error.__cause__
    if isinstance(error, redis_errors.AuthenticationError):
        error.args = ("authentication failed",)
        return ConfigurationError("Redis refused the user or its password: check REDIS_URL.")
    code = _code(error)
    if code is not None:
        error.args = (code,)
        return _by_code(code, sent=sent)
    why = "it did not answer within the log's timeout" if _is_timeout(error) else "the connection failed"
    if sent and writes:
        return OutcomeUnknownError(f"It is not known whether the event log holds what was appended: {why}.")
    return UnavailableError(f"The event log is out of reach: {why}. The call may be repeated.")


def _by_code(code: str, *, sent: bool) -> StoreError:
    if code in _PASSING:
        return UnavailableError(f"Redis refused the request for now: {_PASSING[code]}. The call may be repeated.")
    if code == "NOPERM":
        return ConfigurationError("Redis refused its user a command or a key: check the user's rights and REDIS_URL.")
    if not sent:
        return ConfigurationError(f"Redis refused the connection's database or options ({code}): check REDIS_URL.")
    return InternalError(f"Redis refused a command of the store ({code}).")


def _code(error: Exception) -> str | None:
    """``WRONGTYPE`` for an answer of the server's; ``None`` where it is the connection that failed."""
    for kind, code in _BY_CLASS.items():
        if isinstance(error, kind):
            return code
    if not isinstance(error, redis_errors.ResponseError):
        return None
    match = _CODE.match(str(error))
    return match[0] if match else "ERR"


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, redis_errors.TimeoutError | TimeoutError)
