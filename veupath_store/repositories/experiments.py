"""Experiments."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final
from uuid import UUID

from tortoise.models import Model

from veupath_store.documents.json import JsonInput, encode
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_experiment_id, integer, text
from veupath_store.models import ExperimentRow
from veupath_store.repositories.documents import DocumentRepository, DocumentSql
from veupath_store.repositories.pages import Key, Listing, Page
from veupath_store.values import DocumentSave, ExperimentSave, ExperimentSummary

_SQL: Final = DocumentSql("experiments", ExperimentSave.columns(), touched="updated_at")
# No queryset says `||`, and a Tortoise UPDATE returns no row.
_PATCH: Final = (
    f"UPDATE experiments SET data = data || $4::jsonb, {_SQL.raised} "
    "WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) AND ($3::integer IS NULL OR version = $3) RETURNING version"
)


_Listing: Final = partial(
    Listing[ExperimentSummary],
    summary=ExperimentSummary,
    build=lambda user_id, **only: ExperimentRow.filter(user_id=user_id, **only),
)
_CREATED: Final = (Key("created_at", datetime), Key("id", UUID))
_RECENT: Final = _Listing(name="experiments", keys=(Key("updated_at", datetime), Key("id", UUID)))
_OF_BATCH: Final = _Listing(name="batch", keys=_CREATED, descending=False)
_OF_BENCHMARK: Final = _Listing(
    name="benchmark", keys=(Key("is_primary", bool, negated=True), *_CREATED), descending=False
)


class ExperimentRepository(DocumentRepository[ExperimentRow, ExperimentSave, ExperimentSummary]):
    """Reads and writes of experiments."""

    model: ClassVar[type[Model]] = ExperimentRow
    entity: ClassVar[str] = "experiment"
    sql: ClassVar[DocumentSql] = _SQL
    listing: ClassVar[Listing[Any]] = _RECENT
    save_type: ClassVar[type[DocumentSave]] = ExperimentSave

    async def save(
        self,
        experiment_id: UUID | str,
        *,
        user_id: UUID | str,
        site_id: str,
        name: str,
        status: str,
        data: Mapping[str, object],
        batch_id: str | None = None,
        benchmark_id: str | None = None,
        is_primary: bool = False,
        version: int = 0,
    ) -> int:
        """Save an experiment, new or known; return its new version. Raises what `write` does.

        A save writes all that is given here, and `updated_at`; never the owner or the time of creation. What the other
        arguments mean `ExperimentSummary` says.

        Args:
            experiment_id: Its id, the caller's own choice.
            data: The document, a JSON object: a dictionary.
            version: The version that the caller has seen: what its last save returned; 0 for a new experiment.
        """
        save = ExperimentSave(
            id=self._identity(experiment_id, "experiment_id"),
            user_id=user_id,
            site_id=site_id,
            name=name,
            status=status,
            data=data,
            batch_id=batch_id,
            benchmark_id=benchmark_id,
            is_primary=is_primary,
        )
        return await self.write(save, version=version)

    async def patch_field(
        self, experiment_id: UUID | str, field: str, value: JsonInput, *, version: int | None = None
    ) -> int:
        """Set one top-level field of the document; return the new version.

        Two patches of different fields at once both count, without a version too.

        Args:
            field: The field's name; it is made if need be.
            value: Its new value, any JSON.
            version: The version that the caller has seen; ``None`` to patch whatever is stored.

        Raises:
            StaleVersionError: The stored version is another one; nothing was changed.
        """
        identity = self._identity(experiment_id, "experiment_id")
        seen = None if version is None else integer(version, "version", 1, limits.INT32_MAX)
        key = text(field, "field", limits.DOCUMENT_FIELD)
        values = [identity, self._owner, seen, encode({key: value}, "data")]
        rows = await (await self._client()).execute_rows(_PATCH, values)
        if not rows:
            raise await self._refusal(identity)
        new: int = rows[0]["version"]
        return new

    async def page_by_batch(
        self, user_id: UUID | str, batch_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> "Page[ExperimentSummary]":
        """One page of the experiments of a batch, the oldest first."""
        batch = text(batch_id, "batch_id", limits.BATCH_ID)
        return await self._page(_OF_BATCH, cursor, limit, user_id, batch_id=batch)

    async def page_by_benchmark(
        self, user_id: UUID | str, benchmark_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> "Page[ExperimentSummary]":
        """One page of the experiments of a benchmark, the primary ones first, then the oldest first."""
        benchmark = text(benchmark_id, "benchmark_id", limits.BATCH_ID)
        return await self._page(_OF_BENCHMARK, cursor, limit, user_id, benchmark_id=benchmark)

    @classmethod
    def _identity(cls, value: object, path: str = "id") -> UUID:
        return as_experiment_id(value, path)
