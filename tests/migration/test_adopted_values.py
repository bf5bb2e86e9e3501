"""What an adoption makes of each legacy row, by a reader that knows the rules and nothing of the code."""

import pytest

from tests.support.databases import connected
from tests.support.legacy.comparison import mistakes, read_legacy
from tests.support.legacy.databases import legacy_database, problem_database
from tests.support.legacy.real import real_world
from tests.support.legacy.schema import KINDS
from veupath_store.adoption import ProblemKind, adopt, plan_adoption
from veupath_store.config import StoreSettings


async def adopted(url):
    """The report of an adoption in which the reader finds no mistake."""
    settings = StoreSettings(database_url=url)
    async with connected(url) as connection:
        legacy = await read_legacy(connection)
        plan = await plan_adoption(settings)
        report = await adopt(settings)
        found = await mistakes(connection, legacy, report)
    assert not found, "\n".join([f"{len(found)} mistakes", *found[:40]])
    assert listed(plan) == listed(report), "a dry run lists the same"
    return report


def listed(plan):
    return sorted((problem.kind, problem.table, problem.key, problem.field or "") for problem in plan.problems)


@pytest.mark.parametrize(("variant", "revision"), KINDS)
async def test_real_strategies_are_taken_over_and_nothing_is_listed(server, strategies, variant, revision):
    async with legacy_database(server, variant, revision, real_world(strategies).rows) as url:
        report = await adopted(url)
    assert (report.variant, report.revision, report.problems) == (variant, revision, [])


@pytest.mark.parametrize(("variant", "revision"), KINDS)
async def test_every_problem_is_mended_and_listed(server, variant, revision):
    async with problem_database(server, variant, revision) as url:
        report = await adopted(url)
    kinds = {problem.kind for problem in report.problems}
    later = {"6986444486d4": {ProblemKind.DUPLICATE_EXPERIMENT, ProblemKind.BROKEN_LINK}}
    later["87d93def2ccd"] = {ProblemKind.BROKEN_LINK}
    assert kinds == set(ProblemKind) - later.get(revision, set())
