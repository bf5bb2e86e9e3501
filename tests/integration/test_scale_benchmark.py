"""`make bench-scale`, on very little data: that it still runs, and that it says what slows."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.growth import Growth
from benchmarks.heavy import NoTable
from benchmarks.page import replace_block
from benchmarks.scale import Line, Scaled, run
from benchmarks.scale_report import DOUBT, as_json, as_markdown, show
from benchmarks.workload import Variant
from benchmarks.world import TINY
from veupath_store.config import StoreSettings

SMALL = Growth(rows=(100, 600), heavy_from=500, world=replace(TINY, users=10, conversations=100, control_sets=0))


@pytest.fixture
def settings(database_url):
    return StoreSettings(database_url=database_url)


def shown(scaled):
    screen = Console(file=io.StringIO(), width=200)
    show(screen, scaled)
    return screen.file.getvalue()


def line(name, small, large):
    return Line(name, {Variant.RAW: {100: small, 400: small}, Variant.OURS: {100: small, 400: large}})


@pytest.mark.large
async def test_a_call_is_measured_at_each_size_and_a_heavy_user_as_soon_as_there_is_one(settings):
    scaled = await run(settings, SMALL, only=["sidebar of 50, plans of 1 KB", "heavy user: rename"], seconds=0, least=2)
    sidebar, rename = scaled.lines.values()
    assert set(sidebar.medians[Variant.OURS]) == {100, 600}
    assert set(rename.medians[Variant.OURS]) == {600}
    assert all(seconds > 0 for one in (sidebar, rename) for seconds in one.medians[Variant.OURS].values())
    assert sidebar.growth() > 0
    assert rename.growth() is None
    more = scaled.counts[600]["stream_projections"] - scaled.counts[100]["stream_projections"]
    # 100 of the heavy user, 400 of four more ordinary ones.
    assert more == 100 + 400
    assert more == scaled.counts[600]["operations"] - scaled.counts[100]["operations"]
    assert "sidebar of 50, plans of 1 KB" in shown(scaled)


async def test_what_slows_is_named_with_its_plans(settings, monkeypatch):
    monkeypatch.setattr("benchmarks.scale.ALLOWED", 0.0)
    scaled = await run(settings, SMALL, only=["known user"], seconds=0, least=2)
    [known] = scaled.lines.values()
    assert known.slows
    [plan] = known.plans
    assert "FROM" in plan
    assert "Index Scan" in plan or "Seq Scan" in plan
    assert "known user on a request slows" in shown(scaled)


def test_growth_is_the_largest_size_by_the_smallest():
    flat, slow = line("flat", 1.0, 1.4), line("slow", 1.0, 1.6)
    scaled = Scaled({"flat": flat, "slow": slow}, {100: {"users": 1, "bytes": 1}, 400: {"users": 4, "bytes": 1}}, {})
    scaled.filled = {100: 1.0, 400: 2.0}
    assert [one["slows"] for one in as_json(scaled)["workloads"]] == [False, True]
    assert "| slow | 1,000,000 | 1,600,000 | 1.60 | 1.00 |" in as_markdown(scaled)
    assert "More than 1.5 times slower: slow." in as_markdown(scaled)


def test_a_busy_machine_is_told_from_a_slow_call():
    counts = {100: {"bytes": 1}, 400: {"bytes": 1}}
    calm, busy = line(NoTable.name, 1.0, 1.1), line(NoTable.name, 1.0, 1.3)
    assert DOUBT not in as_markdown(Scaled({calm.workload: calm}, counts, {400: 1.0}))
    assert DOUBT in as_markdown(Scaled({busy.workload: busy}, counts, {400: 1.0}))


def test_figures_take_the_place_of_the_last_ones(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n<!-- figures of make bench -->\nold\n<!-- end of figures -->\nrest\n<!-- figures of other -->"
    )
    replace_block(page, "make bench", "new")
    assert page.read_text().startswith("# Page\n<!-- figures of make bench -->\nnew\n<!-- end of figures -->\nrest\n")


@pytest.mark.large
async def test_both_do_the_same_in_all_calls_at_each_size(database_url, redis_url, log_prefix):
    settings = StoreSettings(database_url=database_url, redis_url=redis_url, log_prefix=log_prefix)
    scaled = await run(settings, SMALL, seconds=0, least=2)
    assert len(scaled.lines) > 30
