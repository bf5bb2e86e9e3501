"""No error, no cause and no log line shows what is stored, or a password."""

import logging
import traceback
from functools import partial
from uuid import UUID

import pytest

from tests.support import faults
from veupath_store import (
    ControlSetRepository,
    StoreSettings,
    StreamRepository,
    UserRepository,
    async_session_factory,
    init_db,
)
from veupath_store.errors import ConflictError, InvalidInputError, NotFoundError, StoreError, UnavailableError
from veupath_store.models import User

SECRET = "qfzzvxkw-stored-by-a-patient"
SECRET_ID = UUID("5ec2e75e-c2e7-4ec2-a75e-c2e75ec2e75e")


@pytest.fixture
def logs(caplog):
    """Everything that every logger says, at DEBUG."""
    for name in [None, *logging.root.manager.loggerDict]:
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def shown(error: BaseException) -> str:
    """All that a log with a traceback would show of an error, its causes and contexts."""
    return "".join(traceback.format_exception(error, limit=0)) + repr(error) + repr(error.__cause__)


_REFUSED = [
    ("INSERT INTO users (id, external_id) VALUES (gen_random_uuid(), $1)", SECRET * 20),
    ("INSERT INTO users (id, created_at) VALUES (gen_random_uuid(), $1)", SECRET),
    ("SELECT * FROM users WHERE id = $1", SECRET),
    ("SELECT $1::text::int", SECRET),
    ("SELECT $1::text::jsonb", f"{{{SECRET}"),
    ("INSERT INTO users (id, external_id) VALUES (NULL, $1)", SECRET),
]


async def _refused(sql: str, value: str) -> None:
    async with async_session_factory() as session:
        await session.client.execute_query(sql, [value])


async def test_neither_errors_nor_debug_logs_show_a_stored_value(store, watcher, logs):
    await faults.check_at_commit(watcher)
    await UserRepository().create(SECRET)
    for provoke, expected in (
        (partial(UserRepository().create, SECRET), ConflictError),
        (partial(UserRepository().create, f"refused {SECRET}"), ConflictError),
        (partial(StreamRepository().create, SECRET_ID, "plasmodb", name=SECRET), NotFoundError),
        *((partial(_refused, sql, value), InvalidInputError) for sql, value in _REFUSED),
    ):
        with pytest.raises(StoreError) as caught:
            await provoke()
        assert type(caught.value) is expected
        assert caught.value.__cause__ is not None
        assert SECRET not in shown(caught.value)
        assert str(SECRET_ID) not in shown(caught.value)
    await ControlSetRepository().create(
        name=SECRET, site_id="plasmodb", record_type="gene", positive_ids=[SECRET], negative_ids=[]
    )
    await User.filter(external_id=SECRET).first()
    with pytest.raises(UnavailableError):
        async with async_session_factory() as session, session.savepoint():
            await User.create(id=SECRET_ID, external_id=f"{SECRET} 2", using_db=session.client)
            await faults.kill_backends(watcher)
            await UserRepository(session).create(f"{SECRET} 3")
    assert "INSERT INTO" in logs.text, "statements are logged, or nothing was tested"
    assert SECRET not in logs.text
    assert str(SECRET_ID) not in logs.text


async def test_neither_errors_nor_debug_logs_show_the_password(logs):
    password = "hunter2-of-the-database"
    wrong = StoreSettings(database_url=f"postgresql://postgres:{password}@127.0.0.1:9/store")
    with pytest.raises(UnavailableError) as caught:
        await init_db(settings=wrong)
    assert password not in shown(caught.value) + repr(wrong) + str(wrong.tortoise_orm()) + repr(wrong.target)
    assert password not in logs.text


async def test_a_refused_role_shows_its_name_at_most(server, logs):
    target = server.target
    host, port = target.hosts[0]
    where = f"@/nowhere?host={host}" if host.startswith("/") else f"@{host}:{port}/nowhere"
    with pytest.raises(StoreError) as caught:
        await init_db(settings=StoreSettings(database_url=f"postgresql://nobody:{SECRET}{where}"))
    assert SECRET not in shown(caught.value) + logs.text
