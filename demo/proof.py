"""The proof: the store is opened anew, everything acknowledged is read back and compared, and the pool is whole."""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

from demo.ledger import Check, Kind, Ledger, Verdict, compare, compare_undone
from demo.place import Place
from veupath_store import (
    ControlSetRepository,
    ProjectionWorker,
    Projector,
    StreamRepository,
    UnavailableError,
    UserRepository,
    async_session_factory,
    close_db,
    init_db,
)
from veupath_store.values import VerifyOutcome


async def compare_all(ledger: Ledger) -> list[Verdict]:
    """Read everything in the ledger back through the repositories, and compare."""
    verdicts = [compare(kind, ledger.rows(kind), await _read(kind, ledger.rows(kind))) for kind in Kind]
    verdicts.append(compare_undone(ledger.undone, await _read(Kind.CONVERSATION, ledger.undone)))
    return verdicts


async def reopen(place: Place) -> None:
    """Close the store and open it with a new pool, so that nothing is read from what the day left in memory."""
    await close_db()
    await init_db(settings=place.settings)


async def check_server(place: Place, direct: Any, owners: list[UUID], expected: int) -> list[Check]:  # noqa: ANN401
    """The checks that need the server's view.

    Args:
        place: The database.
        direct: A connection beside the pool.
        owners: The day's users.
        expected: How many conversations they have, if each was saved once and none twice.
    """
    checks = [
        await _pool(place),
        await _idle(place, direct),
        await _names(direct),
        await _rows(direct, owners, expected),
    ]
    if place.settings.redis_url is not None:
        checks.append(await _logs(owners))
    return checks


async def _read(kind: Kind, identities: Iterable[UUID]) -> dict[UUID, object]:
    found: dict[UUID, object] = {}
    for identity in identities:
        row: object | None
        if kind is Kind.USER:
            row = await UserRepository().get_by_id(identity)
        elif kind is Kind.CONTROL_SET:
            row = await ControlSetRepository().get_by_id(identity)
        else:
            row = await StreamRepository().get_projection(identity)
        if row is not None:
            found[identity] = row
    return found


async def _pool(place: Place) -> Check:
    size, taken = place.settings.pool_max_size, 0
    try:
        async with AsyncExitStack() as stack:
            for _ in range(size):
                session = await stack.enter_async_context(async_session_factory())
                await session.client.execute_rows("SELECT 1")
                taken += 1
    except UnavailableError:
        pass
    return Check("the pool is whole", taken == size, f"{taken} of {size} connections taken at once")


async def _idle(place: Place, direct: Any) -> Check:  # noqa: ANN401
    count = await direct.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1 "
        "AND state LIKE 'idle in transaction%'",
        place.application_name,
    )
    return Check("no backend is idle in a transaction", count == 0, f"{count} of them")


async def _names(direct: Any) -> Check:  # noqa: ANN401
    twice = await direct.fetchval("SELECT count(*) - count(DISTINCT (user_id, site_id, name)) FROM stream_projections")
    return Check("names are unique within user and site", twice == 0, f"{twice} used twice")


async def _logs(owners: list[UUID]) -> Check:
    while await ProjectionWorker().drain():
        pass
    reports = [await Projector().verify(user_id=owner) for owner in owners]
    equal = sum(report.counts.get(VerifyOutcome.EQUAL, 0) for report in reports)
    suspects = sum(len(report.suspects) for report in reports)
    return Check("every row is what its log says", suspects == 0, f"{equal} equal, {suspects} not")


async def _rows(direct: Any, owners: list[UUID], expected: int) -> Check:  # noqa: ANN401
    count = await direct.fetchval("SELECT count(*) FROM stream_projections WHERE user_id = ANY ($1)", owners)
    return Check("nothing was saved twice", count == expected, f"{count} conversations, expected {expected}")
