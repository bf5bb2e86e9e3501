"""Documents under concurrent writers: one of several savers wins, and what is deleted stays deleted."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests.support.calls import refusal, waiting_for_a_lock
from tests.support.documents import experiment, gene_set
from tests.support.jobs import at_once
from veupath_store import ExperimentRepository, GeneSetRepository, NotFoundError, async_session_factory
from veupath_store.errors import StaleVersionError

TASKS = 50
ROUNDS = 3


@dataclass(frozen=True)
class Kind:
    """One of the two kinds of document, and a place in it for a number."""

    repository: Any
    arguments: Any
    placed: Any
    number_of: Any

    async def save(self, identity, user, number=0, *, version, session=None):
        return await self.repository(session).save(
            identity, **self.arguments(user, **self.placed(number)), version=version
        )

    async def number(self, identity):
        row = await self.repository().get_by_id(identity)
        return row and self.number_of(row)


EXPERIMENTS = Kind(ExperimentRepository, experiment, lambda number: {"data": {"n": number}}, lambda row: row.data["n"])
GENE_SETS = Kind(GeneSetRepository, gene_set, lambda number: {"step_count": number}, lambda row: row.step_count)


@pytest.fixture(params=[EXPERIMENTS, GENE_SETS], ids=["experiments", "gene_sets"])
def kind(request):
    return request.param


async def test_of_fifty_savers_of_one_version_exactly_one_wins(kind, user):
    for _ in range(ROUNDS):
        identity = uuid4()
        for version in range(3):
            results = await at_once(kind.save(identity, user, number, version=version) for number in range(TASKS))
            [winner] = [number for number, result in enumerate(results) if result == version + 1]
            assert all(isinstance(error, StaleVersionError) for error in results if error != version + 1)
            assert await kind.number(identity) == winner


async def test_fifty_increments_that_read_again_after_a_conflict_all_count(kind, user):
    identity = uuid4()
    await kind.save(identity, user, 0, version=0)

    async def increment():
        while True:
            row = await kind.repository().get_by_id(identity)
            try:
                return await kind.save(identity, user, kind.number_of(row) + 1, version=row.version)
            except StaleVersionError:
                await asyncio.sleep(random.random() / 50)

    versions = await asyncio.gather(*(increment() for _ in range(TASKS)))
    assert sorted(versions) == list(range(2, TASKS + 2))
    assert await kind.number(identity) == TASKS


async def test_a_deleted_document_never_comes_back_whoever_still_saves(kind, user):
    for _ in range(ROUNDS):
        identity = uuid4()
        await kind.save(identity, user, version=0)
        deleted = asyncio.Event()

        async def saver(identity=identity, deleted=deleted):
            version = 1
            for _ in range(10):
                late = deleted.is_set()
                try:
                    version = await kind.save(identity, user, version=version)
                    assert not late, "saved after the delete had returned"
                except StaleVersionError:
                    version += 1
                except NotFoundError:
                    version = random.choice([0, version])

        async def deleter(identity=identity, deleted=deleted):
            await asyncio.sleep(random.random() / 20)
            gone = await kind.repository().for_user(user.id).delete(identity)
            deleted.set()
            return gone

        results = await at_once([deleter(), *(saver() for _ in range(TASKS - 1))])
        assert results == [True, *[None] * (TASKS - 1)]
        assert await kind.number(identity) is None


async def test_first_saves_and_a_delete_at_once_end_without_the_document(kind, user):
    for _ in range(ROUNDS * 3):
        identity = uuid4()
        mine = kind.repository().for_user(user.id)

        async def late_delete(identity=identity, mine=mine):
            await asyncio.sleep(random.random() / 100)
            return await mine.delete(identity)

        results = await at_once([late_delete(), *(kind.save(identity, user, version=0) for _ in range(TASKS - 1))])
        saved = [result for result in results[1:] if result == 1]
        assert len(saved) == int(results[0] is True)
        assert all(isinstance(error, StaleVersionError | NotFoundError) for error in results[1:] if error != 1)
        assert await kind.number(identity) is None
        await refusal(NotFoundError, kind.save(identity, user, version=0))


async def test_a_first_save_that_waited_for_one_that_was_deleted_at_once_is_refused(kind, user):
    """The gap that a table of tombstones leaves: neither the row nor the tombstone is in the late save's snapshot."""
    identity = uuid4()
    async with async_session_factory() as session:
        await kind.save(identity, user, version=0, session=session)
        late = asyncio.create_task(kind.save(identity, user, version=0))
        await waiting_for_a_lock()
        assert await kind.repository(session).delete(identity)
    with pytest.raises(NotFoundError):
        await late
    assert await kind.number(identity) is None


async def test_a_delete_waits_for_the_first_save_that_is_under_way(kind, user):
    identity = uuid4()
    async with async_session_factory() as session:
        await kind.save(identity, user, version=0, session=session)
        delete = asyncio.create_task(kind.repository().for_user(user.id).delete(identity))
        await waiting_for_a_lock()
    assert await delete
    assert await kind.number(identity) is None


async def test_a_delete_that_comes_before_the_first_save_closes_the_id(kind, user, stranger):
    identity = uuid4()
    assert not await kind.repository().for_user(user.id).delete(identity)
    await refusal(NotFoundError, kind.save(identity, user, version=0))
    # It is one user's word about their own documents, no more.
    assert await kind.save(identity, stranger, version=0) == 1


async def test_of_two_users_with_one_id_the_second_finds_nothing_and_changes_nothing(kind, user, stranger):
    for _ in range(ROUNDS):
        identity = uuid4()
        owners = enumerate([user, stranger] * (TASKS // 2))
        results = await at_once(kind.save(identity, owner, number, version=0) for number, owner in owners)
        winner = results.index(1)
        same, other = results[winner % 2 :: 2], results[1 - winner % 2 :: 2]
        assert all(isinstance(error, NotFoundError) for error in other)
        assert sum(result == 1 for result in same) == 1
        assert await kind.number(identity) == winner
        loser = [user, stranger][1 - winner % 2]
        await refusal(NotFoundError, kind.save(identity, loser, 99, version=1))
        assert not await kind.repository().for_user(loser.id).delete(identity)
        assert await kind.number(identity) == winner


async def test_the_kinds_of_documents_do_not_share_their_ids(user):
    identity = uuid4()
    assert await ExperimentRepository().save(identity, **experiment(user)) == 1
    assert await GeneSetRepository().save(identity, **gene_set(user)) == 1
    assert await ExperimentRepository().delete(identity)
    assert await GeneSetRepository().save(identity, **gene_set(user), version=1) == 2
