"""Control sets: public ones and one's own, changes with versions, seeds, and searches by tag and by gene."""

import asyncio
from functools import partial
from uuid import UUID, uuid4

from tests.support.calls import all_pages, refusal
from tests.support.documents import new_control_set
from tests.support.jobs import at_once
from tests.support.statements import recorded
from veupath_store import ControlSetRepository, InvalidInputError, NotFoundError, UserRepository
from veupath_store.errors import StaleVersionError, UnitOfWorkError
from veupath_store.models import ControlSet
from veupath_store.values import ControlSetPatch, GeneMatch

KELCH13, CRT, DHFR = "PF3D7_1343700", "PF3D7_0709000", "PF3D7_0417200"
LISTS = {"site_id": "plasmodb", "record_type": "transcript", "positive_ids": ["a"], "negative_ids": []}
SEED = {"name": "seed", **LISTS}


async def listed(repository=None, site_id="plasmodb", **given):
    return [found.name for found in await (repository or ControlSetRepository()).list_by_site(site_id, **given)]


async def change(made, version=None, **fields):
    return await ControlSetRepository().update(made.id, ControlSetPatch(**fields), version=version)


async def seeded(**given):
    return await ControlSetRepository().upsert_seed(**{**SEED, **given})


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
    assert dict(read) == dict(made)
    assert (read.positive_ids, read.negative_ids, read.tags) == ([KELCH13, CRT], [DHFR], ["drug", "resistance"])
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
    seen = [await repository.get_by_id(each.id) is not None for each in (mine, public, theirs, nobodys)]
    assert seen == [True, True, False, False]
    assert await listed(repository) == ["public", "mine"]
    assert await listed(repository, user_id=user.id) == ["public", "mine"]
    assert await listed(repository, user_id=stranger.id) == ["public"]
    assert [await repository.delete(foreign.id) for foreign in (public, theirs, nobodys)] == [False] * 3
    assert await ControlSet.all().count() == 4
    assert await repository.delete(mine.id)
    assert (await repository.create(name="new", **LISTS)).user_id == user.id
    await refusal(NotFoundError, repository.create(name="new", user_id=stranger.id, **LISTS))


async def test_a_set_of_an_unknown_user_is_refused(store):
    assert (await refusal(NotFoundError, new_control_set("set", user_id=uuid4()))).entity == "user"


async def test_a_change_raises_the_version_and_changes_only_what_is_given(user):
    made = await new_control_set("set", positive_ids=["a"], tags=["t"], source="s", user_id=user.id)
    changed = await change(made, positive_ids=["b", "c"], source=None)
    assert dict(changed) == {**dict(made), "version": 2, "positive_ids": ["b", "c"], "source": None}
    assert dict(await ControlSetRepository().get_by_id(made.id)) == dict(changed)


async def test_of_fifty_changes_of_one_version_one_wins_and_a_later_one_is_a_conflict(user):
    for _ in range(3):
        made = await new_control_set("set", user_id=user.id)
        results = await at_once(change(made, version=1, name=f"n{number}") for number in range(50))
        [winner] = [result for result in results if isinstance(result, ControlSet)]
        assert sum(isinstance(result, StaleVersionError) for result in results) == 49
        await refusal(StaleVersionError, change(made, version=1, name="late"))
        assert dict(await ControlSetRepository().get_by_id(made.id)) == {
            **dict(made),
            "name": winner.name,
            "version": 2,
        }


async def test_a_seed_is_upserted_by_site_and_name_and_keeps_its_id(store):
    first = await seeded()
    assert dict(await seeded()) == dict(first)
    changed = await seeded(tags=["new"])
    assert (changed.id, changed.version, changed.tags) == (first.id, 2, ["new"])
    assert (await seeded(site_id="toxodb")).id != first.id
    assert (first.is_public, first.is_seed, first.user_id, first.version) == (True, True, None, 1)


async def test_fifty_deploys_at_once_make_one_seed(store):
    made = await asyncio.gather(*(seeded() for _ in range(50)))
    assert {(seed.id, seed.version) for seed in made} == {(made[0].id, 1)}


async def test_a_seed_is_nobodys_to_make_or_to_make_private(user):
    mine = ControlSetRepository().for_user(user.id)
    await refusal(UnitOfWorkError, mine.upsert_seed(**SEED), "upsert_seed on ControlSetRepository")
    await refusal(InvalidInputError, change(await seeded(), is_public=False))


async def test_public_sets_of_deleted_users_may_share_a_name_with_a_seed(store):
    await seeded()
    for _ in range(2):
        owner = await UserRepository().create()
        await new_control_set("seed", is_public=True, user_id=owner.id)
        await UserRepository().delete(owner.id)
    assert await listed() == ["seed"] * 3


async def test_pages_merge_public_and_own_sets_and_read_no_genes(user, stranger):
    for number in range(30):
        given = {"is_public": number % 2 == 0, "tags": [f"t{number % 5}"], "positive_ids": ["a"] * number}
        await new_control_set(f"s{number}", user_id=(user.id, stranger.id, None)[number % 3], **given)
    for given in ({"user_id": user.id}, {}, {"user_id": user.id, "tags": ["t1", "t2"]}):
        with recorded() as sent:
            pages = await all_pages(partial(ControlSetRepository().page_by_site, "plasmodb"), 4, **given)
        assert len(sent) == len(pages)
        assert not any("positive_ids" in sql for sql in sent)
        found = [item for page in pages for item in page]
        assert all(item.positive_count == int(item.name[1:]) for item in found)
        assert [item.name for item in found] == await listed(**given)


async def test_sets_are_found_by_any_or_all_of_several_genes(user, stranger):
    await new_control_set("both", positive_ids=["a", "b"], user_id=user.id)
    await new_control_set("negative", negative_ids=["a"], is_public=True)
    await new_control_set("split", positive_ids=["a"], negative_ids=["b"], user_id=user.id)
    await new_control_set("theirs", positive_ids=["a"], user_id=stranger.id)
    await new_control_set("none", positive_ids=["A"], user_id=user.id)
    theirs = ControlSetRepository().for_user(stranger.id)

    async def found(genes, match=GeneMatch.ANY, repository=None, user_id=user.id):
        page = await (repository or ControlSetRepository()).page_containing("plasmodb", genes, user_id, match=match)
        return [item.name for item in page.items]

    assert await found(["a"]) == ["split", "negative", "both"]
    assert await found(["b", "zzz"]) == ["split", "both"]
    assert await found(["a", "b"], GeneMatch.ALL) == ["both"]
    assert await found(["a"], user_id=None) == ["negative"]
    assert await found(["a"], repository=theirs, user_id=None) == ["theirs", "negative"]
    assert await found(["a"], repository=theirs) == ["negative"]
