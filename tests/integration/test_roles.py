"""The two roles of docs/operations.md: one migrates, the other does all that the application does, and no more."""

import re

import pytest

from tests.support.cases import all_cases
from tests.support.checkout import REPOSITORY
from tests.support.checks import by_name
from tests.support.databases import connected
from tests.support.roles import PASSWORD, url_as
from tests.support.servers import new_name
from tests.support.world import make_world
from veupath_store import Event, Projector, async_session_factory, check_readiness, close_db, init_db
from veupath_store.check import check_deployment
from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError, ConflictError, NotFoundError, SchemaError, UnitOfWorkError
from veupath_store.schema.migrations import migrate, migration_files
from veupath_store.values import Level

pytestmark = pytest.mark.large

PAGE = REPOSITORY / "docs" / "operations.md"


def statements(names):
    """The page's SQL about roles: what makes them, what comes after the first migration, and what takes them back."""
    blocks = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    found = [block for block in blocks if "pathfinder" in block]
    assert len(found) == 3
    owner, application = names
    return [re.sub(r"\bpathfinder\b", application, block.replace("pathfinder_owner", owner)) for block in found]


@pytest.fixture
async def roles(empty_url, server):
    """The page's roles, under names of the test's own: the URLs of the owner and of the application."""
    names = f"{new_name()}_o"[-60:], f"{new_name()}_a"[-60:]
    make, after, take_back = statements(names)
    async with connected(empty_url) as connection:
        await connection.execute(make)
        for name in names:
            await connection.execute(f"ALTER ROLE {name} PASSWORD '{PASSWORD}'")
        owner, application = (url_as(empty_url, name) for name in names)
        await migrate(StoreSettings(database_url=owner))
        await connection.execute(after)
        yield owner, application
        await close_db()
        await connection.execute(take_back)


async def test_the_application_does_all_it_does_and_the_owner_migrates(roles, redis_url, log_prefix):
    owner, application = roles
    settings = StoreSettings(
        database_url=application, migration_database_url=owner, redis_url=redis_url, log_prefix=log_prefix
    )
    report = await check_deployment(settings)
    assert report.complete
    found = {name: one for name, one in by_name(report.findings).items() if not name.startswith("log")}
    assert {one.level for one in found.values()} == {Level.OK}, found
    await init_db(settings=settings)
    called = 0
    for repository, method, case in all_cases():
        world = await make_world(f"{repository.__name__}-{method}")
        try:
            async with async_session_factory() as session:
                made = repository(session)
                # Workers' repositories are everybody's.
                await case.call(made.for_user(world.owner) if hasattr(made, "for_user") else made, world)
            called += 1
        except (ConflictError, NotFoundError, UnitOfWorkError):
            pass  # what the case is about, and not what a missing privilege raises
    assert called > 60
    await Projector().append(world.stream, [Event(type="user_message", data={"content": "hello", "messageId": "m"})])
    await Projector().catch_up(world.stream)
    assert not (await Projector().verify()).suspects
    assert not (await Projector().rebuild()).refused
    assert (await check_readiness()).ready


async def test_the_application_can_change_no_table(roles, empty_url):
    _, application = roles
    with pytest.raises((ConfigurationError, SchemaError)):
        async with connected(empty_url) as connection:
            await connection.execute("DELETE FROM aerich WHERE version = $1", migration_files()[-1])
        await migrate(StoreSettings(database_url=application))
    async with connected(application) as connection:
        for statement in (
            "DROP TABLE users",
            "CREATE TABLE x (id int)",
            "INSERT INTO aerich VALUES (7, 'x', 'x', '{}')",
        ):
            with pytest.raises(Exception, match=r"permission denied|must be owner"):
                await connection.execute(statement)
