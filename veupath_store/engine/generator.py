"""No table of the store is made from its model: that would lack the migrations' indexes, checks and triggers."""

from typing import Any

from tortoise.backends.asyncpg.schema_generator import AsyncpgSchemaGenerator
from tortoise.models import Model

from veupath_store.errors import ConfigurationError
from veupath_store.schema.names import APP


class StoreSchemaGenerator(AsyncpgSchemaGenerator):
    """What ``generate_schemas``, and aerich's first migration of an app, make: the application's own tables only."""

    def _get_models_to_create(self) -> list[type[Model]]:
        models = super()._get_models_to_create()
        return [model for model in models if model._meta.app != APP] or models

    def _get_table_sql(self, model: type[Model], safe: bool = True) -> dict[str, Any]:
        table: dict[str, Any] = super()._get_table_sql(model, safe)
        # Of what it refers to only that comes first which is made here; the store's tables are there.
        table["references"] &= {other._meta.db_table for other in self._get_models_to_create()}
        return table

    async def generate_from_string(self, creation_string: str) -> None:
        """Make the tables.

        Raises:
            ConfigurationError: There are no models but the store's.
        """
        if any(model._meta.app == APP for model in self._get_models_to_create()):
            raise ConfigurationError(
                "generate_schemas would make the store's tables without their indexes, checks and triggers: leave it "
                "out, and run 'veupath-store migrate', or call init_db(create_schema=True) in development."
            )
        await super().generate_from_string(creation_string)
