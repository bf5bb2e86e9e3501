"""What cannot come back as it was is listed: times, documents over a limit, numbers that no client reads."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tests.support.databases import connected
from tests.support.legacy import rows
from tests.support.legacy.databases import make_legacy
from tests.support.legacy.problems import chain
from veupath_store import (
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    StreamRepository,
    close_db,
    init_db,
)
from veupath_store.adoption import ProblemKind, adopt, adopted_id, plan_adoption
from veupath_store.config import StoreSettings
from veupath_store.documents.plans import flatten_plan
from veupath_store.inputs import limits

pytestmark = pytest.mark.own_database

TIMES = ("infinity", "-infinity", "20000-01-01 00:00+00", "0044-03-15 00:00+00 BC")
LAST = "9999-12-31 23:59:59.999998+00"


@pytest.fixture
def settings(empty_url):
    return StoreSettings(database_url=empty_url)


async def listed(settings, kind):
    """What the dry run and the adoption list of a kind."""
    plan = await plan_adoption(settings)
    report = await adopt(settings)
    assert plan.problems == report.problems
    return [problem for problem in report.problems if problem.kind is kind], report


@pytest.mark.parametrize("time", TIMES)
async def test_times_that_no_driver_holds_become_that_of_the_adoption(settings, empty_url, time):
    world = rows.World()
    owner = world.user()["id"]
    chat = world.chat(owner)
    operation = world.operation(chat["stream_id"])
    columns = {
        "users": ["created_at"],
        "streams": ["created_at"],
        "stream_projections": ["updated_at", "dismissed_at"],
        "operations": ["created_at", "completed_at"],
    }
    async with connected(empty_url) as connection:
        await make_legacy(connection, "create_all", rows=world.rows)
        for table, names in columns.items():
            changes = ", ".join(f"{name} = '{time}'" for name in names)
            await connection.execute(f"UPDATE {table} SET {changes}")
    problems, report = await listed(settings, ProblemKind.UNSTORABLE_TIME)
    assert {(one.table, one.field) for one in problems} == {(t, name) for t, names in columns.items() for name in names}
    assert {problem.key for problem in problems} == {owner, chat["stream_id"], operation["operation_id"]}
    async with connected(empty_url) as connection:
        for table, names in columns.items():
            row = await connection.fetchrow(f"SELECT {', '.join(names)} FROM {table}")
            assert list(row) == [report.adopted_at] * len(names), table


async def test_times_that_a_driver_just_holds_are_kept(settings, empty_url):
    world = rows.World()
    world.user()
    world.user()
    async with connected(empty_url) as connection:
        await make_legacy(connection, "create_all", rows=world.rows)
        await connection.execute(f"UPDATE users SET created_at = '{LAST}' WHERE external_id = 'user 1'")
        await connection.execute("UPDATE users SET created_at = '0001-01-01 00:00+00' WHERE external_id = 'user 2'")
        problems, _ = await listed(settings, ProblemKind.UNSTORABLE_TIME)
        assert problems == []
        kept = await connection.fetch("SELECT created_at FROM users ORDER BY external_id")
    assert [row["created_at"] for row in kept] == [
        datetime(9999, 12, 31, 23, 59, 59, 999_998, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
    ]


async def test_a_completion_is_made_up_only_where_there_is_none(settings, empty_url):
    world = rows.World()
    stream = world.chat(world.user()["id"])["stream_id"]
    keys = {
        (status, at): world.operation(stream, status=status, completed_at=at)["operation_id"]
        for status in ("active", "completed")
        for at in (None, rows.START)
    }
    async with connected(empty_url) as connection:
        await make_legacy(connection, "create_all", rows=world.rows)
        problems, report = await listed(settings, ProblemKind.OPERATION_ENDED)
        found = await connection.fetch("SELECT id, completed_at FROM operations")
    there = {row["id"]: row["completed_at"] for row in found}
    assert {key: there[adopted_id(text)] for key, text in keys.items()} == {
        ("active", None): report.adopted_at,
        ("active", rows.START): rows.START,
        ("completed", None): None,
        ("completed", rows.START): rows.START,
    }
    assert {problem.key for problem in problems} == {keys["active", None], keys["active", rows.START]}
    assert all("completed at the time of the adoption where completed_at was null" in it.fixed for it in problems)


@pytest.mark.large
async def test_documents_over_a_limit_are_kept_and_listed(settings, empty_url, monkeypatch):
    monkeypatch.setattr(limits, "DOCUMENT_BYTES", 5_000_000)
    world = rows.World()
    owner = world.user()["id"]
    genes = {count: [f"PF3D7_{number:07}" for number in range(count)] for count in (250_000, 250_001)}
    sets = {count: world.gene_set(user_id=owner, gene_ids=rows.text(ids)) for count, ids in genes.items()}
    large = world.experiment(user_id=owner, data=rows.text({"notes": "x" * 5_000_000}))
    escaped = world.experiment(user_id=owner, data=rows.text({"notes": "é" * 1_000_000}))
    notes = world.control_set(user_id=owner, provenance_notes="n" * 100_001)
    world.control_set(user_id=owner, provenance_notes="n" * 100_000)
    deep = world.chat(owner, plan=f'{{"root": {chain(201)}}}')
    async with connected(empty_url) as connection:
        await make_legacy(connection, "create_all", rows=world.rows)
    problems, report = await listed(settings, ProblemKind.OVER_LIMIT)
    kept = "kept; it cannot be saved again: "
    assert {(one.table, one.field, one.key): one.fixed for one in problems} == {
        ("gene_sets", "gene_ids", sets[250_001]["id"]): f"{kept}it has more than 250000 items",
        ("experiments", "data", large["id"]): f"{kept}it is larger than 5000000 bytes as JSON",
        ("control_sets", "provenance_notes", notes["id"]): f"{kept}it has more than 100000 characters",
        ("stream_projections", "plan", deep["stream_id"]): f"{kept}steps are nested more than 200 levels deep",
    }
    assert problems == report.problems
    await init_db(settings=settings)
    try:
        found = await GeneSetRepository().get_by_id(UUID(sets[250_001]["id"]))
        assert found.gene_ids == genes[250_001]
        assert len((await ExperimentRepository().get_by_id(large["id"])).data["notes"]) == 5_000_000
        assert len((await ExperimentRepository().get_by_id(escaped["id"])).data["notes"]) == 1_000_000
        chat = await StreamRepository().get_projection(UUID(deep["stream_id"]))
        assert len(flatten_plan(chat.plan)) == 201
    finally:
        await close_db()


async def test_numbers_come_back_as_what_they_were_or_are_listed(settings, empty_url):
    """A float stays a float; of an integer that no client reads exactly it is said."""
    numbers = {"float": "1e16, -2.5E+3, 1.25e-7, 12e18, 1e300", "integer": "1" * 30, "unreadable": "9" * 400}
    world = rows.World()
    owner = world.user()["id"]
    keys = {kind: world.experiment(user_id=owner, data=f'{{"a": [{them}]}}')["id"] for kind, them in numbers.items()}
    async with connected(empty_url) as connection:
        await make_legacy(connection, "create_all", rows=world.rows)
    _, report = await listed(settings, ProblemKind.INEXACT_NUMBER)
    assert {(one.key, one.kind) for one in report.problems} == {
        (keys["integer"], ProblemKind.INEXACT_NUMBER),
        (keys["unreadable"], ProblemKind.MALFORMED_DOCUMENT),
    }
    await init_db(settings=settings)
    try:
        found = {kind: (await ExperimentRepository().get_by_id(key)).data for kind, key in keys.items()}
    finally:
        await close_db()
    floats = json.loads(f"[{numbers['float']}]")
    assert found["float"]["a"] == floats
    assert {type(number) for number in found["float"]["a"]} == {float}
    assert found["integer"]["a"] == [float("1" * 30)]
    assert found["unreadable"] == {}


async def test_lists_of_texts_hold_texts_that_are_found(settings, empty_url):
    """An item that is none would fail a list of control sets, and a gene with white space around it is not found."""
    world = rows.World()
    owner = world.user()["id"]
    world.gene_set(user_id=owner, gene_ids=rows.text(["PF3D7_1", "PF3D7_2\r", "\ufeffPF3D7_3", 4, None]))
    world.control_set(user_id=owner, tags='["drug ", 5, ["x"]]', positive_ids='["a, b"]')
    async with connected(empty_url) as connection:
        await make_legacy(connection, "create_all", rows=world.rows)
    problems, _ = await listed(settings, ProblemKind.MALFORMED_DOCUMENT)
    said = "{} that are no texts were left out, and {} lost white space around them"
    assert {(one.field, one.fixed) for one in problems} == {
        ("gene_ids", said.format(2, 2)),
        ("tags", said.format(2, 0)),
    }
    await init_db(settings=settings)
    try:
        assert [one.tags for one in (await ControlSetRepository().page_by_site("plasmodb", owner)).items] == [
            ("drug ",)
        ]
        assert [
            len((await GeneSetRepository().page_containing(owner, [f"PF3D7_{number}"])).items) for number in (1, 2, 3)
        ] == [1, 1, 1]
    finally:
        await close_db()
