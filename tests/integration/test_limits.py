"""Limits are options: in force as soon as the store is made."""

import pytest

from veupath_store import (
    ControlSetRepository,
    InvalidInputError,
    StoreSettings,
    StreamRepository,
    UserRepository,
    close_db,
    init_db,
    limits,
)


@pytest.fixture
async def small(database_url, monkeypatch):
    monkeypatch.setenv("VEUPATH_STORE_LIMIT_GENE_IDS", "3")
    settings = StoreSettings(database_url=database_url, limit_document_bytes=1_024, limit_tags=1, limit_plan_depth=2)
    await init_db(settings=settings)
    yield
    await close_db()
    limits.use(limits.LimitOptions())


def control_set(**given):
    genes = {"positive_ids": [], "negative_ids": []}
    return ControlSetRepository().create(**{"name": "n", "site_id": "s", "record_type": "t", **genes, **given})


async def test_smaller_limits_refuse_what_the_defaults_take(small):
    await control_set(positive_ids=["a", "b", "c"], tags=["one"])
    for path, given in (("positive_ids", {"positive_ids": list("abcd")}), ("tags", {"tags": ["one", "two"]})):
        with pytest.raises(InvalidInputError) as caught:
            await control_set(**given)
        assert caught.value.path == path
    user = await UserRepository().create()
    stream = await StreamRepository().create(user.id, "plasmodb")
    deep = {"root": {"primaryInput": {"primaryInput": {}}}}
    for plan in ({"x": "y" * 1_100}, deep):
        with pytest.raises(InvalidInputError):
            await StreamRepository().update_projection(stream.id, plan=plan)
    await StreamRepository().update_projection(stream.id, plan={"root": {"primaryInput": {}}})


def test_the_defaults_admit_a_hundred_thousand_genes():
    assert limits.GENE_IDS >= 100_000
