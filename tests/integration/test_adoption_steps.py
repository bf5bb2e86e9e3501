"""Steps of the old tables: all that they have is read back after an adoption, from the plan or from beside it."""

import json
from uuid import UUID

import pytest

from tests.support.databases import connected
from tests.support.legacy import rows
from tests.support.legacy.databases import make_legacy
from veupath_store.adoption import ProblemKind, adopt
from veupath_store.config import StoreSettings
from veupath_store.repositories import StreamRepository
from veupath_store.session import close_db, init_db

pytestmark = [pytest.mark.own_database, pytest.mark.large]

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
TREE = {
    "root": {
        "id": "c",
        "searchName": "boolean",
        "operator": "UNION",
        "primaryInput": {"id": "a", "searchName": "GenesByTaxon", "parameters": {"organism": "Pf"}},
        "secondaryInput": {"id": "b", "searchName": "GenesByText"},
    }
}


@pytest.fixture
def settings(empty_url):
    return StoreSettings(database_url=empty_url)


async def adopted(url, settings, *, plan=None, steps=FLAT, root=None):
    """One conversation after its adoption, and what was listed of it."""
    world = rows.World()
    owner = world.user()["id"]
    given = {"plan": json.dumps(plan or {}), "steps": json.dumps(steps), "root_step_id": root}
    stream = UUID(world.chat(owner, name="Kinases", record_type="gene", **given)["stream_id"])
    async with connected(url) as connection:
        await make_legacy(connection, "create_all", rows=world.rows)
    report = await adopt(settings)
    await init_db(settings=settings)
    try:
        opened = await StreamRepository().get_projection(stream)
    finally:
        await close_db()
    return opened, {(problem.kind, problem.field, problem.fixed) for problem in report.problems}


def read(opened):
    """The steps by their ids, without inputs that are none."""
    return {step["id"]: {key: value for key, value in step.items() if value is not None} for step in opened.steps}


BY_ID = {step["id"]: step for step in FLAT}


async def test_steps_without_a_root_are_kept(settings, empty_url):
    opened, listed = await adopted(empty_url, settings)
    assert (opened.plan, list(opened.steps), listed) == ({}, FLAT, set())


async def test_steps_whose_root_is_none_of_them_are_kept_and_that_is_listed(settings, empty_url):
    opened, listed = await adopted(empty_url, settings, root="gone")
    assert (opened.plan, list(opened.steps)) == ({}, FLAT)
    assert {one[:2] for one in listed} == {(ProblemKind.PLAN_UNBUILDABLE, "root_step_id")}


async def test_steps_that_make_no_plan_are_kept_and_that_is_listed(settings, empty_url):
    circle = [UNION | {"primaryInputStepId": "c"}]
    opened, listed = await adopted(empty_url, settings, steps=circle, root="c")
    assert (opened.plan, list(opened.steps)) == ({}, circle)
    assert {one[:2] for one in listed} == {(ProblemKind.PLAN_UNBUILDABLE, "plan")}


async def test_a_plan_that_is_built_has_every_key_of_its_steps(settings, empty_url):
    opened, listed = await adopted(empty_url, settings, root="c")
    assert opened.plan["root"]["primaryInput"] == {key: value for key, value in TAXON.items() if key != "kind"}
    assert read(opened) == BY_ID
    assert listed == {(ProblemKind.PLAN_BUILT, "plan", "built from the steps")}


async def test_what_a_built_plan_replaces_is_listed_and_all_else_of_the_old_one_is_kept(settings, empty_url):
    old = {"recordType": "old", "metadata": {"name": "Old", "tags": [1]}, "extra": 7}
    opened, listed = await adopted(empty_url, settings, plan=old, root="c")
    rest = {key: value for key, value in opened.plan.items() if key != "root"}
    assert rest == {"recordType": "gene", "metadata": {"name": "Kinases", "tags": [1]}, "extra": 7}
    assert listed == {(ProblemKind.PLAN_BUILT, "plan", "built from the steps, in place of its recordType and metadata")}


async def test_what_steps_have_and_the_plan_has_not_is_put_on_its_nodes(settings, empty_url):
    opened, listed = await adopted(empty_url, settings, plan=TREE, root="c")
    assert opened.plan["root"]["primaryInput"] == {key: value for key, value in TAXON.items() if key != "kind"}
    assert (read(opened), listed) == (BY_ID, set())


@pytest.mark.parametrize(
    "steps",
    [
        [*FLAT, {"id": "loose", "searchName": "GenesByGoTerm"}],
        [TAXON | {"parameters": {"organism": "Tg"}}, TEXT, UNION],
        [TAXON, TEXT, UNION | {"secondaryInputStepId": "loose"}],
        [TAXON, TEXT | {"displayName": "Text"}, UNION],
    ],
)
async def test_steps_that_are_not_those_of_the_plan_are_kept_beside_it(settings, empty_url, steps):
    opened, listed = await adopted(empty_url, settings, plan=TREE, steps=steps, root="c")
    assert list(opened.steps) == steps
    assert opened.plan["root"]["id"] == "c"
    assert {one[:2] for one in listed} == {(ProblemKind.STEPS_DIFFER, "steps")}


@pytest.mark.parametrize("root", [None, "a"])
async def test_numbers_beyond_64_bits_keep_their_digits(settings, empty_url, root):
    steps = [TAXON | {"extra": 12345678901234567890123}]
    await adopted(empty_url, settings, steps=steps, root=root)
    async with connected(empty_url) as connection:
        kept = await connection.fetchval("SELECT unrooted_steps -> 0 ->> 'extra' FROM stream_projections")
    assert kept == "12345678901234567890123"


@pytest.mark.parametrize("steps", [{}, "text", 7, [7, None]])
async def test_what_are_no_steps_is_listed(settings, empty_url, steps):
    opened, listed = await adopted(empty_url, settings, steps=steps, root=None)
    assert list(opened.steps) == []
    assert {one[:2] for one in listed} == {(ProblemKind.MALFORMED_DOCUMENT, "steps")}
