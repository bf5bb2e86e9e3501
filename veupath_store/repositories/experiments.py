"""Experiments."""

from typing import Any, Final
from uuid import UUID

from veupath_store import limits
from veupath_store.errors import NotFoundError, StaleVersionError
from veupath_store.json import Json, encode
from veupath_store.models import ExperimentRow
from veupath_store.repositories.documents import DocumentRepository, DocumentSql
from veupath_store.repositories.experiment_lists import ExperimentLists
from veupath_store.validation import integer, text
from veupath_store.values import ExperimentSave

_SQL: Final = DocumentSql("experiments", ExperimentSave.columns(), touched="updated_at")
_PATCH: Final = (
    f"UPDATE experiments SET data = data || $4::jsonb, {_SQL.raised} "
    "WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) AND ($3::integer IS NULL OR version = $3) RETURNING version"
)


class ExperimentRepository(ExperimentLists, DocumentRepository[ExperimentRow, ExperimentSave]):
    """Reads and writes of experiments."""

    model = ExperimentRow
    entity = "experiment"
    sql = _SQL
    save_type = ExperimentSave

    async def save(
        self,
        experiment_id: UUID | str,
        *,
        user_id: UUID | str,
        site_id: str,
        name: str,
        status: str,
        data: dict[str, Any],
        batch_id: str | None = None,
        benchmark_id: str | None = None,
        is_primary: bool = False,
        version: int = 0,
    ) -> int:
        """Save an experiment, new or known. One statement; one small read more when it is refused.

        A save writes all that is given here, and `updated_at`; never the owner or the time of creation.

        Args:
            experiment_id: Its id, the caller's own choice.
            user_id: The owner.
            site_id: The site.
            name: Its name; may be empty.
            status: How far it is.
            data: The document, a JSON object.
            batch_id: Its batch.
            benchmark_id: Its benchmark.
            is_primary: Whether it is the one that its benchmark is named after.
            version: The version that the caller has seen: what its last save returned; 0 for a new experiment.

        Returns:
            The version that it has now. Without a session it is durable.

        Raises:
            StaleVersionError: The stored version is another one; nothing was changed.
            NotFoundError: The experiment was deleted, was never there, or is somebody else's; or there is no such
                user, or the repository is restricted to another one.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; read the version back.
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
        self, experiment_id: UUID | str, field: str, value: Json, *, version: int | None = None
    ) -> int:
        """Set one top-level field of the document, and raise the version. One statement.

        Two patches of different fields at once both count, without a version too.

        Args:
            experiment_id: The experiment.
            field: The field's name; it is made if need be.
            value: Its new value, any JSON.
            version: The version that the caller has seen; ``None`` to patch whatever is stored.

        Returns:
            The version that it has now.

        Raises:
            NotFoundError: No such experiment, or not this user's.
            StaleVersionError: The stored version is another one; nothing was changed.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost.
        """
        identity = self._identity(experiment_id, "experiment_id")
        seen = None if version is None else integer(version, "version", 1, limits.INT32_MAX)
        key = text(field, "field", limits.DOCUMENT_FIELD)
        values = [identity, self._owner, seen, encode({key: value}, "data")]
        rows = await (await self._client()).execute_rows(_PATCH, values)
        if rows:
            new: int = rows[0]["version"]
            return new
        if await (await self._own_rows()).filter(pk=identity).exists():
            raise StaleVersionError(self.entity)
        raise NotFoundError(self.entity)
