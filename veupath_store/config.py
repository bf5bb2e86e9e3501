"""`StoreSettings`: every option of the store, with its unit and its default, in one place."""

import difflib
import os
from collections.abc import Iterable
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from veupath_store.database_url import HOW_TO_SET, DatabaseTarget, parse_database_url
from veupath_store.errors import ConfigurationError
from veupath_store.limits import LimitOptions
from veupath_store.redis_url import RedisTarget, parse_redis_url

APP: Final = "store"
CONNECTION: Final = "default"
ENV_PREFIX: Final = "VEUPATH_STORE_"
MODEL_MODULES: Final = ("veupath_store.models", "aerich.models")

_URL_FIELDS: Final = {
    "database_url": "DATABASE_URL",
    "migration_database_url": "MIGRATION_DATABASE_URL",
    "redis_url": "REDIS_URL",
}

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
PoolSize = Annotated[int, Field(ge=1, le=1_000)]


class StoreSettings(LimitOptions, BaseSettings):
    """How to reach the database and the event log, how long to wait, and (`LimitOptions`) how much one value may hold.

    Every field is read from the environment: ``DATABASE_URL``, ``MIGRATION_DATABASE_URL`` and ``REDIS_URL`` by these
    names, all others with the prefix ``VEUPATH_STORE_`` (``VEUPATH_STORE_POOL_MAX_SIZE=20``). Keyword arguments win
    over the environment. ``repr`` never shows a password.

    Raises:
        ConfigurationError: A value is missing or wrong, or a variable with the prefix is none of these. The message
            names the variable and says what to set.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        hide_input_in_errors=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
    )

    database_url: SecretStr = Field(default=SecretStr(""), validation_alias="DATABASE_URL")
    """``postgresql://…`` for a running server, ``embedded:PATH`` for the embedded one. There is no default."""

    migration_database_url: SecretStr | None = Field(default=None, validation_alias="MIGRATION_DATABASE_URL")
    """A direct URL for migrations where `database_url` goes through PgBouncer. Default: `database_url`."""

    redis_url: SecretStr | None = Field(default=None, validation_alias="REDIS_URL")
    """``redis://…``, ``rediss://…`` or ``unix://…`` for the Redis that holds the event log, ``embedded:PATH`` for the
    embedded one. Without it, or with empty text, there is no log, and repositories write directly."""

    log_prefix: Annotated[str, Field(max_length=50, pattern="^[A-Za-z0-9_:.-]*$")] = ""
    """What stands before every key of the log, for a Redis that others use as well: ``pathfinder:``."""

    log_timeout: Seconds = 5.0
    """Seconds that one call to the event log may take, the making of a connection included."""

    pool_min_size: Annotated[int, Field(ge=0, le=1_000)] = 1
    """Connections that are kept open, once opened."""

    pool_max_size: PoolSize = 10
    """Connections that this process may hold at most."""

    connect_timeout: Seconds = 5.0
    """Seconds that one host has to accept a connection before the next host is tried."""

    acquire_timeout: Seconds = 10.0
    """Seconds to wait for a free connection, a new connection's making included."""

    command_timeout: Seconds = 60.0
    """Seconds that the client waits for the answer to one statement. Also ends a wait for a synchronous standby,
    which no server timeout does. Keep it above `statement_timeout`."""

    statement_timeout: Seconds = 30.0
    """Seconds after which the server cancels one statement."""

    lock_timeout: Seconds = 5.0
    """Seconds after which the server gives up waiting for a lock."""

    idle_in_transaction_timeout: Seconds = 60.0
    """Seconds after which the server ends a connection that sits in a transaction and does nothing."""

    release_timeout: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 0.5
    """Seconds that a connection has to roll back and reset, where it needs that, when it is given back. A slower one is
    closed."""

    close_timeout: Seconds = 10.0
    """Seconds that `close_db` waits for work in flight before it closes the connections under it."""

    pgbouncer: bool = False
    """Set when a PgBouncer in transaction mode stands in between: no prepared statements, no session settings;
    the server's timeouts are set in each transaction instead."""

    require_head: bool = True
    """Whether `init_db` refuses a database that lacks a migration which this version needs to start."""

    migration_lock_timeout: Seconds = 2.0
    """Seconds that a migration waits for a table's lock before it steps back and tries again."""

    migration_attempts: Annotated[int, Field(ge=1, le=1_000)] = 30
    """How often a migration that could not get a lock is tried."""

    migration_wait: Seconds = 300.0
    """Seconds to wait for another process that is migrating the same database."""

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - pydantic's own signature
        _refuse_misspelt_variables(type(self).model_fields)
        try:
            super().__init__(**values)
        except ValidationError as exc:
            # Not as its cause: its errors() hold what was given, the password included.
            raise ConfigurationError(_readable(exc)) from None

    @model_validator(mode="after")
    def _check(self) -> "StoreSettings":
        if not self.database_url.get_secret_value():
            raise ValueError(f"DATABASE_URL is not set. {HOW_TO_SET}")
        for field, variable in _URL_FIELDS.items():
            url: SecretStr | None = getattr(self, field)
            if url is not None:
                try:
                    _parsed(field, url)
                except ValueError as exc:
                    raise ValueError(f"{variable} cannot be used: {exc}") from exc
        log = self.log_target
        if log is not None and log.embedded is not None and log.embedded == self.target.embedded:
            raise ValueError("REDIS_URL cannot be used: its directory is DATABASE_URL's; each server needs its own")
        if self.pool_min_size > self.pool_max_size:
            raise ValueError(
                f"{ENV_PREFIX}POOL_MIN_SIZE ({self.pool_min_size}) must not be above "
                f"{ENV_PREFIX}POOL_MAX_SIZE ({self.pool_max_size})"
            )
        return self

    @property
    def target(self) -> DatabaseTarget:
        """Where the application's connections go."""
        return parse_database_url(self.database_url.get_secret_value())

    @property
    def log_target(self) -> RedisTarget | None:
        """Where the event log is; ``None`` where there is none."""
        return _parsed("redis_url", self.redis_url) if self.redis_url is not None else None

    def for_migrations(self) -> "StoreSettings":
        """The same settings for one direct connection with patience: no statement timeout, a short lock timeout.

        Returns:
            Settings for `migrate`.
        """
        return self.model_copy(
            update={
                "database_url": self.migration_database_url or self.database_url,
                "pgbouncer": self.pgbouncer and self.migration_database_url is None,
                "pool_min_size": 0,
                "pool_max_size": 1,
                "command_timeout": 86_400.0,
                "statement_timeout": 86_400.0,
                "lock_timeout": self.migration_lock_timeout,
            }
        )

    def tortoise_orm(self) -> dict[str, Any]:
        """The configuration for ``Tortoise.init``, ``register_tortoise`` and aerich.

        Returns:
            A new dictionary. It holds these settings, not a URL: nothing is connected or started by making it.
        """
        return {
            "connections": {CONNECTION: {"engine": "veupath_store.engine", "credentials": {"settings": self}}},
            "apps": {APP: {"models": list(MODEL_MODULES), "default_connection": CONNECTION}},
            "use_tz": True,
            "timezone": "UTC",
        }


