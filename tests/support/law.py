"""The law as a machine of Hypothesis: whatever is done, a row is the fold of its log.

One event loop, one database and one Redis for all examples; a new prefix for each.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.support import faults
from tests.support import law_steps as steps
from tests.support.law_checks import Eyes
from tests.support.law_steps import Call
from tests.support.law_world import LawWorld
from tests.support.projections import logged
from tests.support.redis_servers import new_prefix, remove_keys
from veupath_store.session import close_db, init_db

STEP = 30.0
"""Seconds after which a step counts as one without an end."""


async def in_time(work: Awaitable[Any]) -> Any:
    """Do a step, in the same task."""
    async with asyncio.timeout(STEP):
        return await work


class Place:
    """Where the machine works."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self.runner = asyncio.Runner()
        self.runner.run(self._prepare())

    async def _prepare(self) -> None:
        connection = await faults.watcher(self.database_url)
        # Races deadlock now and then, and PostgreSQL looks only after a second.
        database = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"ALTER DATABASE {database} SET deadlock_timeout = '50ms'")
        await connection.close()


class LawMachine(RuleBasedStateMachine):
    """Steps at random, the invariants after each, the law at the end."""

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.prefix = new_prefix()
        self.run(self.open())

    def run(self, work):
        return self.place.runner.run(in_time(work))

    async def open(self) -> None:
        connection = await faults.watcher(self.place.database_url)
        await connection.execute("DELETE FROM users; DELETE FROM deleted_ids")
        await init_db(settings=logged(self.place.database_url, self.place.redis_url, self.prefix))
        self.world = self.make_world(Eyes(connection, self.place.redis_url, self.prefix))
        await self.world.begin()

    def make_world(self, eyes: Eyes) -> LawWorld:
        return LawWorld(eyes)

    @rule(call=steps.CALLS)
    def call(self, call):
        self.run(self.world.call(call))

    @rule(call=steps.CALLS, death=steps.DEATHS)
    def call_and_die(self, call, death):
        self.run(self.world.call(call, death))

    @rule(parts=steps.PARTS, ending=steps.ENDINGS)
    def unit(self, parts, ending):
        self.run(self.world.unit(parts, ending))

    @rule(parts=steps.PARTS)
    def whole_unit(self, parts):
        self.run(self.world.unit(parts, "leave"))

    @rule(told=steps.TELLINGS)
    def tell(self, told):
        self.run(self.world.tell(told, gone=False))

    @rule(stream=steps.STREAMS, workers=st.integers(1, 2), death=steps.SELDOM_DEAD)
    def catch_up(self, stream, workers, death):
        self.run(self.world.catch_up(stream, workers, death))

    @rule(said=steps.SAYINGS, death=steps.DEATHS)
    def say_and_die(self, said, death):
        """A catch-up dies over events of a unit of work, and another follows."""
        self.run(self.world.unit((said,), "leave"))
        self.run(self.world.catch_up(said.stream, 1, death))
        self.run(self.world.catch_up(said.stream, 1, ""))

    @rule(stream=steps.STREAMS, first=steps.FIELDS, then=steps.FIELDS)
    def change_meanwhile(self, stream, first, then):
        """A row is changed, and changed again while it is caught up."""
        self.run(self.world.call(Call("patch", {"stream": stream, "fields": first})))
        self.run(self.world.catch_up(stream, 1, "", Call("patch", {"stream": stream, "fields": then})))

    @rule(told=steps.CLAIMS)
    def claim(self, told):
        """What a log claims and gives up again, over several pages."""
        self.run(self.world.tell(told, gone=False))
        self.run(self.world.catch_up(told.stream, 1, ""))

    @rule(what=st.sampled_from(["drain", "sweep", "verify"]), death=steps.SELDOM_DEAD)
    def work(self, what, death):
        self.run(self.world.work(what, death))

    @rule(stream=steps.STREAMS, meanwhile=steps.several(steps.TELLINGS, 0, 2), death=steps.SELDOM_DEAD)
    def rebuild(self, stream, meanwhile, death):
        self.run(self.world.rebuild(stream, meanwhile, death))

    @rule(several=steps.several(steps.RACERS, 2, 4))
    def race(self, several):
        self.run(self.world.race(several))

    @invariant()
    def rows_are_folds(self):
        self.run(self.world.check())

    def teardown(self) -> None:
        try:
            self.run(self.world.check_end())
        finally:
            self.run(self.close())

    async def close(self) -> None:
        await close_db()
        await self.world.eyes.shut()
        remove_keys(self.place.redis_url, self.prefix)
