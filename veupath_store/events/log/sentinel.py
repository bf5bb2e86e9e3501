"""The master that Sentinels name, asked for each new connection, and from time to time for the others.

After a failover that is another server, and the old one need not know: it may go on for ten seconds as if it were the
master, and lose what it acknowledges.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from veupath_store.errors import ConfigurationError, StoreError, UnavailableError
from veupath_store.events.log.client import WrongPasswordError, converse, drop
from veupath_store.events.log.connection import open_any, open_connection
from veupath_store.events.log.errors import DRIVER_ERRORS, not_connected
from veupath_store.servers.network_faults import Reason
from veupath_store.servers.redis_url import RedisTarget

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

Place = tuple[str, int]

_PATIENCE: Final = 0.25
"""Seconds for which a call waits to hear whether its master is still the one."""

_REFUSED: Final = Reason(
    "this Sentinel refused the user or its password, or wants one",
    "Correct sentinel_username and sentinel_password in REDIS_URL",
)


async def open_master(target: RedisTarget) -> "AbstractConnection":
    """Connect to the master of the target's service.

    What the first Sentinel names is tried, and what another one names where that is no master any more, or not yet.

    Raises:
        UnavailableError: No Sentinel answers, or what they name does not.
        ConfigurationError: No repeat will change that.
    """
    refusals: list[StoreError] = []
    tried: set[Place] = set()
    async with aclosing(_named(target)) as named:
        async for place in named:
            try:
                if isinstance(place, StoreError):
                    raise place
                if place not in tried:
                    tried.add(place)
                    return await open_connection(replace(target, host=place[0], port=place[1]), is_master=True)
            except StoreError as exc:
                refusals.append(exc)
    raise _summary(target, refusals)


async def named_master(target: RedisTarget) -> Place | None:
    """What the first Sentinel names that answers in time; ``None`` where none does."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE), aclosing(_named(target)) as named:
            async for place in named:
                if not isinstance(place, StoreError):
                    return place
    return None


async def _named(target: RedisTarget) -> AsyncGenerator[Place | StoreError, None]:
    """What each Sentinel says, as they answer. All are asked at once: redis-py would wait for one after the other."""
    answers = [asyncio.ensure_future(_ask(target, place)) for place in target.sentinels]
    try:
        for answer in asyncio.as_completed(answers):
            try:
                said: Place | StoreError = await answer
            except StoreError as exc:
                said = exc
            yield said
    finally:
        for task in answers:
            task.cancel()
        await asyncio.wait(answers)


async def _ask(target: RedisTarget, place: Place) -> Place:
    """Where the master is, in one Sentinel's view."""
    user, password = target.sentinel_user, target.sentinel_password
    sentinel = replace(
        target, host=place[0], port=place[1], user=user, password=password, ask_password=None, database=0
    )
    try:
        connection = await open_any(sentinel)
    except WrongPasswordError as exc:
        raise ConfigurationError(_REFUSED.sentence(sentinel.place)) from exc
    try:
        [answer] = await converse(connection, [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", target.service)])
    except DRIVER_ERRORS as exc:
        raise not_connected(exc, sentinel) from exc
    finally:
        await drop(connection)
    if isinstance(answer, Exception):
        raise not_connected(answer, sentinel) from answer
    if answer is None:
        raise ConfigurationError(
            f"{sentinel.place}: this Sentinel watches no master of the name {target.service!r}. Correct it in the URL."
        )
    host, port = answer
    return host.decode(), int(port)


def _summary(target: RedisTarget, refusals: Sequence[StoreError]) -> StoreError:
    """One error for all, with each one's own reason."""
    permanent = all(isinstance(refusal, ConfigurationError) for refusal in refusals)
    kind = ConfigurationError if permanent else UnavailableError
    reasons = dict.fromkeys(map(str, refusals))  # two Sentinels name one master
    summary = kind(" ".join((f"No master {target.service!r} accepts a connection.", *reasons)))
    summary.__cause__ = refusals[-1].__cause__
    return summary
