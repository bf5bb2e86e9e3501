"""Strategies: the plan is saved after every search, linked to the WDK server, and the link handed over."""

from uuid import UUID

from demo.data import STRATEGIES
from demo.day import Day
from demo.strategies import Strategy
from veupath_store.documents.plans import INPUTS


async def grow_strategies(day: Day) -> None:
    """Each stage replaces the whole plan; steps and counts follow from it."""
    day.show.table(
        ("who", "site", "conversation", "saves", "#searches", "#steps", "root", "WDK id"),
        [await _grow(day, strategy) for strategy in STRATEGIES],
    )
    await _show_steps(day, STRATEGIES[0])


async def hand_over(day: Day) -> None:
    """The same WDK strategy, opened in a second conversation: the link moves, and other users keep theirs."""
    first, wdk_id = day.strategies[STRATEGIES[0].name], next(day.wdk_ids)
    second = (await day.converse("amara", "plasmodb", "The same strategy, opened again")).id
    other = (await day.converse("nadia", "plasmodb", "A strategy with the same id by chance")).id
    await day.change("amara", first, "link to WDK", wdk_strategy_id=wdk_id, is_saved=True)
    await day.change("nadia", other, "link to WDK", wdk_strategy_id=wdk_id)
    await day.change("amara", second, "hand over a WDK id", wdk_strategy_id=wdk_id, is_saved=True)
    day.note_change(first, wdk_strategy_id=None, is_saved=False)
    holder = await day.streams("amara").get_by_wdk_strategy_id(day.people["amara"].id, wdk_id)
    day.promise("a WDK id is handed over", holder is not None and holder.stream_id == second)
    kept = (await day.open("nadia", other)).wdk_strategy_id == wdk_id
    day.promise("another user's WDK id is not touched", kept)
    day.show.say(
        f'WDK strategy {wdk_id} moves to Amara\'s conversation "{holder.name if holder else None}"; '
        f"Nadia, whose strategy has the same id, {'keeps hers' if kept else 'LOST hers'}."
    )


async def _grow(day: Day, strategy: Strategy) -> tuple[object, ...]:
    stream = await day.converse(strategy.owner, strategy.site_id, strategy.name)
    day.strategies[strategy.name] = stream.id
    saves = []
    for found, plan in enumerate(strategy.stages(), 1):
        fields = {"plan": plan, "record_type": "transcript", "result_count": 5_400 // found}
        await day.change(strategy.owner, stream.id, "save a plan", **fields)
        saves.append((await day.open(strategy.owner, stream.id)).step_count)
    await day.change(strategy.owner, stream.id, "link to WDK", wdk_strategy_id=next(day.wdk_ids))
    return await _as_stored(day, strategy, stream.id, saves)


async def _as_stored(day: Day, strategy: Strategy, stream_id: UUID, saves: list[int]) -> tuple[object, ...]:
    stored = await day.open(strategy.owner, stream_id)
    grown = " > ".join(map(str, saves))
    steps, root = len(stored.steps), stored.root_step_id
    return strategy.owner, stored.site_id, stored.name, grown, stored.step_count, steps, root, stored.wdk_strategy_id


async def _show_steps(day: Day, strategy: Strategy) -> None:
    stored = await day.open(strategy.owner, day.strategies[strategy.name])
    day.show.say(f'The steps of "{stored.name}", derived from its plan when it is read:')
    day.show.table(
        ("step", "kind", "label", "search or operator", "inputs"),
        [
            (
                step["id"],
                step["kind"],
                step["displayName"],
                step.get("searchName") or step.get("operator"),
                " + ".join(str(step[f"{name}StepId"]) for name in INPUTS if step[f"{name}StepId"]),
            )
            for step in stored.steps
        ],
        whole=("step", "search or operator"),
    )
