"""What the day leaves."""

from collections import Counter

from demo.data import RESEARCHERS
from demo.day import Day
from veupath_store import ControlSetRepository
from veupath_store.inputs.limits import PAGE


async def look_at_the_sidebar(day: Day) -> None:
    """Counts by researcher and site, and the newest conversations of one of them."""
    rows = [
        (researcher.key, site_id, *await _counts(day, researcher.key, site_id))
        for researcher in RESEARCHERS
        for site_id in researcher.sites
    ]
    day.show.table(
        ("who", "site", "#in the sidebar", "#dismissed", "#with a WDK id", "#searches", "#own control sets"), rows
    )
    await _newest(day, "tomas")


async def _counts(day: Day, who: str, site_id: str) -> tuple[int, ...]:
    user_id, streams = day.people[who].id, day.streams(who)
    active = await day.timings.of("list the sidebar", streams.list_projections(user_id, site_id, limit=PAGE))
    dismissed = await day.timings.of(
        "list the dismissed", streams.list_dismissed_projections(user_id, site_id, limit=PAGE)
    )
    sets = await ControlSetRepository().for_user(user_id).list_by_site(site_id, limit=PAGE)
    own = Counter(item.user_id for item in sets)[user_id]
    linked = sum(1 for summary in active if summary.wdk_strategy_id is not None)
    return len(active), len(dismissed), linked, sum(summary.step_count for summary in active), own


async def _newest(day: Day, who: str) -> None:
    newest = await day.streams(who).list_projections(day.people[who].id, limit=5)
    day.show.say("The top of Tomas's sidebar:")
    day.show.table(
        ("conversation", "site", "#searches", "#results", "WDK id", "changed (UTC)"),
        [
            (
                summary.name,
                summary.site_id,
                summary.step_count,
                summary.result_count,
                summary.wdk_strategy_id,
                f"{summary.updated_at:%H:%M:%S}",
            )
            for summary in newest
        ],
    )