def _parsed(field: str, url: SecretStr) -> Any:  # noqa: ANN401 - of either kind
    """What a URL says; of an empty `REDIS_URL`, nothing."""
    text = url.get_secret_value()
    if field == "redis_url":
        return parse_redis_url(text) if text.strip() else None
    return parse_database_url(text)


def _refuse_misspelt_variables(fields: Iterable[str]) -> None:
    """A variable that nobody reads is an option that somebody believes to be set."""
    known = {field.upper() for field in fields} - {field.upper() for field in _URL_FIELDS}
    for name in os.environ:
        option = name.upper().removeprefix(ENV_PREFIX)
        if option == name.upper() or option in known:
            continue
        # The URLs first: they are read under their own names only.
        near = difflib.get_close_matches(option, [*_URL_FIELDS.values(), *sorted(known)], n=1)
        right = "".join(f" Did you mean {'' if it in _URL_FIELDS.values() else ENV_PREFIX}{it}?" for it in near)
        raise ConfigurationError(f"{name} is no option of the store.{right}")


def _readable(error: ValidationError) -> str:
    """One line for each mistake, named by its variable, without the value."""
    lines = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        message = item["msg"].removeprefix("Value error, ")
        name = str(item["loc"][0]) if item["loc"] else ""
        variable = _URL_FIELDS.get(name, name if name in _URL_FIELDS.values() else f"{ENV_PREFIX}{name.upper()}")
        lines.append(f"{variable}: {message}" if name else message)
    return "\n".join(lines)
