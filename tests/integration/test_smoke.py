from veupath_store import StreamRepository


async def test_smoke(user):
    s = await StreamRepository().create(user.id, "plasmodb")
    assert s.projection.name == "New Conversation"
