"""Experiments: saves with versions, reads of many, pages, and patches of one field."""

import asyncio
from functools import partial
from uuid import UUID, uuid4

import pytest

from tests.support.calls import all_items, refusal
from tests.support.documents import experiment, new_experiment, new_gene_set
from tests.support.statements import recorded
from veupath_store.errors import InvalidInputError, NotFoundError, StaleVersionError
from veupath_store.inputs import limits
from veupath_store.repositories import ExperimentRepository, GeneSetRepository
from veupath_store.session import async_session_factory


async def test_a_saved_experiment_reads_back_and_each_save_raises_the_version(user):
    repository, identity = ExperimentRepository(), uuid4()
    document = {"metrics": {"f1": 0.5, "deep": [{"a": None, "b": ["ü", 2**63]}]}, "genes": []}
    belongs = {"batch_id": "b1", "benchmark_id": "m1", "is_primary": True}
    with recorded(exactly=20):
        assert await repository.save(str(identity), **experiment(user, data=document, **belongs)) == 1
        first = await repository.get_by_id(identity)
        for version in range(1, 19):
            document["step"] = version
            given = experiment(user, name="", status="done", data=document)
            assert await repository.save(identity, **given, version=version) == version + 1
    read = await repository.get_by_id(identity)
    assert isinstance(read.id, UUID)
    assert (first.batch_id, first.benchmark_id, first.is_primary, first.version) == ("b1", "m1", True, 1)
    assert (read.batch_id, read.benchmark_id, read.is_primary, read.version) == (None, None, False, 19)
    assert (read.user_id, read.site_id, read.name, read.status) == (user.id, "plasmodb", "", "done")
    assert read.data == {**document, "step": 18}


async def test_a_save_moves_updated_at_and_keeps_the_creation_and_the_owner(user, stranger):
    repository, identity = ExperimentRepository(), uuid4()
    await repository.save(identity, **experiment(user))
    first = await repository.get_by_id(identity)
    assert first.created_at == first.updated_at
    # A transaction that began before another save and saves after it.
    async with async_session_factory() as session:
        await ExperimentRepository(session).get_by_id(identity)
        await repository.save(identity, **experiment(user), version=1)
        between = await repository.get_by_id(identity)
        await ExperimentRepository(session).save(identity, **experiment(user), version=2)
    last = await repository.get_by_id(identity)
    assert first.updated_at < between.updated_at < last.updated_at
    await refusal(NotFoundError, repository.save(identity, **experiment(stranger), version=3))
    patched = await repository.patch_field(identity, "x", 1)
    final = await repository.get_by_id(identity)
    assert (final.created_at, final.user_id, final.version) == (first.created_at, user.id, patched)
    assert final.updated_at > last.updated_at


async def test_a_stale_save_is_a_conflict_that_changes_nothing_and_leaves_the_session_usable(user):
    identity = await new_experiment(user, name="kept")
    async with async_session_factory() as session:
        repository = ExperimentRepository(session)
        for version in (0, 2, 7):
            await refusal(
                StaleVersionError, repository.save(identity, **experiment(user, name="lost"), version=version)
            )
        assert await repository.save(identity, **experiment(user, name="new"), version=1) == 2
    row = await ExperimentRepository().get_by_id(identity)
    assert (row.name, row.version) == ("new", 2)


async def test_a_version_that_never_was_and_an_unknown_owner_are_not_found(user):
    save = ExperimentRepository().save
    assert (await refusal(NotFoundError, save(uuid4(), **experiment(user), version=3))).entity == "experiment"
    unknown = experiment(user) | {"user_id": uuid4()}
    assert (await refusal(NotFoundError, save(uuid4(), **unknown))).entity == "user"


EACH_KIND = pytest.mark.parametrize(
    ("kind", "new", "document"),
    [
        (ExperimentRepository, new_experiment, ("data", {"n": 0})),
        (GeneSetRepository, new_gene_set, ("gene_ids", ["PF3D7_1343700"])),
    ],
    ids=["experiments", "gene sets"],
)


@EACH_KIND
async def test_many_are_read_in_the_asked_order_in_one_statement(user, stranger, kind, new, document):
    ids = [await new(user, name=str(number)) for number in range(5)]
    foreign = await new(stranger)
    asked = [ids[3], uuid4(), str(ids[0]), foreign, ids[4], ids[3]]
    found = await kind().get_many(asked, user_id=user.id)
    assert [row.id for row in found] == [ids[3], ids[0], ids[4]]
    assert getattr(found[0], document[0]) == document[1]
    assert await kind().get_many([], user_id=user.id) == []


