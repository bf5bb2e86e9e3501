"""One database for all tests of a module, emptied before each: a tenth of the time of a new one.

A test that changes more than rows is marked ``own_database``.
"""

import pytest

from tests.support.faults import emptied


@pytest.fixture
def shared(request):
    """The URL of the module's database, or ``None`` for a test that gets its own."""
    if request.node.get_closest_marker("own_database"):
        return None
    return request.getfixturevalue("shared_url")


@pytest.fixture
async def database_url(shared, server, template):
    """The URL of a migrated, empty database."""
    if shared is not None:
        yield await emptied(shared)
        return
    async with server.database(template) as url:
        yield url
