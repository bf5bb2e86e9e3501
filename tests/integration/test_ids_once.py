"""The id of a conversation is used once, whoever deletes it; and what a restore counts is what is listed."""

from datetime import timedelta
from uuid import uuid4

import pytest

from tests.support.projections import at_rest
from veupath_store import (
    AccountRepository,
    ConflictError,
    Event,
    LogReader,
    NotFoundError,
    Projector,
    StreamRepository,
    UserRepository,
    async_session_factory,
)
from veupath_store.models import Stream, User
from veupath_store.values import PurgeMode

pytestmark = pytest.mark.with_log


def said(text):
    return Event(type="user_message", data={"content": text})


async def in_a_session(call):
    async with async_session_factory() as session:
        await call(session)


DELETIONS = {
    "the unscoped repository": lambda user, stream: StreamRepository().delete(stream),
    "the user's repository": lambda user, stream: StreamRepository().for_user(user.id).delete(stream),
    "a unit of work": lambda user, stream: in_a_session(lambda session: StreamRepository(session).delete(stream)),
    "the user's deletion": lambda user, stream: UserRepository().delete(user.id),
    "the user's own deletion": lambda user, stream: UserRepository().for_user(user.id).delete(user.id),
    "a purge": lambda user, stream: AccountRepository().purge(user.id),
    "the user's own purge": lambda user, stream: AccountRepository().for_user(user.id).purge(user.id),
    "a purge of a site": lambda user, stream: AccountRepository().purge(user.id, site_id="plasmodb"),
    "a purge that dismisses": lambda user, stream: AccountRepository().purge(user.id, mode=PurgeMode.DISMISS),
    "the model": lambda user, stream: _delete_model(Stream, stream),
    "the model of the user": lambda user, stream: _delete_model(User, user.id),
}


async def _delete_model(model, identity):
    await (await model.get(id=identity)).delete()


@pytest.mark.parametrize("by", DELETIONS)
async def test_the_id_of_a_conversation_that_was_deleted_is_never_used_again(user, stranger, by):
    stream = (await StreamRepository().create(user.id, "plasmodb", name="old")).id
    await Projector().catch_up(stream)
    await Projector().append(stream, [said("secret")])
    await DELETIONS[by](user, stream)
    assert await StreamRepository().get_by_id(stream) is None
    await UserRepository().get_or_create(user.id)
    for owner in (user, stranger):
        for repository in (StreamRepository(), StreamRepository().for_user(owner.id)):
            with pytest.raises(ConflictError) as refused:
                await repository.create(owner.id, "plasmodb", stream_id=stream)
            assert refused.value.constraint == "deleted_ids_pkey"
            with pytest.raises(NotFoundError):
                await repository.ensure(owner.id, "plasmodb", stream)
    assert (await Projector().rebuild(missing=True)).counts == {}
    assert await StreamRepository().get_by_id(stream) is None
    await at_rest()
    with pytest.raises(NotFoundError):
        await Projector().append(stream, [said("late")])
    assert (await Projector().lag()).without_row == 0


async def listed(stream):
    return [item.content async for item in LogReader().iterate_messages(stream)]


async def assert_agree(stream, *texts):
    """What is counted is what is listed, now and after a rebuild."""
    for _ in range(2):
        await at_rest()
        assert await listed(stream) == list(texts)
        assert (await StreamRepository().get_projection(stream)).message_count == len(texts)
        assert not (await Projector().verify()).suspects
        assert not (await Projector().rebuild(stream_id=stream)).refused


async def dismiss_and_restore(stream):
    await StreamRepository().dismiss(stream)
    await StreamRepository().restore(stream)


async def test_after_a_restore_what_is_counted_is_what_is_listed(user):
    stream = (await StreamRepository().create(user.id, "plasmodb")).id
    await dismiss_and_restore(stream)
    await assert_agree(stream)
    await Projector().append(stream, [said("one"), said("two")])
    await assert_agree(stream, "one", "two")
    await dismiss_and_restore(stream)
    await assert_agree(stream)
    await Projector().append(stream, [said("three")])
    await assert_agree(stream, "three")
    await StreamRepository().restore(stream)  # it is not dismissed: nothing changes
    await assert_agree(stream, "three")
    await dismiss_and_restore(stream)
    await dismiss_and_restore(stream)
    await assert_agree(stream)


async def test_messages_that_the_row_had_not_seen_when_it_was_restored_are_counted_and_listed(user):
    stream = (await StreamRepository().create(user.id, "plasmodb")).id
    await Projector().append(stream, [said("seen")])
    await at_rest()
    await Projector().append(stream, [said("unseen")])
    async with async_session_factory() as session:
        await Projector().append(stream, [said("waiting")], session=session)
    await dismiss_and_restore(stream)
    await assert_agree(stream, "unseen", "waiting")


async def test_a_trimmed_log_and_a_restore_agree_too(user):
    stream = (await StreamRepository().create(user.id, "plasmodb")).id
    await Projector().append(stream, [said(str(number)) for number in range(10)])
    await at_rest()
    await dismiss_and_restore(stream)
    await Projector().append(stream, [said("after")])
    await at_rest()
    assert await Projector().trim(stream, older_than=timedelta(), keep=1) > 0
    row = await StreamRepository().get_projection(stream)
    assert (row.message_count, set(await listed(stream)) <= {"after"}) == (1, True)
    await dismiss_and_restore(stream)
    await assert_agree(stream)


async def test_a_conversation_that_a_purge_has_kept_is_restored_without_what_was_said(user):
    stream = (await StreamRepository().create(user.id, "plasmodb", stream_id=uuid4())).id
    await StreamRepository().claim_wdk_strategy(stream, 7)
    await Projector().append(stream, [said("secret")])
    await at_rest()
    await AccountRepository().purge(user.id, mode=PurgeMode.DISMISS)
    await assert_agree(stream)
    await StreamRepository().restore(stream)
    await assert_agree(stream)
    await Projector().append(stream, [said("new")])
    await assert_agree(stream, "new")
