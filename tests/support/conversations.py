"""Conversations as tests make them, fill them and read them back."""

from uuid import UUID

from tests.support.projections import Logs, at_rest, rows_of
from veupath_store import Event, LogReader, Projector, StreamRepository
from veupath_store.values import RebuildOutcome, VerifyOutcome


def said(*texts: str, **more) -> list[Event]:
    """Messages of a user, each of which has its text as its id, too."""
    return [Event(type="user_message", data={"content": text, "messageId": text}, **more) for text in texts]


def deltas(count: int, **more) -> list[Event]:
    """Words of an answer."""
    return [Event(type="assistant_delta", data={"content": "x" * 40}, **more)] * count


def named(name: str) -> Event:
    return Event(type="strategy_meta", data={"name": name})


def link(wdk: int, *, saved: bool = False) -> Event:
    return Event(type="strategy_link", data={"wdkStrategyId": wdk, "isSaved": saved})


async def conversation(user, name: str = "one", site: str = "plasmodb", **given) -> UUID:
    return (await StreamRepository().create(user.id, site, name=name, **given)).id


async def say(stream_id: UUID, *texts: str) -> None:
    """Something is said, and the row has seen it."""
    await Projector().append(stream_id, said(*texts))
    await Projector().catch_up(stream_id)


async def dismiss_and_restore(stream_id: UUID) -> None:
    await StreamRepository().dismiss(stream_id)
    await StreamRepository().restore(stream_id)


async def texts_of(stream_id: UUID) -> list[str]:
    return [message.content async for message in LogReader().iterate_messages(stream_id)]


async def assert_says(stream_id: UUID, *texts: str) -> None:
    """What is counted is what is listed, now and after a rebuild."""
    for _ in range(2):
        await at_rest()
        assert await texts_of(stream_id) == list(texts)
        assert (await StreamRepository().get_projection(stream_id)).message_count == len(texts)
        assert not (await Projector().verify()).suspects
        assert not (await Projector().rebuild(stream_id=stream_id)).refused


async def assert_sound(watcher, logs: Logs) -> None:
    """At rest every row is what its log says, and rebuilding it, also from nothing, makes the same row."""
    await at_rest()
    rows = await rows_of(watcher)
    await logs.assert_explain(watcher)
    assert (await Projector().verify()).counts == {VerifyOutcome.EQUAL: len(rows)}
    assert (await Projector().rebuild()).counts == {RebuildOutcome.REBUILT: len(rows)}
    assert await rows_of(watcher) == rows
    await watcher.execute("DELETE FROM stream_projections")
    assert (await Projector().rebuild()).counts == {RebuildOutcome.REBUILT: len(rows)}
    assert await rows_of(watcher) == rows
