"""Operations under concurrency: what many tasks do at once, each time with one winner or none."""

import asyncio
import random
from collections import Counter
from functools import partial

import pytest

from tests.support.jobs import WORKER, another_pool, at_once, expire, leased, new_stream, registered, status_of, stored
from veupath_store import (
    LeaseLostError,
    LeaseRepository,
    OperationActiveError,
    OperationRepository,
    async_session_factory,
)
from veupath_store.models import Operation
from veupath_store.values import Lease, OperationStatus

TASKS = 50
ROUNDS = 5


def losers(results):
    return [result for result in results if isinstance(result, BaseException)]


async def test_of_fifty_chats_started_on_a_conversation_one_wins(user):
    stream = await new_stream(user)
    for turn in range(ROUNDS):
        results = await at_once(
            leased(user, ("chat", "workbench_chat")[number % 2], stream_id=stream.id) for number in range(TASKS)
        )
        won = [result for result in results if isinstance(result, Lease)]
        assert len(won) == 1
        assert {type(error) for error in losers(results)} == {OperationActiveError}
        assert [item.id for item in await OperationRepository().list_active_by_stream(stream.id)] == [
            won[0].operation_id
        ]
        assert await Operation.all().count() == turn + 1
        await LeaseRepository().complete(won[0])


async def test_of_fifty_endings_one_happens_and_the_status_never_changes_afterwards(user):
    for turn in range(ROUNDS):
        lease = await leased(user)
        seen = []

        async def watch(lease, seen):
            while True:
                row = await stored(lease.operation_id)
                seen.append((row.status, row.error, row.completed_at))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch(lease, seen))
        calls = [
            (
                partial(LeaseRepository().complete, lease),
                partial(LeaseRepository().fail, lease, f"error {number}"),
                partial(LeaseRepository().cancel, lease),
                partial(OperationRepository().request_cancel, lease.operation_id),
            )[number % 4]
            for number in range(TASKS)
        ]
        random.Random(turn).shuffle(calls)
        results = await at_once(call() for call in calls)
        await asyncio.sleep(0.05)
        watching.cancel()
        assert sum(result is None for result in results) == 1, results
        assert {type(error) for error in losers(results)} == {LeaseLostError}
        ended = [state for state in seen if state[0] != "active"]
        assert len(set(ended)) == 1
        assert seen[-len(ended) :] == ended
        row = await stored(lease.operation_id)
        assert (row.status, row.error, row.completed_at) == ended[0]


async def test_fifty_workers_take_twenty_operations_once_each(user):
    for _ in range(ROUNDS):
        await Operation.all().delete()
        made = await registered(user, count=14, max_attempts=2)
        for _lost in range(6):
            lost = await leased(user, max_attempts=2)
            await expire(lost)
            made.append(await OperationRepository().get_summary(lost.operation_id))
        taken = await at_once(
            LeaseRepository().claim(f"host:{number}", ["experiment"], lease_seconds=30) for number in range(TASKS)
        )
        assert losers(taken) == []
        got = [lease for lease in taken if lease is not None]
        assert Counter(lease.operation_id for lease in got) == Counter(operation.id for operation in made)
        assert len({lease.token for lease in got}) == len(made)
        for lease in got:
            row = await stored(lease.operation_id)
            assert (row.lease_token, row.worker_id, row.attempts) == (lease.token, lease.worker_id, lease.attempts)


async def test_sweepers_never_touch_a_live_lease_and_take_back_each_dead_one_once(user, database_url):
    dead = [await leased(user, seconds=0.5) for _ in range(30)]
    live = [await leased(user, seconds=2, max_attempts=2) for _ in range(10)]
    swept = []
    stopping = asyncio.Event()

    async def sweep(repository):
        while not stopping.is_set():
            report = await repository().sweep(limit=7)
            swept.extend([*report.failed, *report.requeued, *report.cancelled])
            await asyncio.sleep(0)

    async def beat(lease):
        for _ in range(20):
            await asyncio.sleep(0.15)
            await LeaseRepository().heartbeat(lease)

    async with another_pool(database_url, LeaseRepository, pool_max_size=4) as elsewhere:
        sweeping = [asyncio.create_task(sweep(repository)) for repository in (elsewhere, elsewhere, LeaseRepository)]
        await asyncio.gather(*(beat(lease) for lease in live))
        stopping.set()
        await asyncio.gather(*sweeping)
    assert Counter(swept) == Counter(lease.operation_id for lease in dead)
    for lease in live:
        assert (await stored(lease.operation_id)).lease_token == lease.token
        await LeaseRepository().complete(lease)


async def test_when_a_lease_expires_either_its_worker_or_the_next_records_the_end_never_both(user):
    """The worker completes at the very moment of the expiry, while others sweep and acquire."""
    for _ in range(ROUNDS):
        leases = [await leased(user, seconds=0.3, max_attempts=2) for _ in range(10)]
        taken, stopping = [], asyncio.Event()

        async def finish(lease):
            await asyncio.sleep(random.uniform(0.2, 0.4))
            await LeaseRepository().complete(lease)
            return lease.operation_id

        async def take(stopping=stopping, taken=taken):
            while not stopping.is_set():
                await LeaseRepository().sweep()
                lease = await LeaseRepository().claim("host:2", ["experiment"], lease_seconds=30)
                if lease is not None:
                    taken.append(lease)
                await asyncio.sleep(0)

        taking = [asyncio.create_task(take()) for _ in range(3)]
        results = await at_once(finish(lease) for lease in leases)
        await asyncio.sleep(0.15)
        stopping.set()
        await asyncio.gather(*taking)
        assert {type(error) for error in losers(results)} <= {LeaseLostError}
        completed = [result for result in results if not isinstance(result, BaseException)]
        assert Counter([*completed, *(lease.operation_id for lease in taken)]) == Counter(
            lease.operation_id for lease in leases
        )
        for lease in taken:
            await LeaseRepository().complete(lease)


async def test_a_unit_of_work_that_holds_its_lease_keeps_it_from_everybody_until_it_ends(user):
    lease = await leased(user, seconds=0.4, max_attempts=2)
    async with async_session_factory() as session:
        await LeaseRepository(session).assert_lease(lease)
        # Its end is recorded in time, but its COMMIT comes after the expiry.
        await LeaseRepository(session).complete(lease)
        for _ in range(8):
            await asyncio.sleep(0.07)
            assert len(await LeaseRepository().sweep()) == 0
            assert await LeaseRepository().claim(WORKER, ["experiment"], lease_seconds=30) is None
            await OperationRepository(session).get_status(lease.operation_id)
    assert (await status_of(lease)).status == OperationStatus.COMPLETED
    with pytest.raises(LeaseLostError):
        await LeaseRepository().heartbeat(lease)


async def test_fifty_cancel_requests_against_workers_that_complete_and_release(user):
    for _ in range(ROUNDS):
        leases = [await leased(user, max_attempts=2) for _ in range(10)]

        async def end(lease, number):
            if number % 2:
                return await LeaseRepository().release(lease)
            return await LeaseRepository().complete(lease)

        results = await at_once(
            [
                *(end(lease, number) for number, lease in enumerate(leases)),
                *(OperationRepository().request_cancel(leases[number % 10].operation_id) for number in range(TASKS)),
            ]
        )
        assert losers(results) == []
        for number, lease in enumerate(leases):
            status = (await status_of(lease)).status
            assert status == ("cancelled" if number % 2 else "completed")
        assert await LeaseRepository().claim(WORKER, ["experiment"], lease_seconds=30) is None
