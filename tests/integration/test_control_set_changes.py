"""Control sets: changes with versions, seeds, pages, and the search by gene."""

import asyncio

import pytest

from tests.support.documents import new_control_set
from tests.support.statements import recorded
from veupath_store import ControlSetRepository, InvalidInputError, UserRepository
from veupath_store.errors import StaleVersionError, UnitOfWorkError
from veupath_store.models import ControlSet
from veupath_store.values import ControlSetPatch, GeneMatch

SEED = {"name": "seed", "site_id": "plasmodb", "record_type": "transcript", "positive_ids": ["a"], "negative_ids": []}


async def test_a_change_raises_the_version_and_changes_only_what_is_given(user):
    made = await new_control_set("set", positive_ids=["a"], tags=["t"], source="s", user_id=user.id)
    changed = await ControlSetRepository().update(made.id, ControlSetPatch(positive_ids=["b", "c"], source=None))
    assert (changed.version, changed.positive_ids, changed.source) == (2, ["b", "c"], None)
    assert (changed.name, changed.tags, changed.user_id, changed.created_at) == ("set", ["t"], user.id, made.created_at)
    read = await ControlSetRepository().get_by_id(made.id)
    assert all(getattr(read, field) == getattr(changed, field) for field in ControlSet._meta.db_fields)


async def test_a_stale_change_is_a_conflict_and_changes_nothing(user):
    made = await new_control_set("set", user_id=user.id)
    await ControlSetRepository().update(made.id, ControlSetPatch(name="first"), version=1)
    with pytest.raises(StaleVersionError):
        await ControlSetRepository().update(made.id, ControlSetPatch(name="late"), version=1)
    assert (await ControlSetRepository().get_by_id(made.id)).name == "first"


async def test_of_fifty_changes_of_one_version_one_wins(user):
    for _ in range(3):
        made = await new_control_set("set", user_id=user.id)
        results = await asyncio.gather(
            *(
                ControlSetRepository().update(made.id, ControlSetPatch(name=f"n{number}"), version=1)
                for number in range(50)
            ),
            return_exceptions=True,
        )
        winners = [result for result in results if isinstance(result, ControlSet)]
        assert len(winners) == 1
        assert sum(isinstance(result, StaleVersionError) for result in results) == 49
        stored = await ControlSetRepository().get_by_id(made.id)
        assert (stored.name, stored.version) == (winners[0].name, 2)


async def test_a_seed_is_upserted_by_site_and_name_and_keeps_its_id(store):
    first = await ControlSetRepository().upsert_seed(**SEED)
    same = await ControlSetRepository().upsert_seed(**SEED)
    assert (same.id, same.version, same.created_at) == (first.id, 1, first.created_at)
    changed = await ControlSetRepository().upsert_seed(**{**SEED, "tags": ["new"]})
    assert (changed.id, changed.version, changed.tags) == (first.id, 2, ["new"])
    elsewhere = await ControlSetRepository().upsert_seed(**{**SEED, "site_id": "toxodb"})
    assert elsewhere.id != first.id
    assert (first.is_public, first.is_seed, first.user_id) == (True, True, None)


async def test_fifty_deploys_at_once_make_one_seed(store):
    made = await asyncio.gather(*(ControlSetRepository().upsert_seed(**SEED) for _ in range(50)))
    assert len({seed.id for seed in made}) == 1
    assert {seed.version for seed in made} == {1}


async def test_a_seed_is_nobodys_to_make_or_to_make_private(user):
    with pytest.raises(UnitOfWorkError, match="upsert_seed on ControlSetRepository"):
        await ControlSetRepository().for_user(user.id).upsert_seed(**SEED)
    seed = await ControlSetRepository().upsert_seed(**SEED)
    with pytest.raises(InvalidInputError):
        await ControlSetRepository().update(seed.id, ControlSetPatch(is_public=False))


async def test_public_sets_of_deleted_users_may_share_a_name_with_a_seed(store):
    await ControlSetRepository().upsert_seed(**SEED)
    for _ in range(2):
        owner = await UserRepository().create()
        await new_control_set("seed", is_public=True, user_id=owner.id)
        await UserRepository().delete(owner.id)
    assert len(await ControlSetRepository().list_by_site("plasmodb")) == 3


async def test_pages_merge_public_and_own_sets_and_read_no_genes(user, stranger):
    for number in range(30):
        owner = (user, stranger, None)[number % 3]
        await new_control_set(
            f"s{number}",
            is_public=number % 2 == 0,
            user_id=owner.id if owner else None,
            tags=[f"t{number % 5}"],
            positive_ids=["a"] * number,
        )
    for given in ({"user_id": user.id}, {}, {"user_id": user.id, "tags": ["t1", "t2"]}):
        expected = [(item.id, item.name) for item in await ControlSetRepository().list_by_site("plasmodb", **given)]
        found, cursor = [], None
        while True:
            with recorded() as sent:
                page = await ControlSetRepository().page_by_site("plasmodb", **given, cursor=cursor, limit=4)
            assert len(sent) == 1
            assert "positive_ids" not in sent[0]
            found += [(item.id, item.name) for item in page.items]
            assert all(item.positive_count == int(item.name[1:]) for item in page.items)
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == expected


async def test_sets_are_found_by_any_or_all_of_several_genes(user, stranger):
    await new_control_set("both", positive_ids=["a", "b"], user_id=user.id)
    await new_control_set("negative", negative_ids=["a"], is_public=True)
    await new_control_set("split", positive_ids=["a"], negative_ids=["b"], user_id=user.id)
    await new_control_set("theirs", positive_ids=["a"], user_id=stranger.id)
    await new_control_set("none", positive_ids=["A"], user_id=user.id)

    async def found(genes, match=GeneMatch.ANY, repository=None, user_id=user.id):
        page = await (repository or ControlSetRepository()).page_containing("plasmodb", genes, user_id, match=match)
        return [item.name for item in page.items]

    assert await found(["a"]) == ["split", "negative", "both"]
    assert await found(["b", "zzz"]) == ["split", "both"]
    assert await found(["a", "b"], GeneMatch.ALL) == ["both"]
    assert await found(["a"], user_id=None) == ["negative"]
    assert await found(["a"], repository=ControlSetRepository().for_user(stranger.id), user_id=None) == [
        "theirs",
        "negative",
    ]
    assert await found(["a"], repository=ControlSetRepository().for_user(stranger.id)) == ["negative"]
    for genes, match in (([], GeneMatch.ANY), (["a"], "some")):
        with pytest.raises(InvalidInputError):
            await found(genes, match)
