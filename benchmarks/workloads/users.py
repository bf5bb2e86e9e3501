"""The user of a request."""

from typing import Final
from uuid import uuid4

import asyncpg

from benchmarks import replaced as old
from benchmarks.workload import Sessions, Workload
from benchmarks.world import HEAVY, World, identity
from veupath_store import UserRepository
from veupath_store.models import User

_READ: Final = "SELECT id, external_id, created_at FROM users WHERE id = $1"


class KnownUser(Workload):
    """On every authenticated request: the user, who is there already."""

    name = "known user on a request"
    shown = ("id", "external_id", "created_at")

    def __init__(self, world: World, number: int = HEAVY) -> None:
        super().__init__(world)
        self.user_id = identity("user", number)

    async def raw(self, pool: asyncpg.Pool) -> object:
        row = await pool.fetchrow(_READ, self.user_id)
        if row is None:
            row = await pool.fetchrow(
                "INSERT INTO users (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET id = EXCLUDED.id "
                "RETURNING id, external_id, created_at",
                self.user_id,
            )
        return dict(row)

    async def tortoise(self) -> object:
        return await User.get_or_none(id=self.user_id) or await User.create(id=self.user_id)

    async def alchemy(self, sessions: Sessions) -> object:
        async with sessions() as session:
            user = await session.get(old.User, self.user_id)
            if user is None:
                user = old.User(id=self.user_id)
                session.add(user)
            await session.commit()
            return user

    async def ours(self) -> object:
        return await UserRepository().get_or_create(self.user_id)


class KnownLogin(Workload):
    """At a login: the user of an e-mail address, who is there already."""

    name = "known login"
    shown = ("id", "external_id", "created_at")

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.login = f"user{HEAVY}@example.org"

    async def raw(self, pool: asyncpg.Pool) -> object:
        row = await pool.fetchrow("SELECT id, external_id, created_at FROM users WHERE external_id = $1", self.login)
        if row is None:
            row = await pool.fetchrow(
                "INSERT INTO users (id, external_id) VALUES ($1, $2) ON CONFLICT (external_id) DO UPDATE "
                "SET external_id = EXCLUDED.external_id RETURNING id, external_id, created_at",
                uuid4(),
                self.login,
            )
        return dict(row)

    async def tortoise(self) -> object:
        user, _ = await User.get_or_create(external_id=self.login)
        return user

    async def alchemy(self, sessions: Sessions) -> object:
        async with sessions() as session:
            user = await session.scalar(old.sa.select(old.User).where(old.User.external_id == self.login))
            if user is None:
                user = old.User(id=uuid4(), external_id=self.login)
                session.add(user)
            await session.commit()
            return user

    async def ours(self) -> object:
        return await UserRepository().get_or_create_by_external_id(self.login)
