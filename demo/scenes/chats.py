"""Chats: what is said goes to the event log, and the rows follow; then the rows are thrown away and made anew."""

import time
from typing import Final
from uuid import UUID

from demo.data import STRATEGIES
from demo.day import Day
from demo.ledger import Kind
from veupath_store import Event, LogReader, ProjectionWorker, Projector
from veupath_store.documents.plans import flatten_plan
from veupath_store.values import RebuildOutcome

WHO, SITE = "yuki", "fungidb"
TOKENS: Final = 400
"""Deltas of one answer."""

# But for what no log says: the last name on the WDK server, and how often the plan was changed.
_ROWS: Final = """
SELECT to_jsonb(p) - '{wdk_name, wdk_name_of, plan_version}'::text[]
FROM stream_projections p WHERE user_id = $1 ORDER BY stream_id"""


async def chat_about_a_strategy(day: Day) -> None:
    """Each answer is hundreds of deltas, which cost no database work; a few events change the conversation's row."""
    if day.place.settings.redis_url is None:
        day.show.say("No event log: REDIS_URL is not set. Repositories write the table only, and nothing is rebuilt.")
        return
    stream = await day.converse(WHO, SITE, "A chat")
    projector, worker = Projector(), ProjectionWorker()
    said, started = 0, time.perf_counter()
    for stage in STRATEGIES[0].stages():
        for batch in _turn(stage):
            await day.timings.of(f"append {TOKENS // 4} deltas", projector.append(stream.id, batch))
            said += len(batch)
    appended = time.perf_counter() - started
    behind = (await projector.lag(stream_id=stream.id)).events
    await day.timings.of("catch up", worker.drain())
    await _show_chat(day, stream.id, said, appended, behind)


async def throw_the_rows_away(day: Day) -> None:
    """The rows are a cache of the log: they are deleted, rebuilt, and equal in every column that it says."""
    if day.place.settings.redis_url is None:
        return
    user_id = day.people[WHO].id
    while await ProjectionWorker().drain():
        pass
    before = [row[0] for row in await day.direct.fetch(_ROWS, user_id)]
    await day.direct.execute("DELETE FROM stream_projections WHERE user_id = $1", user_id)
    report = await day.timings.of("rebuild a user's rows", Projector().rebuild(user_id=user_id))
    after = [row[0] for row in await day.direct.fetch(_ROWS, user_id)]
    day.promise("rows that were deleted are rebuilt as they were", before == after)
    day.show.say(
        f"All {len(before)} rows of Yuki's conversations are deleted behind the store's back. A rebuild folds "
        f"{report.events} events: {report.counts.get(RebuildOutcome.REBUILT, 0)} rows, "
        f"{'as they were' if before == after else 'and they DIFFER'}."
    )


def _turn(plan: dict[str, object]) -> list[list[Event]]:
    steps = flatten_plan(plan)
    label = steps[-1].get("displayName", "")
    snapshot = {"steps": steps, "rootStepId": steps[-1]["id"], "recordType": "transcript"}
    asked = [Event(type="user_message", data={"content": f"And now: {label}?", "messageId": f"u{len(steps)}"})]
    tokens = [Event(type="assistant_delta", data={"content": "token "}) for _ in range(TOKENS // 4)]
    answered = [
        Event(type="graph_snapshot", data={"graphSnapshot": snapshot}),
        Event(type="assistant_message", data={"content": f"Done: {len(steps)} steps.", "messageId": f"a{len(steps)}"}),
    ]
    return [asked, tokens, tokens, tokens, tokens, answered]


async def _show_chat(day: Day, stream_id: UUID, said: int, appended: float, behind: int) -> None:
    stored = await day.open(WHO, stream_id)
    messages = [message async for message in LogReader().for_user(stored.user_id).iterate_messages(stream_id)]
    day.ledger.remember(Kind.CONVERSATION, stream_id, plan=stored.plan, step_count=stored.step_count)
    day.promise("a chat's row is what was said", stored.message_count == len(messages) > 0)
    day.show.say(
        f"Yuki chats: {said} events appended in {appended * 1000:.0f} ms without any work for the database, then "
        f"{behind} of them folded into one row at once: {stored.message_count} messages, {stored.step_count} steps, "
        f"root {stored.root_step_id}."
    )
    day.show.table(("role", "message"), [(message.role.value, message.content) for message in messages[:4]])
