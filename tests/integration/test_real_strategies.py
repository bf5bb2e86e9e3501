"""The real strategies: stored, renamed, listed, dismissed, restored and read back equal, with their control sets."""

import asyncio

from veupath_store import ControlSetRepository, StreamRepository, async_session_factory

SET = ("name", "positive_ids", "negative_ids", "tags")


async def stored(user, strategies):
    """Each strategy in a unit of work of its own, all at once."""

    async def store(strategy):
        site, record_type = strategy["site_id"], strategy["record_type"]
        control = {field: strategy["control_set"][field] for field in SET}
        async with async_session_factory() as session:
            streams, sets = StreamRepository(session), ControlSetRepository(session)
            stream = await streams.create(user.id, site, name=strategy["name"])
            await streams.update_projection(stream.id, plan=strategy["plan"], record_type=record_type)
            control_set = await sets.create(site_id=site, record_type=record_type, user_id=user.id, **control)
        return stream.id, control_set.id

    return await asyncio.gather(*map(store, strategies))


def nodes(node):
    """Written for the test, recursively, to check the package's own walk."""
    if node is None:
        return []
    return [*nodes(node.get("primaryInput")), *nodes(node.get("secondaryInput")), node]


async def test_they_read_back_equal_with_derived_steps(user, strategies):
    for (stream_id, set_id), strategy in zip(await stored(user, strategies), strategies, strict=True):
        found = await StreamRepository().get_projection(stream_id)
        expected = nodes(strategy["plan"]["root"])
        assert found.plan == strategy["plan"]
        assert found.record_type == strategy["record_type"]
        assert [step["id"] for step in found.steps] == [node["id"] for node in expected]
        assert found.step_count == sum(1 for node in expected if node.get("searchName"))
        assert found.root_step_id == strategy["plan"]["root"]["id"]
        control_set = await ControlSetRepository().get_by_id(set_id)
        assert {field: getattr(control_set, field) for field in SET}.items() <= strategy["control_set"].items()
