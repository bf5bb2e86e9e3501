"""What cannot come back as it was is listed: times, documents over a limit, numbers that no client reads, steps."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tests.support.databases import execute, fetch, fetchval, opened
from tests.support.legacy import rows
from tests.support.legacy.databases import legacy
from tests.support.legacy.problems import chain
from veupath_store import ControlSetRepository, ExperimentRepository, GeneSetRepository, StreamRepository
from veupath_store.adoption import ProblemKind, adopt, adopted_id, plan_adoption
from veupath_store.config import StoreSettings
from veupath_store.documents.plans import flatten_plan
from veupath_store.inputs import limits

pytestmark = pytest.mark.own_database


@pytest.fixture
def settings(empty_url):
    return StoreSettings(database_url=empty_url)


async def listed(settings, kind):
    """What the dry run and the adoption list of a kind."""
    plan = await plan_adoption(settings)
    report = await adopt(settings)
    assert plan.problems == report.problems
    return [problem for problem in report.problems if problem.kind is kind], report


@pytest.mark.parametrize("time", ["infinity", "-infinity", "20000-01-01 00:00+00", "0044-03-15 00:00+00 BC"])
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
    of_all = {(table, name) for table, names in columns.items() for name in names}
    await legacy(empty_url, world)
    await execute(empty_url, *(f"UPDATE {table} SET {name} = '{time}'" for table, name in of_all))
    problems, report = await listed(settings, ProblemKind.UNSTORABLE_TIME)
    assert {(one.table, one.field) for one in problems} == of_all
    assert {problem.key for problem in problems} == {owner, chat["stream_id"], operation["operation_id"]}
    for table, names in columns.items():
        [row] = await fetch(empty_url, f"SELECT {', '.join(names)} FROM {table}")
        assert list(row) == [report.adopted_at] * len(names), table


async def test_times_that_a_driver_just_holds_are_kept(settings, empty_url):
    world = rows.World()
    world.user()
    world.user()
    await legacy(empty_url, world)
    for user, time in (("user 1", "9999-12-31 23:59:59.999998+00"), ("user 2", "0001-01-01 00:00+00")):
        await execute(empty_url, f"UPDATE users SET created_at = '{time}' WHERE external_id = '{user}'")
    problems, _ = await listed(settings, ProblemKind.UNSTORABLE_TIME)
    assert problems == []
    kept = await fetch(empty_url, "SELECT created_at FROM users ORDER BY external_id")
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
    await legacy(empty_url, world)
    problems, report = await listed(settings, ProblemKind.OPERATION_ENDED)
    there = {
        row["id"]: row["completed_at"] for row in await fetch(empty_url, "SELECT id, completed_at FROM operations")
    }
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
    await legacy(empty_url, world)
    problems, report = await listed(settings, ProblemKind.OVER_LIMIT)
    kept = "kept; it cannot be saved again: "
    assert {(one.table, one.field, one.key): one.fixed for one in problems} == {
        ("gene_sets", "gene_ids", sets[250_001]["id"]): f"{kept}it has more than 250000 items",
        ("experiments", "data", large["id"]): f"{kept}it is larger than 5000000 bytes as JSON",
        ("control_sets", "provenance_notes", notes["id"]): f"{kept}it has more than 100000 characters",
        ("stream_projections", "plan", deep["stream_id"]): f"{kept}steps are nested more than 200 levels deep",
    }
    assert problems == report.problems
    async with opened(settings):
        assert (await GeneSetRepository().get_by_id(UUID(sets[250_001]["id"]))).gene_ids == genes[250_001]
        for written, letters in ((large, 5_000_000), (escaped, 1_000_000)):
            assert len((await ExperimentRepository().get_by_id(written["id"])).data["notes"]) == letters
        chat = await StreamRepository().get_projection(UUID(deep["stream_id"]))
        assert len(flatten_plan(chat.plan)) == 201


async def test_numbers_come_back_as_what_they_were_or_are_listed(settings, empty_url):
    """A float stays a float; of an integer that no client reads exactly it is said."""
    numbers = {"float": "1e16, -2.5E+3, 1.25e-7, 12e18, 1e300", "integer": "1" * 30, "unreadable": "9" * 400}
    world = rows.World()
    owner = world.user()["id"]
    keys = {kind: world.experiment(user_id=owner, data=f'{{"a": [{them}]}}')["id"] for kind, them in numbers.items()}
    await legacy(empty_url, world)
    _, report = await listed(settings, ProblemKind.INEXACT_NUMBER)
    assert {(one.key, one.kind) for one in report.problems} == {
        (keys["integer"], ProblemKind.INEXACT_NUMBER),
        (keys["unreadable"], ProblemKind.MALFORMED_DOCUMENT),
    }
    async with opened(settings):
        found = {kind: (await ExperimentRepository().get_by_id(key)).data for kind, key in keys.items()}
    assert found == {
        "float": {"a": json.loads(f"[{numbers['float']}]")},
        "integer": {"a": [float("1" * 30)]},
        "unreadable": {},
    }
    assert {type(number) for number in found["float"]["a"]} == {float}


async def test_lists_of_texts_hold_texts_that_are_found(settings, empty_url):
    """An item that is none would fail a list of control sets, and a gene with white space around it is not found."""
    world = rows.World()
    owner = world.user()["id"]
    world.gene_set(user_id=owner, gene_ids=rows.text(["PF3D7_1", "PF3D7_2\r", "\ufeffPF3D7_3", 4, None]))
    world.control_set(user_id=owner, tags='["drug ", 5, ["x"]]', positive_ids='["a, b"]')
    await legacy(empty_url, world)
    problems, _ = await listed(settings, ProblemKind.MALFORMED_DOCUMENT)
    said = "{} that are no texts were left out, and {} lost white space around them"
    assert {(one.field, one.fixed) for one in problems} == {
        ("gene_ids", said.format(2, 2)),
        ("tags", said.format(2, 0)),
    }
    async with opened(settings):
        assert [one.tags for one in (await ControlSetRepository().page_by_site("plasmodb", owner)).items] == [
            ("drug ",)
        ]
        for number in (1, 2, 3):
            assert len((await GeneSetRepository().page_containing(owner, [f"PF3D7_{number}"])).items) == 1


# steps: all that they have is read back after an adoption, from the plan or from beside it

MORE = {
    "filters": [{"name": "matched_transcript_filter", "value": {"values": ["Y"]}}],
    "analyses": [{"analysisName": "go-enrichment"}],
    "wdkStepId": 330_000_001,
    "estimatedSize": 412,
    "resultCount": 411,
    "recordType": "transcript",
    "metadata": {"note": "mine"},
    "extra": {"deep": [1, 2.5, None]},
}
TAXON = {"id": "a", "kind": "search", "searchName": "GenesByTaxon", "parameters": {"organism": "Pf"}, **MORE}
TEXT = {"id": "b", "kind": "search", "searchName": "GenesByText", "estimatedSize": 3}
UNION = {"id": "c", "kind": "combine", "searchName": "boolean", "operator": "UNION", "resultCount": 415}
UNION |= {"primaryInputStepId": "a", "secondaryInputStepId": "b"}
FLAT = [TAXON, TEXT, UNION]
CIRCLE = [UNION | {"primaryInputStepId": "c"}]
TREE = {
    "root": {
        "id": "c",
        "searchName": "boolean",
        "operator": "UNION",
        "primaryInput": {"id": "a", "searchName": "GenesByTaxon", "parameters": {"organism": "Pf"}},
        "secondaryInput": {"id": "b", "searchName": "GenesByText"},
    }
}
OLD = {"recordType": "old", "metadata": {"name": "Old", "tags": [1]}, "extra": 7}
UNBUILDABLE, DIFFER, BUILT = ProblemKind.PLAN_UNBUILDABLE, ProblemKind.STEPS_DIFFER, ProblemKind.PLAN_BUILT


@pytest.fixture
def adopted(settings, empty_url):
    """One conversation after its adoption, and what was listed of it."""

    async def adopted(plan=None, steps=FLAT, root=None):
        world = rows.World()
        given = {"plan": json.dumps(plan or {}), "steps": json.dumps(steps), "root_step_id": root}
        chat = world.chat(world.user()["id"], name="Kinases", record_type="gene", **given)
        await legacy(empty_url, world)
        report = await adopt(settings)
        async with opened(settings):
            found = await StreamRepository().get_projection(UUID(chat["stream_id"]))
        return found, {(problem.kind, problem.field, problem.fixed) for problem in report.problems}

    return adopted


@pytest.mark.large
@pytest.mark.parametrize(
    ("plan", "steps", "root", "listed"),
    [
        (None, FLAT, None, None),
        (None, FLAT, "gone", (UNBUILDABLE, "root_step_id")),
        (None, CIRCLE, "c", (UNBUILDABLE, "plan")),
        (TREE, [*FLAT, {"id": "loose", "searchName": "GenesByGoTerm"}], "c", (DIFFER, "steps")),
        (TREE, [TAXON | {"parameters": {"organism": "Tg"}}, TEXT, UNION], "c", (DIFFER, "steps")),
        (TREE, [TAXON, TEXT, UNION | {"secondaryInputStepId": "loose"}], "c", (DIFFER, "steps")),
        (TREE, [TAXON, TEXT | {"displayName": "Text"}, UNION], "c", (DIFFER, "steps")),
    ],
)
async def test_steps_that_are_not_those_of_a_plan_are_kept_beside_it(adopted, plan, steps, root, listed):
    found, problems = await adopted(plan, steps, root)
    assert list(found.steps) == steps
    assert (found.plan["root"]["id"] == "c") if plan else (found.plan == {})
    assert {one[:2] for one in problems} == ({listed} if listed else set())


@pytest.mark.large
@pytest.mark.parametrize(
    ("plan", "rest", "listed"),
    [
        (None, {"recordType": "gene", "metadata": {"name": "Kinases"}}, "built from the steps"),
        (
            OLD,
            {"recordType": "gene", "metadata": {"name": "Kinases", "tags": [1]}, "extra": 7},
            "built from the steps, in place of its recordType and metadata",
        ),
        (TREE, {}, None),
    ],
    ids=["one that is built", "one that is built in place of another", "one that was there"],
)
async def test_a_plan_has_every_key_of_its_steps(adopted, plan, rest, listed):
    """What a built one replaces is listed."""
    found, problems = await adopted(plan, root="c")
    assert found.plan["root"]["primaryInput"] == {key: value for key, value in TAXON.items() if key != "kind"}
    without_none = [{key: value for key, value in step.items() if value is not None} for step in found.steps]
    assert {step["id"]: step for step in without_none} == {step["id"]: step for step in FLAT}
    assert {key: value for key, value in found.plan.items() if key != "root"} == rest
    assert problems == ({(BUILT, "plan", listed)} if listed else set())


@pytest.mark.large
@pytest.mark.parametrize("root", [None, "a"])
async def test_numbers_beyond_64_bits_keep_their_digits(adopted, empty_url, root):
    await adopted(steps=[TAXON | {"extra": 12345678901234567890123}], root=root)
    kept = await fetchval(empty_url, "SELECT unrooted_steps -> 0 ->> 'extra' FROM stream_projections")
    assert kept == "12345678901234567890123"


@pytest.mark.large
@pytest.mark.parametrize("steps", [{}, "text", 7, [7, None]])
async def test_what_are_no_steps_is_listed(adopted, steps):
    found, problems = await adopted(steps=steps)
    assert list(found.steps) == []
    assert {one[:2] for one in problems} == {(ProblemKind.MALFORMED_DOCUMENT, "steps")}
