"""Control sets: public ones and one's own, found by tag in an index."""

from uuid import UUID, uuid4

import pytest

from tests.support.documents import new_control_set
from veupath_store import ControlSetRepository, NotFoundError
from veupath_store.models import ControlSet

KELCH13, CRT, DHFR = "PF3D7_1343700", "PF3D7_0709000", "PF3D7_0417200"


async def listed(repository=None, site_id="plasmodb", **given):
    return [found.name for found in await (repository or ControlSetRepository()).list_by_site(site_id, **given)]


async def test_a_new_set_reads_back_as_it_was_returned(user):
    made = await new_control_set(
        "Artemisinin resistance",
        positive_ids=[KELCH13, CRT],
        negative_ids=(DHFR,),
        source="curation",
        tags=["drug", "resistance"],
        provenance_notes="from the literature",
        is_public=True,
        user_id=str(user.id),
    )
    read = await ControlSetRepository().get_by_id(made.id)
    assert read is not None
    for field in ControlSet._meta.db_fields:
        assert getattr(read, field) == getattr(made, field), field
    assert read.positive_ids == [KELCH13, CRT]
    assert read.negative_ids == [DHFR]
    assert read.tags == ["drug", "resistance"]
    assert (read.version, read.is_public, read.user_id) == (1, True, user.id)
    assert isinstance(read.id, UUID)


async def test_the_list_has_public_sets_and_ones_own_newest_first(user, stranger):
    await new_control_set("public", is_public=True, user_id=stranger.id)
    await new_control_set("theirs", user_id=stranger.id)
    await new_control_set("mine", user_id=user.id)
    await new_control_set("mine and public", is_public=True, user_id=user.id)
    await new_control_set("nobody's")
    await new_control_set("elsewhere", site_id="toxodb", is_public=True)
    assert await listed() == ["mine and public", "public"]
    assert await listed(user_id=user.id) == ["mine and public", "mine", "public"]
    assert await listed(user_id=user.id, limit=1) == ["mine and public"]
    assert await listed(site_id="toxodb", user_id=user.id) == ["elsewhere"]


async def test_tags_mean_any_of_them_and_come_before_the_limit(user):
    await new_control_set("old", tags=["rare", "drug"], is_public=True)
    for number in range(5):
        await new_control_set(f"new {number}", tags=["common"], is_public=True)
    await new_control_set("mine", tags=["rare"], user_id=user.id)
    assert await listed(tags=["rare"], limit=1) == ["old"]
    assert await listed(tags=["rare", "nothing"], user_id=user.id) == ["mine", "old"]
    assert await listed(tags=["RARE"]) == []
    assert await listed(tags=("drug",)) == ["old"]
    assert len(await listed(tags=[])) == 6


async def test_a_user_reads_public_sets_and_changes_only_their_own(user, stranger):
    mine = await new_control_set("mine", user_id=user.id)
    public = await new_control_set("public", is_public=True, user_id=stranger.id)
    theirs = await new_control_set("theirs", user_id=stranger.id)
    nobodys = await new_control_set("nobody's")
    repository = ControlSetRepository().for_user(user.id)

    assert (await repository.get_by_id(mine.id)) is not None
    assert (await repository.get_by_id(public.id)) is not None
    assert await repository.get_by_id(theirs.id) is None
    assert await repository.get_by_id(nobodys.id) is None
    assert await listed(repository) == ["public", "mine"]
    assert await listed(repository, user_id=user.id) == ["public", "mine"]
    assert await listed(repository, user_id=stranger.id) == ["public"]

    for foreign in (public, theirs, nobodys):
        assert not await repository.delete(foreign.id)
    assert await ControlSet.all().count() == 4
    assert await repository.delete(mine.id)

    genes = {"site_id": "plasmodb", "record_type": "transcript", "positive_ids": [], "negative_ids": []}
    assert (await repository.create(name="new", **genes)).user_id == user.id
    with pytest.raises(NotFoundError):
        await repository.create(name="new", user_id=stranger.id, **genes)


async def test_a_set_of_an_unknown_user_is_refused(store):
    with pytest.raises(NotFoundError) as caught:
        await new_control_set("set", user_id=uuid4())
    assert caught.value.entity == "user"
