"""The id of a conversation is used once, whoever deletes it; and what a restore counts is what is listed."""

from datetime import timedelta

import pytest

from tests.support.conversations import assert_says, conversation, dismiss_and_restore, said, say, texts_of
from tests.support.projections import at_rest
from veupath_store import AccountRepository, Projector, StreamRepository, UserRepository, async_session_factory
from veupath_store.errors import ConflictError, NotFoundError
from veupath_store.models import Stream, User
from veupath_store.values import PurgeMode

pytestmark = pytest.mark.with_log


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
    stream = await conversation(user, "old")
    await say(stream, "secret")
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
        await Projector().append(stream, said("late"))
    assert (await Projector().lag()).without_row == 0


async def test_after_a_restore_what_is_counted_is_what_is_listed(stream):
    await dismiss_and_restore(stream)
    await assert_says(stream)
    await Projector().append(stream, said("one", "two"))
    await assert_says(stream, "one", "two")
    await dismiss_and_restore(stream)
    await assert_says(stream)
    await Projector().append(stream, said("three"))
    await assert_says(stream, "three")
    await StreamRepository().restore(stream)  # it is not dismissed: nothing changes
    await assert_says(stream, "three")
    await dismiss_and_restore(stream)
    await dismiss_and_restore(stream)
    await assert_says(stream)


async def test_messages_that_the_row_had_not_seen_when_it_was_restored_are_counted_and_listed(stream):
    await say(stream, "seen")
    await Projector().append(stream, said("unseen"))
    async with async_session_factory() as session:
        await Projector().append(stream, said("waiting"), session=session)
    await dismiss_and_restore(stream)
    await assert_says(stream, "unseen", "waiting")


async def test_a_trimmed_log_and_a_restore_agree_too(stream):
    await say(stream, *map(str, range(10)))
    await dismiss_and_restore(stream)
    await Projector().append(stream, said("after"))
    await at_rest()
    assert await Projector().trim(stream, older_than=timedelta(), keep=1) > 0
    row = await StreamRepository().get_projection(stream)
    assert (row.message_count, set(await texts_of(stream)) <= {"after"}) == (1, True)
    await dismiss_and_restore(stream)
    await assert_says(stream)


async def test_a_conversation_that_a_purge_has_kept_is_restored_without_what_was_said(stream, user):
    await StreamRepository().claim_wdk_strategy(stream, 7)
    await say(stream, "secret")
    await AccountRepository().purge(user.id, mode=PurgeMode.DISMISS)
    await assert_says(stream)
    await StreamRepository().restore(stream)
    await assert_says(stream)
    await Projector().append(stream, said("new"))
    await assert_says(stream, "new")
