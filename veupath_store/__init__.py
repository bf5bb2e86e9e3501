"""The persistence layer of PathFinder: Tortoise ORM, asyncpg and aerich on PostgreSQL.

await init_db()
async with async_session_factory() as session:
user = await UserRepository(session).get_or_create(user_id)
stream = await StreamRepository(session).for_user(user.id).create(user.id, "plasmodb", name="Kinases")
await close_db()
"""

from veupath_store.config import StoreSettings
from veupath_store.engine import start_detached
from veupath_store.errors import (
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    StoreError,
    UnavailableError,
    WriterFullError,
)
from veupath_store.repositories import (
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    StreamRepository,
    UserRepository,
)
from veupath_store.session import Session, async_session_factory, close_db, get_db_session, get_engine, init_db
from veupath_store.values import ExperimentSave, GeneSetSave
from veupath_store.writer import DocumentWriter

__all__ = [
    "ConfigurationError",
    "ConflictError",
    "ControlSetRepository",
    "DocumentWriter",
    "ExperimentRepository",
    "ExperimentSave",
    "GeneSetRepository",
    "GeneSetSave",
    "InvalidInputError",
    "NotFoundError",
    "OutcomeUnknownError",
    "Session",
    "StoreError",
    "StoreSettings",
    "StreamRepository",
    "UnavailableError",
    "UserRepository",
    "WriterFullError",
    "async_session_factory",
    "close_db",
    "get_db_session",
    "get_engine",
    "init_db",
    "start_detached",
]
