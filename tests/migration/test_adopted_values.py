"""What an adoption makes of each legacy row, by a reader that knows the rules and nothing of the code."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.support.apart import run_apart
from tests.support.databases import catalog_of, connected, fetch, opened
from tests.support.legacy.comparison import mistakes, read_adopted, read_legacy
from tests.support.legacy.databases import legacy_database, problem_database
from tests.support.legacy.drawn import worlds
from tests.support.legacy.expected import Expected
from tests.support.legacy.problems import BEFORE
from tests.support.legacy.real import real_world
from tests.support.legacy.schema import KINDS, NEWEST, REVISIONS, TABLES, VARIANTS
from tests.support.public import repositories
from veupath_store.adoption import ProblemKind, adopt, plan_adoption, undo_adoption
from veupath_store.config import StoreSettings
from veupath_store.repositories import StreamRepository
from veupath_store.schema.catalog import differences
from veupath_store.schema.migrations import migrate

# Problems of logs, of which there are none here: tests/integration/test_adoption_logs.py.
OF_LOGS = {ProblemKind.LOG_AHEAD, ProblemKind.LOG_BEHIND, ProblemKind.UNLIKE_LOG}
CREATE_ALL, ALEMBIC = ("create_all", REVISIONS[0]), ("alembic", NEWEST)
RECORDS = "SELECT id, version, app, content FROM aerich ORDER BY id"
REPOSITORIES = {it.model._meta.db_table: it for it in repositories() if hasattr(it, "get_by_id")}
# Without shrinking: each example makes and adopts a database.
DRAWN = examples(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


async def adopted(url):
    """The report of an adoption in which the reader finds no mistake."""
    settings = StoreSettings(database_url=url)
    async with connected(url) as connection:
        legacy = await read_legacy(connection)
        plan = await plan_adoption(settings)
        assert await read_legacy(connection) == legacy, "a dry run changes nothing"
        report = await adopt(settings)
        found = await mistakes(connection, legacy, report)
    assert not found, "\n".join([f"{len(found)} mistakes", *found[:40]])
    assert (plan.problems, plan.rows) == (report.problems, report.rows), "a dry run lists the same"
    return report


def kinds(*quick):
    """All kinds of legacy databases; the others than these are left to the large tests."""
    return [pytest.param(*kind, marks=() if kind in quick else pytest.mark.large) for kind in KINDS]


@pytest.mark.parametrize(("variant", "revision"), kinds(ALEMBIC))
async def test_real_strategies_are_taken_over_and_nothing_is_listed(server, strategies, variant, revision):
    async with legacy_database(server, real_world(strategies), variant, revision) as url:
        report = await adopted(url)
    assert (report.variant, report.revision, report.problems) == (variant, revision, [])


@pytest.mark.parametrize(("variant", "revision"), kinds(ALEMBIC, CREATE_ALL))
async def test_every_problem_is_mended_and_listed_there_and_back(server, template, variant, revision):
    """The database is one of the store like any other, and the way back brings every row."""
    async with problem_database(server, variant, revision) as url, connected(url) as connection:
        before = await catalog_of(url), await read_legacy(connection)
        report, settings = await adopted(url), StoreSettings(database_url=url)
        kinds = {problem.kind for problem in report.problems}
        later = {"6986444486d4": {ProblemKind.DUPLICATE_EXPERIMENT, ProblemKind.BROKEN_LINK}}
        later["87d93def2ccd"] = {ProblemKind.BROKEN_LINK}
        assert (report.variant, report.revision) == (variant, revision)
        assert kinds == set(ProblemKind) - OF_LOGS - later.get(revision, set())

        migrated = server.url(template)
        assert not differences(await catalog_of(url), await catalog_of(migrated))
        assert await fetch(url, RECORDS) == await fetch(migrated, RECORDS)
        assert await migrate(settings) == []
        again = await adopt(settings)
        assert (again.repeated, again.problems, again.written) == (True, report.problems, report.written)
        await assert_every_repository_reads_all(settings, connection)

        undone = await undo_adoption(settings)
        assert (undone.rows, undone.discarded) == (report.rows, {})
        assert (await catalog_of(url), await read_legacy(connection)) == before
        assert not await connection.fetch("SELECT FROM pg_namespace WHERE nspname = 'veupath_legacy'")


async def assert_every_repository_reads_all(settings, connection):
    assert REPOSITORIES.keys() == {*TABLES} - {"stream_projections"}
    ids = {table: [row["id"] for row in await connection.fetch(f"SELECT id FROM {table}")] for table in REPOSITORIES}
    async with opened(settings):
        for table, repository in REPOSITORIES.items():
            for new in ids[table]:
                assert (await repository().get_by_id(new)).id == new
        listed, streams = set(), StreamRepository()
        for user_id in ids["users"]:
            listed |= {item.stream_id for item in await streams.list_projections(user_id, limit=1_000)}
            listed |= {item.stream_id for item in await streams.list_dismissed_projections(user_id, limit=1_000)}
        assert listed == set(ids["streams"])
        for stream_id in ids["streams"]:
            assert (await streams.get_projection(stream_id)).stream_id == stream_id


def drawn_adoption(server, draw):
    """One drawn database, adopted and compared."""
    variant, revision = draw(st.sampled_from(VARIANTS)), draw(st.sampled_from(REVISIONS))
    world = draw(worlds(nullable=variant == "alembic"))

    async def run():
        async with legacy_database(server, world, variant, revision, BEFORE) as url:
            await adopted(url)

    run_apart(run())


@pytest.mark.parametrize("count", [1, pytest.param(25, marks=pytest.mark.large)])
def test_drawn_databases_are_what_the_rules_make_of_them(server, count):
    @examples(DRAWN, max_examples=count)
    @given(st.data())
    def every(data):
        drawn_adoption(server, data.draw)

    every()


@pytest.mark.large
async def test_the_reader_sees_a_change_in_any_column(server):
    """A comparison that finds nothing is only worth what it would find."""
    async with problem_database(server, "alembic") as url, connected(url) as connection:
        legacy = await read_legacy(connection)
        report = await adopt(StoreSettings(database_url=url))
        adopted = await read_adopted(connection)
        assert await mistakes(connection, legacy, report) == []
        for table, rows in adopted.items():
            new, row = next(iter(rows.items()))
            changed = {table: rows | {new: dict.fromkeys(row, "another value")}}
            found = " ".join(await mistakes(connection, legacy, report, adopted | changed))
            unseen = {column for column in row if f" {column} is 'another value'" not in found}
            # Names of conversations are only looked at when all else is right.
            assert unseen == ({"name"} if table == "stream_projections" else set()), table
            renamed = {table: rows | {new: row | {"name": "another value"}}}
            assert table != "stream_projections" or await mistakes(connection, legacy, report, adopted | renamed)
        expected = Expected(legacy, report.adopted_at).deviations
        listed_once = [problem for problem in report.problems if problem.kind is not ProblemKind.DUPLICATE_NAME]
        assert expected.mistakes(listed_once) == []
        for one in (one for one in expected if one.needed):
            assert expected.mistakes(problem for problem in listed_once if not one.matches(problem))
        assert expected.mistakes([*listed_once, replace(listed_once[0], key="another row")])
