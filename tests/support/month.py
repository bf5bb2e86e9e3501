"""What befalls a Redis in a month of operation, and what comes of it: the table of docs/event-log.md."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from uuid import UUID, uuid4

from tests.support.projections import Logs
from tests.support.redis_servers import PrivateRedis
from veupath_store.events.log.scripts import BEHIND, SWEPT

TEN_YEARS = 10 * 365 * 86_400_000
BACKLOG = 3_000


@dataclass(frozen=True)
class World:
    """Where a row takes place."""

    server: PrivateRedis
    logs: Logs
    chat: UUID
    other: UUID
    older: Path


State = Callable[[World], contextlib.AbstractContextManager[None]]


def away(world: World):
    return world.server.down()


def frozen(world: World):
    return world.server.frozen()


def having(*done: str, undone: str = "PING") -> State:
    """What commands make of Redis, of which `{log}` is the conversation's log and `{marks}` those of all."""

    @contextmanager
    def state(world: World) -> Iterator[None]:
        def run(command: str) -> None:
            keys = {"{log}": world.logs.key(world.chat), "{marks}": f"{world.logs.prefix}{BEHIND}"}
            world.logs.redis.execute_command(*(keys.get(word, word) for word in command.split()))

        for command in done:
            run(command)
        try:
            yield
        finally:
            run(undone)

    return state


flushed = having("FLUSHALL")
full = having("CONFIG SET maxmemory 1", undone="CONFIG SET maxmemory 0")
demoted = having("REPLICAOF 127.0.0.1 1", undone="REPLICAOF NO ONE")
other_type = having("DEL {log}", "HSET {log} another type", undone="DEL {log}")
other_marks = having("SET {marks} another-type", undone="DEL {marks}")


def denying(command: str) -> State:
    return having(f"ACL SETUSER default -{command}", undone="ACL SETUSER default +@all")


@contextmanager
def set_back(world: World) -> Iterator[None]:
    world.server.set_back(world.older)
    yield


@contextmanager
def evicting(world: World) -> Iterator[None]:
    redis = world.logs.redis
    redis.config_set("maxmemory-policy", "allkeys-lru")
    redis.config_set("maxmemory", 1)
    assert redis.dbsize() == 0, "all is evicted"
    redis.config_set("maxmemory", 0)
    try:
        yield
    finally:
        redis.config_set("maxmemory-policy", "noeviction")


@contextmanager
def ahead_and_back(world: World) -> Iterator[None]:
    """What a server leaves whose clock was ahead: an entry, a mark and the claim of a sweep."""
    future = int(time.time() * 1_000) + TEN_YEARS
    world.logs.add(world.chat, "assistant_delta", {}, f"{future}-0")
    world.logs.redis.zadd(f"{world.logs.prefix}{BEHIND}", {str(world.chat): future})
    world.logs.redis.set(f"{world.logs.prefix}{SWEPT}", "1", pxat=future)
    yield


@contextmanager
def far_behind(world: World) -> Iterator[None]:
    append = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'type', 'user_message', 'data', '{}') end"
    world.logs.redis.eval(append, 1, world.logs.key(world.chat), BACKLOG)
    yield


@contextmanager
def shared(world: World) -> Iterator[None]:
    """Another application's conversation, whose owner nobody here knows, and its mark."""
    theirs = uuid4()
    owner = {"whole": "made", "userId": str(uuid4()), "siteId": "plasmodb", "name": "theirs"}
    world.logs.add(theirs, "projection_patched", owner)
    world.logs.add(theirs, "user_message", {"content": "theirs"})
    world.logs.redis.zadd(f"{world.logs.prefix}{BEHIND}", {str(theirs): 1})
    before = world.logs.entries(theirs)
    yield
    assert world.logs.entries(theirs) == before


UNAVAILABLE, CONFIGURATION, INTERNAL = "`UnavailableError`", "`ConfigurationError`", "`InternalError`"
GAP, THE_EVENT, WAITS = "`log_gap`", "the event", "waits"
NOTHING = "nothing is lost"


@dataclass(frozen=True)
class Row:
    """One row of the table: what Redis is, and what comes of it."""

    redis: str
    state: State
    rename: str = "kept"
    lag: str = "unlogged"
    verify: str = "equal"
    rebuild: str = "rebuilt"
    append: str = "appended"
    follower: str = THE_EVENT
    afterwards: str = NOTHING

    @property
    def cells(self) -> list[str]:
        return [getattr(self, field.name) for field in fields(self) if field.name != "state"]

    def __str__(self) -> str:
        return f"| {' | '.join(self.cells)} |"


LOST = {"lag": "ahead", "verify": "behind", "rebuild": "behind"}
UNREADABLE = {**dict.fromkeys(("lag", "verify", "rebuild"), "unreadable"), "append": INTERNAL, "follower": INTERNAL}
SILENT = dict.fromkeys(("lag", "verify", "rebuild", "append", "follower"), UNAVAILABLE)

MONTH = (
    Row("away", away, **SILENT),
    Row("frozen", frozen, **{**SILENT, "append": f"{UNAVAILABLE} or `OutcomeUnknownError`"}),
    Row("flushed", flushed, **LOST, follower=f"{GAP}, {THE_EVENT}", afterwards="3 messages are lost"),
    Row(
        "set back to an older file",
        set_back,
        **LOST,
        # Between two of its requests it does not notice that the server was away.
        follower=f"{UNAVAILABLE}, {GAP}, {THE_EVENT} or {GAP}, {THE_EVENT}",
        afterwards="2 messages are lost",
    ),
    Row("evicting (`allkeys-lru`)", evicting, **LOST, follower=f"{GAP}, {THE_EVENT}", afterwards="3 messages are lost"),
    Row("demoted to a replica", demoted, append=UNAVAILABLE, follower=f"{WAITS} or {UNAVAILABLE}, {WAITS}"),
    Row("full (`noeviction`)", full, append=UNAVAILABLE, follower=WAITS),
    Row("back from a clock ten years ahead", ahead_and_back, lag="behind"),
    Row(f"{BACKLOG:,} entries ahead of the row", far_behind, lag="behind"),
    Row("holding a hash under the log's key", other_type, **UNREADABLE, afterwards="3 messages are lost"),
    Row("holding a string under `projections:behind`", other_marks),
    Row("refusing `EVAL`", denying("eval"), lag="unreadable", append=CONFIGURATION, follower=WAITS),
    Row("refusing `XADD`", denying("xadd"), append=CONFIGURATION, follower=WAITS),
    Row("refusing `ZADD`", denying("zadd"), append=CONFIGURATION, follower=WAITS),
    Row("refusing `SET`", denying("set"), append=CONFIGURATION, follower=WAITS),
    Row("refusing `XRANGE`", denying("xrange"), verify=CONFIGURATION, rebuild=CONFIGURATION),
    Row("refusing `XREAD`", denying("xread"), follower=f"{CONFIGURATION}, {THE_EVENT}"),
    Row("refusing `SCAN`", denying("scan"), lag=CONFIGURATION),
    Row("shared with another application, prefix and all", shared),
)

HARMED_ALONE = {other_type, far_behind, ahead_and_back}
"""Where one conversation is harmed, and the other one must not be."""
