"""The law where Redis fails: it stops, freezes, and forgets what it acknowledged, in the middle of whatever is done.

What a row has seen and its log no longer holds is a loss. Then the row is not the fold of its log until it is caught
up; afterwards it is, and says for good what was lost. Repositories' calls never notice any of it.
"""

import time
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.support.law import LawMachine, Place
from tests.support.law_checks import Eyes
from tests.support.law_steps import CHANGES, MESSAGES, STREAMS, Call, Told
from tests.support.law_world import LawWorld
from tests.support.redis_servers import PrivateRedis
from veupath_store.events.log.entries import Position
from veupath_store.events.log.log import required_log
from veupath_store.session import get_engine

FROZEN = 0.2
"""Seconds that each request to a frozen server takes: `log_timeout` while it is frozen, and only then."""

ALL = 1_000
"""More entries than a log has here."""

_AHEAD = 3_600_000


class Mortal:
    """A server of one's own, its contents remembered now and then."""

    def __init__(self, server: PrivateRedis, eyes: Eyes) -> None:
        self.server = server
        self.eyes = eyes
        self.away = ""
        self.remembered: dict[bytes, bytes] | None = None
        self._jumps = 0
        self._last: dict[bytes, Position] = {}

    def leave(self, how: str) -> None:
        self.away = how
        if how == "stopped":
            self.server.kill()
        else:
            self.server.freeze()
            required_log()._client._timeout = FROZEN

    def come_back(self) -> None:
        if self.away == "stopped":
            self.server.start()
            self.eyes.redis.connection_pool.disconnect()
        elif self.away:
            self.server.thaw()
            required_log()._client._timeout = get_engine().settings.log_timeout
        self.away = ""

    def remember(self) -> None:
        keys = list(self.eyes.redis.scan_iter(match=f"{self.eyes.prefix}*", count=1_000))
        dumps = ((key, self.eyes.redis.dump(key)) for key in keys)
        self.remembered = {key: dump for key, dump in dumps if dump is not None}

    def set_back(self) -> None:
        """As a failover to a replica that is behind, or an older file."""
        self.empty()
        for key, dump in (self.remembered or {}).items():
            self.eyes.redis.restore(key, 0, dump)
            self._keep_ids(key)

    def empty(self) -> None:
        for key in self.eyes.redis.scan_iter(match=f"{self.eyes.prefix}*", count=1_000):
            self._see_ids(key)
            self.eyes.redis.unlink(key)

    def cut(self, key: str, count: int) -> None:
        """One log loses its newest entries, and their ids: as a file whose tail was not written."""
        entries = self.eyes.redis.xrange(key)
        self._see_ids(key.encode())
        self.eyes.redis.unlink(key)
        for identity, fields in entries[: max(0, len(entries) - count)]:
            self.eyes.redis.xadd(key, fields, id=identity)
        self._keep_ids(key.encode())

    def _see_ids(self, key: bytes) -> None:
        if self.eyes.redis.type(key) == b"stream":
            last = Position.parse(self.eyes.redis.xinfo_stream(key)["last-generated-id"].decode())
            self._last[key] = max(last, self._last.get(key, last))

    def _keep_ids(self, key: bytes) -> None:
        """Have no id given a second time, as a clock that was ahead would: no position tells two such entries apart."""
        self._see_ids(key)  # what comes back may be later than all that was seen
        last = self._last.get(key, Position(0, 0))
        if last.ms >= time.time() * 1000 and self.eyes.redis.exists(key):
            self.eyes.redis.execute_command("XSETID", key, str(last))

    def jump(self, key: str) -> None:
        """An entry by a clock that is hours ahead; what follows a loss of it comes before it, by the ids."""
        self._jumps += 1
        identity = f"{int(time.time() * 1000) + self._jumps * _AHEAD}-0"
        fields = {"op": "", "type": "user_message", "data": b'{"content": "of the future"}'}
        self.eyes.redis.xadd(key, fields, id=identity, nomkstream=True)


class FaultyPlace(Place):
    """Where Redis fails."""

    def __init__(self, database_url: str, server: PrivateRedis) -> None:
        super().__init__(database_url, server.url)
        self.server = server


class FaultyLawMachine(LawMachine):
    """The law's steps, with faults of Redis between them."""

    place: FaultyPlace

    def make_world(self, eyes: Eyes) -> LawWorld:
        self.mortal = Mortal(self.place.server, eyes)
        return LawWorld(eyes, self.mortal)

    @property
    def is_here(self) -> bool:
        return not self.mortal.away

    def key(self, stream: int) -> str:
        return self.world.eyes.key(self.world.things.stream(stream))

    @precondition(lambda self: self.is_here)
    @rule(how=st.sampled_from(["stopped", "frozen"]))
    def redis_leaves(self, how: str) -> None:
        self.mortal.leave(how)

    @precondition(lambda self: not self.is_here)
    @rule()
    def redis_comes_back(self) -> None:
        self.mortal.come_back()

    @precondition(lambda self: self.is_here)
    @rule()
    def redis_is_remembered(self) -> None:
        self.mortal.remember()

    @precondition(lambda self: self.is_here and self.mortal.remembered is not None)
    @rule()
    def redis_is_set_back(self) -> None:
        self.mortal.set_back()

    @precondition(lambda self: self.is_here)
    @rule()
    def redis_is_emptied(self) -> None:
        self.mortal.empty()

    @precondition(lambda self: self.is_here)
    @rule(stream=STREAMS, count=st.integers(1, 4))
    def a_log_loses_its_end(self, stream: int, count: int) -> None:
        self.mortal.cut(self.key(stream), count)

    @precondition(lambda self: self.is_here)
    @rule(told=MESSAGES, ahead=st.booleans(), count=st.sampled_from([1, 2, 3, ALL]), changes=CHANGES)
    def what_was_seen_is_lost(self, told: Told, ahead: bool, count: int, changes: tuple[Call, ...]) -> None:
        """A row has followed its log, which loses its end or all of it; the row is changed, and follows again."""
        self.run(self.world.tell(told, gone=False))
        if ahead:
            self.mortal.jump(self.key(told.stream))
        self.run(self.world.catch_up(told.stream, 1, ""))
        self.rows_are_folds()
        self.mortal.cut(self.key(told.stream), count)
        for call in changes:
            self.run(self.world.call(replace(call, given=call.given | {"stream": told.stream})))
        self.rows_are_folds()
        self.run(self.world.catch_up(told.stream, 1, ""))

    @precondition(lambda self: self.is_here)
    @rule(stream=STREAMS)
    def the_clock_is_ahead(self, stream: int) -> None:
        self.mortal.jump(self.key(stream))

    def teardown(self) -> None:
        self.mortal.come_back()
        super().teardown()
