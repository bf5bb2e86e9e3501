"""The client's errors become store errors here, once."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from redis import exceptions as redis_errors

from veupath_store.errors import (
    ConfigurationError,
    InternalError,
    OutcomeUnknownError,
    StoreError,
    UnavailableError,
)
from veupath_store.events.log.client import (
    FullError,
    NotAllowedError,
    NotWritableError,
    RefusedError,
    WrongPasswordError,
)
from veupath_store.servers.network_faults import LOST, Reason, TlsOptions, network_reason
from veupath_store.servers.redis_url import RedisTarget

DRIVER_ERRORS: Final = (redis_errors.RedisError, OSError, TimeoutError)
"""What the client raises. Anything else is a defect and is not touched."""

# Redis 6.2 says of a script only that it failed, and then why.
_CODE: Final = re.compile(r"(?:.*@user_script:\s?\d+: -?)?([A-Z]{2,})\b")
# In a script a missing right is reported without a code.
_DENIED: Final = "The user executing the script can't "
_BY_CLASS: Final[dict[type[Exception], str]] = {
    redis_errors.BusyLoadingError: "LOADING",
    redis_errors.ReadOnlyError: "READONLY",
    redis_errors.OutOfMemoryError: "OOM",
    redis_errors.NoPermissionError: "NOPERM",
    redis_errors.MasterDownError: "MASTERDOWN",
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
    "UNBLOCKED": "it ended the command",
}
_KINDS: Final = {
    "READONLY": NotWritableError,
    "NOREPLICAS": NotWritableError,
    "MASTERDOWN": NotWritableError,
    "UNBLOCKED": NotWritableError,  # to whoever waits for entries when it becomes a replica
    "OOM": FullError,
}

TLS_OPTIONS: Final = TlsOptions(
    authority="ssl_ca_certs in REDIS_URL to the file of the authority that signed it",
    certificate="ssl_certfile and ssl_keyfile in REDIS_URL",
    files="ssl_ca_certs, ssl_certfile and ssl_keyfile, in REDIS_URL",
    any_name="ssl_check_hostname=false",
    versions="See that the server takes TLS 1.2 or later, and that the port is that of a Redis server",
)
_REFUSED: Final = Reason("it refused the user or its password, or wants one", "Correct both in REDIS_URL")


def not_connected(error: BaseException, target: RedisTarget) -> StoreError:
    """The store's error for a connection that could not be made: it names the place, and what to do.

    Returns:
        To raise ``from`` the given one: a `ConfigurationError` for what no repeat can cure, or an `UnavailableError`.
    """
    reason = _reason(error, target)
    if reason is None:
        said = translate(error, sent=False, writes=False)
        return WrongPasswordError(_REFUSED.sentence(target.place)) if isinstance(said, WrongPasswordError) else said
    return (ConfigurationError if reason.is_permanent else UnavailableError)(reason.sentence(target.place))


def is_lost(error: BaseException, target: RedisTarget) -> bool:
    """Whether the server hung up, or said what is no answer, while the connection was being opened."""
    reason = _reason(error, target)
    return reason is not None and reason.why.startswith(LOST.why)


def _reason(error: BaseException, target: RedisTarget) -> Reason | None:
    """What the network, the system or TLS says; ``None`` where it is the server's answer, or its silence."""
    seen = _unwrapped(error)
    if isinstance(seen, redis_errors.AuthenticationError) or _is_timeout(seen) or _code(seen) is not None:
        return None
    said = next((it for it in _chain(error) if isinstance(it, OSError | UnicodeError)), None)
    return LOST if said is None else network_reason(said, TLS_OPTIONS, is_socket=target.socket is not None)


def _unwrapped(error: BaseException) -> BaseException:
    """While it connects to a socket, the client wraps what the server said."""
    cause = error.__cause__
    wraps = isinstance(error, redis_errors.ConnectionError) and isinstance(cause, redis_errors.RedisError)
    return cause if wraps and cause is not None else error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised for."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def translate(error: BaseException, *, sent: bool, writes: bool, keys: Sequence[str] = ()) -> StoreError:
    """The store's error for a client's or the operating system's, to raise ``from`` that.

    What the server said is removed from the client's error, except for its code: it may quote what it was sent.

    Args:
        sent: Whether the server may have seen the request.
        writes: Whether the request must not be repeated blindly.
        keys: The keys that the refused command names.
    """
    error = _unwrapped(error)
    if isinstance(error, redis_errors.AuthenticationError):
        error.args = ("authentication failed",)
        return WrongPasswordError("Redis refused the user or its password: check REDIS_URL.")
    code = _code(error)
    if code is not None:
        error.args = (code,)
        return _by_code(code, sent=sent, keys=keys)
    why = "it did not answer within the log's timeout" if _is_timeout(error) else "the connection failed"
    if sent and writes:
        return OutcomeUnknownError(f"It is not known whether the event log holds what was appended: {why}.")
    return UnavailableError(f"The event log is out of reach: {why}. The call may be repeated.")


def _by_code(code: str, *, sent: bool, keys: Sequence[str]) -> StoreError:
    if code in _PASSING:
        return _KINDS.get(code, RefusedError)(
            f"Redis refused the request for now: {_PASSING[code]}. The call may be repeated."
        )
    if code == "NOPERM":
        return NotAllowedError(
            "Redis refused its user a command or a key: check the user's rights and REDIS_URL; veupath-store check "
            "says which."
        )
    if not sent:
        return ConfigurationError(f"Redis refused the connection's database or options ({code}): check REDIS_URL.")
    named = f" on the key {' or '.join(keys)}" if keys else ""
    return InternalError(f"Redis refused a command of the store ({code}){named}.")


def _code(error: BaseException) -> str | None:
    """``WRONGTYPE`` for an answer of the server's; ``None`` where it is the connection that failed."""
    for kind, code in _BY_CLASS.items():
        if isinstance(error, kind):
            return code
    if not isinstance(error, redis_errors.ResponseError):
        return None
    if _DENIED in str(error):
        return "NOPERM"
    match = _CODE.match(str(error))
    return match[1] if match else "ERR"


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, redis_errors.TimeoutError | TimeoutError)
