"""No error, no cause and no log line shows what is stored, or a password."""

import logging
import traceback
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


async def _conflict() -> None:
    await UserRepository().create(SECRET)


async def _missing_user() -> None:
    await StreamRepository().create(SECRET_ID, "plasmodb", name=SECRET)


async def _raw_insert(value: object, column: str = "external_id") -> None:
    async with async_session_factory() as session:
        await session.client.execute_query(f"INSERT INTO users (id, {column}) VALUES (gen_random_uuid(), $1)", [value])


async def _too_long() -> None:
    await _raw_insert(SECRET * 20)


async def _wrong_type() -> None:
    await _raw_insert(SECRET, "created_at")


async def _bad_uuid() -> None:
    async with async_session_factory() as session:
        await session.client.execute_rows("SELECT * FROM users WHERE id = $1", [SECRET])


async def _bad_cast() -> None:
    async with async_session_factory() as session:
        await session.client.execute_rows("SELECT $1::text::int", [SECRET])


async def _bad_json() -> None:
    async with async_session_factory() as session:
        await session.client.execute_rows("SELECT $1::text::jsonb", [f"{{{SECRET}"])


async def _null_beside_a_value() -> None:
    async with async_session_factory() as session:
        await session.client.execute_rows("INSERT INTO users (id, external_id) VALUES (NULL, $1)", [SECRET])


async def _failed_commit() -> None:
    await UserRepository().create(f"refused {SECRET}")


_REFUSED = {
    _conflict: ConflictError,
    _missing_user: NotFoundError,
    _too_long: InvalidInputError,
    _wrong_type: InvalidInputError,
    _bad_uuid: InvalidInputError,
    _bad_cast: InvalidInputError,
    _bad_json: InvalidInputError,
    _null_beside_a_value: InvalidInputError,
    _failed_commit: ConflictError,
}


async def test_neither_errors_nor_debug_logs_show_a_stored_value(store, watcher, logs):
    await faults.check_at_commit(watcher)
    await UserRepository().create(SECRET)
    for provoke, expected in _REFUSED.items():
        with pytest.raises(StoreError) as caught:
            await provoke()
        assert type(caught.value) is expected, provoke.__name__
        assert caught.value.__cause__ is not None
        assert SECRET not in shown(caught.value), provoke.__name__
        assert str(SECRET_ID) not in shown(caught.value), provoke.__name__
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
