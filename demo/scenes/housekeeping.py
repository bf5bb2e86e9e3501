"""Housekeeping: names, the bin, and conversations whose WDK strategy is gone."""

from uuid import UUID

from demo.day import Day
from demo.ledger import Kind
from veupath_store.errors import PruneRefusedError
from veupath_store.inputs.limits import PAGE

SITE = "toxodb"


async def rename_dismiss_restore(day: Day) -> None:
    """A rename to a taken name, a dismissal that keeps its first date, a restore that forgets the stale plan."""
    first = (await day.converse("yuki", "fungidb", "Cell wall")).id
    second = (await day.converse("yuki", "fungidb", "Untitled")).id
    plan = {"recordType": "transcript", "root": {"id": "step_1", "searchName": "GenesByTaxon", "parameters": {}}}
    await day.change("yuki", second, "save a plan", plan=plan)
    rows = [await _rename(day, second, "Cell wall"), await _dismiss_twice(day, first), await _restore(day, second)]
    day.show.table(("Yuki", "what is stored then"), rows)


async def tidy_up(day: Day) -> None:
    """Pruning believes a plausible list of live WDK ids only."""
    user_id = day.people["tomas"].id
    doomed = await _linked(day, "A strategy deleted on the WDK server")
    for name in ("A strategy that stays", "Another one that stays"):
        await _linked(day, name)
    live = await _live_ids(day, except_for=doomed)
    streams = day.streams("tomas")
    rows = []
    for what, ids in (("an empty list", []), ("somebody else's list", [1, 2, 3]), ("the right list", live)):
        try:
            pruned = await day.timings.of("prune", streams.prune_wdk_orphans(user_id, SITE, ids))
            day.promise("only the right list prunes, and what it should", ids is live and pruned == [doomed], what)
            rows.append((what, len(ids), f"dismissed {len(pruned)}"))
        except PruneRefusedError as exc:
            rows.append((what, len(ids), f"refused: {exc.orphaned} of {exc.linked} would go"))
    day.note_change(doomed, dismissed_reason="wdk_orphan")
    day.show.say("Tomas's conversations on toxodb are pruned by a list of the strategies that the WDK server has:")
    day.show.table(("given", "#ids", "outcome"), rows)


async def _rename(day: Day, stream_id: UUID, wanted: str) -> tuple[str, str]:
    await day.change("yuki", stream_id, "rename", name=wanted)
    got = (await day.open("yuki", stream_id)).name
    day.ledger.remember(Kind.CONVERSATION, stream_id, name=got)
    day.promise("a rename to a taken name gets a number", got.startswith(f"{wanted} ("), got)
    return f'renames "Untitled" to "{wanted}"', f'"{got}"'


async def _dismiss_twice(day: Day, stream_id: UUID) -> tuple[str, str]:
    streams = day.streams("yuki")
    await day.timings.of("dismiss", streams.dismiss(stream_id))
    date = (await day.open("yuki", stream_id)).dismissed_at
    await day.timings.of("dismiss", streams.dismiss(stream_id))
    again = (await day.open("yuki", stream_id)).dismissed_at
    day.note_change(stream_id, dismissed_reason="user", dismissed_at=date)
    day.promise("a second dismissal keeps the first date", date == again)
    return "dismisses one, twice", "dismissed; the first date stays" if date == again else "the date CHANGED"


async def _restore(day: Day, stream_id: UUID) -> tuple[str, str]:
    streams = day.streams("yuki")
    await day.timings.of("dismiss", streams.dismiss(stream_id))
    await day.timings.of("restore", streams.restore(stream_id))
    day.note_change(stream_id, dismissed_reason=None, plan={})
    stored = await day.open("yuki", stream_id)
    return "dismisses another, and restores it", f"in the sidebar, {stored.step_count} steps: the plan is fetched anew"


async def _linked(day: Day, name: str) -> UUID:
    stream = await day.converse("tomas", SITE, name)
    await day.change("tomas", stream.id, "link to WDK", wdk_strategy_id=next(day.wdk_ids))
    return stream.id


async def _live_ids(day: Day, except_for: UUID) -> list[int]:
    """What the WDK server would answer: every linked strategy but the one that is gone."""
    listed = await day.streams("tomas").list_projections(day.people["tomas"].id, SITE, limit=PAGE)
    return [
        summary.wdk_strategy_id
        for summary in listed
        if summary.wdk_strategy_id is not None and summary.stream_id != except_for
    ]
