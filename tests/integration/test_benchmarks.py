"""The comparison of `make bench`, on very little data: that it still runs, and that nobody is fast by being wrong."""

import io

import pytest
from rich.console import Console

from benchmarks import adoption, pools, replaced
from benchmarks.__main__ import run
from benchmarks.log_cost import LogCost
from benchmarks.report import Results, as_json, as_markdown, show
from benchmarks.rounds import Measured, WrongResultError
from benchmarks.workload import Variant
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.chat import ChatTurn
from benchmarks.workloads.conversations import Rename
from benchmarks.workloads.operations import Heartbeat
from benchmarks.workloads.rebuilding import Rebuild
from benchmarks.workloads.sidebar import Sidebar
from benchmarks.world import TINY, World
from veupath_store.config import StoreSettings


@pytest.fixture
def without_sqlalchemy(monkeypatch):
    monkeypatch.setattr(replaced, "INSTALLED", False)


class ForgetsTheLast(Sidebar):
    """One that is fast by returning less."""

    async def raw(self, pool):
        return (await super().raw(pool))[:-1]


class ChangesNothing(Rename):
    """One that is fast by writing nothing."""

    async def tortoise(self):
        return True


async def measured(url, *workloads, log=None, **options):
    settings = StoreSettings(database_url=url, **(log or {}))
    return await run(settings, TINY, workloads, seconds=0, least=2, **options)


async def test_two_workloads_are_measured_and_what_was_left_out_is_shown(database_url, without_sqlalchemy):
    results = await measured(database_url, Sidebar, Heartbeat)
    screen = Console(file=io.StringIO(), width=200)
    show(screen, results)
    sidebar, heartbeat = results.measured
    assert set(sidebar.seconds) == set(heartbeat.seconds) == {Variant.RAW, Variant.TORTOISE, Variant.OURS}
    assert all(
        one.rounds == 2 and one.statements == 1 and one.ratio(Variant.OURS, Variant.RAW) > 0 for one in results.measured
    )
    assert all(seen.throughput > 0 and seen.connections > 0 for seen in results.mixed.values())
    shown = screen.file.getvalue()
    assert "SQLAlchemy was not measured" in shown
    assert "operation: heartbeat, SQLAlchemy: the replaced layer had no leases" in shown
    [entry, _] = as_json(results)["workloads"]
    assert entry["median_us"]["alchemy"] is None
    assert entry["median_us"]["ours"] > 0


@pytest.mark.large
async def test_pools_of_a_size_are_measured(database_url):
    rate, within = await pools._measured(StoreSettings(database_url=database_url), 2, 0.2)
    assert rate > 0
    assert within > 0


@pytest.mark.large
@pytest.mark.parametrize("only_adopt", [False, True])
async def test_an_adoption_is_measured(tmp_path, only_adopt):
    measured = await adoption.run(300, tmp_path, only_adopt=only_adopt)
    assert measured.rows > 300
    assert measured.seconds.keys() == {"adopt", "finish"} | (set() if only_adopt else {"dry run", "undo"})
    assert measured.bytes["peak"] >= measured.bytes["before"] > 0
    assert "| rows a second |" in adoption.table(measured)


@pytest.mark.large
@pytest.mark.parametrize("wrong", [ForgetsTheLast, ChangesNothing])
async def test_a_variant_that_does_less_is_not_measured(database_url, without_sqlalchemy, wrong):
    with pytest.raises(WrongResultError, match=wrong.name):
        await measured(database_url, wrong, with_mixed=False)


@pytest.mark.large
async def test_all_variants_of_all_workloads_do_the_same(database_url, redis_url, log_prefix):
    results = await measured(database_url, *WORKLOADS, log={"redis_url": redis_url, "log_prefix": log_prefix})
    assert len(results.measured) == len(WORKLOADS)


@pytest.mark.large
async def test_a_chat_turn_is_measured_with_a_log_and_a_rebuild_tells_its_memory(
    database_url, redis_url, log_prefix, without_sqlalchemy
):
    log = {"redis_url": redis_url, "log_prefix": log_prefix}
    results = await measured(database_url, ChatTurn, Rebuild, with_mixed=False, log=log)
    chat, rebuild = results.measured
    assert chat.ratio(Variant.OURS, Variant.RAW) > 0
    assert not chat.peaks
    assert set(rebuild.peaks) == {Variant.RAW, Variant.TORTOISE, Variant.OURS}
    assert all(peak > 0 for peak in rebuild.peaks.values())
    page = as_markdown(Results(results.measured, machine="a machine"))
    assert page.startswith("On a machine.")
    assert "| chat turn of 200 events |" in page
    assert "KiB that one call holds at most" in page


def test_a_goal_that_is_missed_is_told_and_one_that_is_met_is_not():
    world = World(TINY)
    slow = Measured(Heartbeat(world), {Variant.RAW: [1.0], Variant.OURS: [2.0]}, 1)
    fast = Measured(Rename(world), {Variant.RAW: [1.0], Variant.OURS: [1.2], Variant.ALCHEMY: [2.4]}, 1)
    cost = LogCost("rename", {False: [1.0], True: [1.5]}, {True: ["UPDATE"], False: ["UPDATE"]})
    missed = as_markdown(Results([slow, fast], log_costs=[cost])).rpartition("Goals that were missed")[2]
    assert "operation: heartbeat: 2.00 times raw asyncpg, not 1.25" in missed
    assert "rename: 2.00 times faster than SQLAlchemy, not 3" in missed
    assert "rename: 1.20" not in missed
    assert "rename: 1.50 times as long with a log, not 1.15" in missed


@pytest.mark.large
async def test_writes_are_compared_with_and_without_a_log(database_url, redis_url, log_prefix):
    log = {"redis_url": redis_url, "log_prefix": log_prefix}
    results = await measured(database_url, with_mixed=False, log=log, log_rounds=1)
    assert [cost.name for cost in results.log_costs] == ["rename", "update a plan of 1 KB", "update a plan of 100 KB"]
    assert all(cost.ratio > 0 and len(cost.statements[True]) == 1 for cost in results.log_costs)
    assert "| rename |" in as_markdown(results)