@EACH_KIND
async def test_all_are_read_with_their_documents_some_at_a_time(user, stranger, monkeypatch, kind, new, document):
    monkeypatch.setattr(limits, "DOCUMENTS", 3)
    ids = [await new(user, site_id=("plasmodb", "toxodb")[number % 2]) for number in range(7)]
    await new(stranger)
    repository = kind()
    with recorded(exactly=3):
        found = [row async for row in repository.iterate(user.id)]
    assert [row.id for row in found] == ids[::-1]
    assert [getattr(row, document[0]) for row in found] == [document[1]] * 7
    assert [row.id async for row in repository.iterate(user.id, "toxodb")] == [ids[5], ids[3], ids[1]]
    async with async_session_factory() as session:
        assert [row.id async for row in kind(session).iterate(user.id)] == ids[::-1]


async def test_an_iteration_that_ends_at_a_full_read_asks_no_more(user, monkeypatch):
    monkeypatch.setattr(limits, "DOCUMENTS", 2)
    for expected, reads in ((0, 1), (2, 1), (3, 2)):
        while len([row async for row in ExperimentRepository().iterate(user.id)]) < expected:
            await new_experiment(user)
        with recorded(exactly=reads):
            assert len([row async for row in ExperimentRepository().iterate(user.id)]) == expected


async def test_summaries_come_last_saved_first_without_the_document(user, stranger):
    ids = [await new_experiment(user, site_id=("plasmodb", "toxodb")[number % 2]) for number in range(7)]
    await new_experiment(stranger)
    await ExperimentRepository().save(ids[0], **experiment(user), version=1)
    order = [ids[0], *reversed(ids[1:])]
    repository = ExperimentRepository()
    for limit in (1, 3, 7, 100):
        found = await all_items(partial(repository.page_summaries, user.id), limit)
        assert [item.id for item in found] == order
    assert [item.id async for item in repository.iterate_summaries(user.id)] == order
    on_site = await repository.page_summaries(user.id, "toxodb")
    assert [item.id for item in on_site.items] == [ids[5], ids[3], ids[1]]
    with recorded(exactly=1) as sent:
        await repository.page_summaries(user.id)
    assert "data" not in sent[0]
    assert "*" not in sent[0]


async def test_a_benchmark_lists_its_primary_first_and_then_the_oldest(user):
    ids = [
        await new_experiment(user, benchmark_id="m", batch_id="b", is_primary=number in (4, 6)) for number in range(9)
    ]
    await new_experiment(user, benchmark_id="other", batch_id="other")
    repository = ExperimentRepository()
    expected = [ids[4], ids[6], *(identity for number, identity in enumerate(ids) if number not in (4, 6))]
    for limit in (1, 2, 3, 9):
        found = await all_items(partial(repository.page_by_benchmark, user.id, "m"), limit)
        assert [item.id for item in found] == expected
        found = await all_items(partial(repository.page_by_batch, user.id, "b"), limit)
        assert [item.id for item in found] == ids
    assert found[4].is_primary


async def test_a_patch_of_a_stale_version_or_of_nothing_is_refused(user):
    repository, identity = ExperimentRepository(), await new_experiment(user)
    await refusal(StaleVersionError, repository.patch_field(identity, "n", 1, version=2))
    await refusal(NotFoundError, repository.patch_field(uuid4(), "n", 1))
    for field, value, path in [("", 1, "field"), ("n\x00", 1, "field"), ("n", {"x": float("inf")}, "data.n.x")]:
        assert (await refusal(InvalidInputError, repository.patch_field(identity, field, value))).path == path
    row = await repository.get_by_id(identity)
    assert (row.data, row.version) == ({"n": 0}, 1)


async def test_fifty_patches_of_different_fields_all_count(user):
    repository, identity = ExperimentRepository(), await new_experiment(user)
    with recorded(exactly=50):
        versions = await asyncio.gather(*(repository.patch_field(identity, f"f{n}", n) for n in range(50)))
    assert sorted(versions) == list(range(2, 52))
    assert (await repository.get_by_id(identity)).data == {"n": 0, **{f"f{n}": n for n in range(50)}}
