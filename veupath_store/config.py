"""`StoreSettings`: every option of the store, with its unit and its default, in one place."""

import difflib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_settings import BaseSettings, SettingsConfigDict

from veupath_store.errors import ConfigurationError
from veupath_store.schema.names import APP, CONNECTION
from veupath_store.servers.database_url import HOW_TO_SET, DatabaseTarget, parse_database_url
from veupath_store.servers.redis_url import AskPassword, RedisTarget, parse_redis_url

ENV_PREFIX: Final = "VEUPATH_STORE_"
logger: logging.Logger = logging.getLogger("veupath_store.config")

MODEL_MODULES: Final = ("veupath_store.models", "aerich.models")

_URL_FIELDS: Final = {
    "database_url": "DATABASE_URL",
    "migration_database_url": "MIGRATION_DATABASE_URL",
    "redis_url": "REDIS_URL",
}

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class StoreSettings(BaseSettings):
    """How to reach the database and the event log, and how long to wait.

    Every field is read from the environment: ``DATABASE_URL``, ``MIGRATION_DATABASE_URL`` and ``REDIS_URL`` by these
    names, all others with the prefix ``VEUPATH_STORE_`` (``VEUPATH_STORE_POOL_MAX_SIZE=20``). An empty variable is as
    if it were not set. Keyword arguments win over the environment. ``repr`` never shows a password. A variable with the
    prefix that is no option is warned of in the log: it may be a newer version's.

    Raises:
        ConfigurationError: A value is missing or wrong, or a variable with the prefix is a misspelt option. The message
            names the variable and says what to set.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        frozen=True,
        env_ignore_empty=True,
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
    """``redis://…``, ``rediss://…``, ``redis+sentinel://…`` or ``unix://…`` for the Redis that holds the event log,
    ``embedded:PATH`` for the embedded one. Without it, or with empty text, there is no log, and repositories write
    directly."""

    redis_password: SkipJsonSchema[AskPassword | None] = Field(default=None, exclude=True)
    """A function without arguments that gives the password for Redis, or something to await that does, for each new
    connection: a token, or a secret that rotates. Instead of the URL's; no variable of the environment sets it."""

    log_prefix: Annotated[str, Field(max_length=50, pattern="^[A-Za-z0-9_:.-]*$")] = ""
    """What stands before every key of the log, for a Redis that others use as well: ``pathfinder:``."""

    log_timeout: Seconds = 5.0
    """Seconds that one call to the event log may take, the making of a connection included."""

    catch_up: bool = True
    """Whether this process writes to the log, soon after each commit, what that has changed. Where it does not, a
    process that runs `ProjectionWorker` does."""

    pool_min_size: Annotated[int, Field(ge=0, le=1_000)] = 1
    """Connections that are kept open, once opened."""

    pool_max_size: Annotated[int, Field(ge=1, le=1_000)] = 10
    """Connections that this process may hold at most."""

    connect_timeout: Seconds = 5.0
    """Seconds that a host has to accept a connection; the next is tried beside it after a quarter of a second. Where
    it is not set, the ``connect_timeout`` of the URL counts."""

    acquire_timeout: Seconds = 10.0
    """Seconds to wait for a free connection, a new connection's making included, also where a connection limit of the
    server leaves fewer than `pool_max_size`."""

    command_timeout: Seconds = 12.0
    """Seconds that the client waits for the answer to one statement: what a hung server costs. Also ends a wait for a
    synchronous standby, which no server timeout does. Keep it above `statement_timeout`."""

    statement_timeout: Seconds = 10.0
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
        _refuse_misspelt_variables()
        try:
            super().__init__(**values)
        except ValidationError as exc:
            # Not as its cause: its errors() hold what was given, the password included.
            raise ConfigurationError(_readable(exc)) from None

    @field_validator("redis_password", mode="before")
    @classmethod
    def _check_password(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError("a password stands in REDIS_URL; this is a function that gives one, from code")
        return value

    @model_validator(mode="after")
    def _check(self) -> "StoreSettings":
        if not self.database_url.get_secret_value().strip():
            raise ValueError(f"DATABASE_URL is not set. {HOW_TO_SET}")
        for field, variable in _URL_FIELDS.items():
            url: SecretStr | None = getattr(self, field)
            if url is not None:
                try:
                    _parsed(field, url)
                except ValueError as exc:
                    raise ValueError(f"{variable} cannot be used: {exc}") from exc
        # Not as an attribute: settings are frozen.
        self.__dict__["connect_timeout"] = self._connect_timeout(self.database_url)
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
        target: RedisTarget | None = _parsed("redis_url", self.redis_url) if self.redis_url is not None else None
        return target and replace(target, ask_password=self.redis_password)

    def _connect_timeout(self, url: SecretStr) -> float:
        """The variable's; where there is none, that of the URL."""
        given = None if "connect_timeout" in self.model_fields_set else _parsed("database_url", url).connect_timeout
        return given or self.connect_timeout

    def for_migrations(self) -> "StoreSettings":
        """The same settings for one direct connection with patience: no statement timeout, a short lock timeout.

        Returns:
            Settings for `migrate`.
        """
        url = self.migration_database_url or self.database_url
        return self.model_copy(
            update={
                "database_url": url,
                "connect_timeout": self._connect_timeout(url),
                "pgbouncer": self.pgbouncer and self.migration_database_url is None,
                "pool_min_size": 0,
                "pool_max_size": 1,
                "command_timeout": 86_400.0,
                "statement_timeout": 86_400.0,
                "lock_timeout": self.migration_lock_timeout,
            }
        )

    def tortoise_orm(
        self, *, apps: Mapping[str, Any] | None = None, connections: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The configuration for ``Tortoise.init``, ``register_tortoise`` and aerich.

        Args:
            apps: The application's own apps, as Tortoise takes them: ``{"notes": {"models": ["notes.models"]}}``. Where
                one names no ``default_connection`` its tables are in the store's database.
            connections: Other connections of theirs, as Tortoise takes them.

        Returns:
            A new dictionary. It holds these settings, not a URL: nothing is connected or started by making it.

        Raises:
            ConfigurationError: An app or a connection has the store's name.
        """
        _refuse_taken("app", APP, apps)
        _refuse_taken("connection", CONNECTION, connections)
        return {
            "connections": {
                CONNECTION: {"engine": "veupath_store.engine", "credentials": {"settings": self}},
                **(connections or {}),
            },
            "apps": {APP: {"models": list(MODEL_MODULES), "default_connection": CONNECTION}, **(apps or {})},
            "use_tz": True,
            "timezone": "UTC",
        }


def _refuse_taken(what: str, name: str, given: Mapping[str, Any] | None) -> None:
    if name in (given or {}):
        raise ConfigurationError(f"The {what} {name!r} is the store's: give yours another name.")


def _parsed(field: str, url: SecretStr) -> Any:  # noqa: ANN401 - of either kind
    """What a URL says; of an empty `REDIS_URL`, nothing."""
    text = url.get_secret_value()
    if field == "redis_url":
        return parse_redis_url(text) if text.strip() else None
    return parse_database_url(text)


def unknown_variables() -> list[str]:
    """Variables with the prefix that are no option: a newer version's, or a mistake.

    What Kubernetes (and Docker, for a link) puts there about a service of the store's name is neither.
    """
    prefixed = [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]
    return sorted(
        name for name in prefixed if _option(name) not in _options() and not _OF_A_SERVICE.search(_option(name))
    )


def _option(name: str) -> str:
    return name.upper().removeprefix(ENV_PREFIX)


def _options() -> set[str]:
    """The options that a variable with the prefix sets: not the URLs, nor what only code gives."""
    return {field.upper() for field in StoreSettings.model_fields.keys() - {*_URL_FIELDS, "redis_password"}}


# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_OF_A_SERVICE: Final = re.compile(
    r"(^|_)(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$"
)

_ALIKE: Final = 0.9
"""How alike (`difflib`) a misspelt name is, at least: COMAND_TIMEOUT has 0.97, the nearest name of another option
that anybody thought of (IO_TIMEOUT, of LOG_TIMEOUT) 0.86."""


def _refuse_misspelt_variables() -> None:
    """A variable that is not read is an option that someone believes to be set."""
    for name in unknown_variables():
        meant = _meant(_option(name))
        if meant is not None:
            right = meant if meant in _URL_FIELDS.values() else f"{ENV_PREFIX}{meant}"
            raise ConfigurationError(f"{name} is no option of the store. Did you mean {right}?")
        logger.warning("%s is no option of this version of the store, and is ignored.", name)


def _meant(option: str) -> str | None:
    """The option that this is a misspelling of, or some of whose words it has: POOL_SIZE, of POOL_MIN_SIZE."""
    # The URLs first: they are read under their own names only.
    known = [*_URL_FIELDS.values(), *sorted(_options())]
    words = set(option.split("_"))
    alike = difflib.get_close_matches(option, known, n=1, cutoff=_ALIKE)
    return next(iter([*alike, *(name for name in known if len(words) > 1 and words <= set(name.split("_")))]), None)


def _readable(error: ValidationError) -> str:
    """One line for each mistake, named by its variable, without the value."""
    lines = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        message = item["msg"].removeprefix("Value error, ")
        name = str(item["loc"][0]) if item["loc"] else ""
        variable = _URL_FIELDS.get(name, name if name in _URL_FIELDS.values() else f"{ENV_PREFIX}{name.upper()}")
        lines.append(f"{variable}: {message}" if name else message)
    return "\n".join(lines)
