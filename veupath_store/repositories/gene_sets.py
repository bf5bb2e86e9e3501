"""Gene sets."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from veupath_store.errors import ConflictError, NotFoundError
from veupath_store.json import Json
from veupath_store.models import GeneSetRow
from veupath_store.repositories.documents import DocumentRepository, DocumentSql
from veupath_store.repositories.gene_set_lists import GeneSetLists
from veupath_store.repositories.hydration import instances
from veupath_store.repositories.recording import Recording
from veupath_store.validation import as_uuid, boolean
from veupath_store.values import GeneSetContent, GeneSetSave, GeneSetSource

# The conversation's row is locked first: of several imports at once the first one makes the set, and the others then
# see it. An automatic import that was done once is not done again after its set was deleted.
_IMPORT: Final = """
WITH target AS MATERIALIZED (
    SELECT stream_id, user_id, site_id, wdk_strategy_id, record_type,
           gene_set_id IS NULL AND NOT ($4 AND gene_set_auto_imported) AS is_open
    FROM stream_projections WHERE stream_id = $1 AND ($2::uuid IS NULL OR user_id = $2) FOR UPDATE
),
taken AS (
    INSERT INTO document_ids (user_id, kind, id)
    SELECT user_id, 'gene_sets', $3::uuid FROM target WHERE is_open RETURNING id
),
made AS (
    INSERT INTO gene_sets (id, user_id, site_id, wdk_strategy_id, record_type, name, gene_ids, source, wdk_step_id,
                           search_name, parameters, step_count)
    SELECT taken.id, user_id, site_id, wdk_strategy_id, COALESCE($5, record_type), $6, $7, $8, $9, $10, $11, $12
    FROM target, taken
    RETURNING {columns}
),
linked AS (
    UPDATE stream_projections p
    SET gene_set_id = made.id, gene_set_auto_imported = p.gene_set_auto_imported OR $4, updated_at = CURRENT_TIMESTAMP
    FROM target, made
    WHERE p.stream_id = target.stream_id AND p.user_id = target.user_id
)
SELECT made.* FROM target LEFT JOIN made ON true"""


class GeneSetRepository(GeneSetLists, DocumentRepository[GeneSetRow, GeneSetSave], Recording[GeneSetRow]):
    """Reads and writes of gene sets. Deleting one takes it out of the conversation that it was made from."""

    model = GeneSetRow
    entity = "gene set"
    sql = DocumentSql("gene_sets", GeneSetSave.columns())
    save_type = GeneSetSave

    async def save(
        self,
        gene_set_id: UUID | str,
        *,
        user_id: UUID | str,
        site_id: str,
        name: str,
        gene_ids: Sequence[str],
        source: GeneSetSource | str = GeneSetSource.PASTE,
        wdk_strategy_id: int | None = None,
        wdk_step_id: int | None = None,
        search_name: str | None = None,
        record_type: str | None = None,
        parameters: Json = None,
        parent_set_ids: Sequence[UUID | str] = (),
        operation: str | None = None,
        step_count: int = 1,
        version: int = 0,
    ) -> int:
        """Save a gene set, new or known. One statement; one small read more when it is refused.

        A save writes all that is given here; never the owner or the time of creation.

        Args:
            gene_set_id: Its id, the caller's own choice.
            user_id: The owner.
            site_id: The site.
            name: Its name.
            gene_ids: The ids, in the order that is kept.
            source: Where it comes from.
            wdk_strategy_id: The WDK strategy that it was imported from.
            wdk_step_id: The step of that strategy.
            search_name: The search of that step.
            record_type: What the ids are.
            parameters: The search's parameters, a JSON object or array.
            parent_set_ids: The sets that it was derived from.
            operation: How it was derived.
            step_count: Steps of the strategy.
            version: The version that the caller has seen: what its last save returned; 0 for a new set.

        Returns:
            The version that it has now. Without a session it is durable.

        Raises:
            StaleVersionError: The stored version is another one; nothing was changed.
            NotFoundError: The set was deleted, was never there, or is somebody else's; or there is no such user, or
                the repository is restricted to another one.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; read the version back.
        """
        save = GeneSetSave(
            id=as_uuid(gene_set_id, "gene_set_id"),
            user_id=user_id,
            site_id=site_id,
            name=name,
            gene_ids=gene_ids,
            source=source,
            wdk_strategy_id=wdk_strategy_id,
            wdk_step_id=wdk_step_id,
            search_name=search_name,
            record_type=record_type,
            parameters=parameters,
            parent_set_ids=parent_set_ids,
            operation=operation,
            step_count=step_count,
        )
        return await self.write(save, version=version)

    async def import_for_stream(
        self,
        stream_id: UUID | str,
        *,
        name: str,
        gene_ids: Sequence[str],
        source: GeneSetSource | str = GeneSetSource.STRATEGY,
        wdk_step_id: int | None = None,
        search_name: str | None = None,
        record_type: str | None = None,
        parameters: Json = None,
        step_count: int = 1,
        automatic: bool = False,
    ) -> GeneSetRow:
        """Make a gene set from a conversation and link it there: both or neither. One statement, race-free.

        Owner, site and WDK strategy are the conversation's.

        Args:
            stream_id: The conversation.
            name: The set's name.
            gene_ids: The ids, in the order that is kept.
            source: Where it comes from.
            wdk_step_id: The step of the conversation's strategy.
            search_name: The search of that step.
            record_type: What the ids are; the conversation's by default.
            parameters: The search's parameters, a JSON object or array.
            step_count: Steps of the strategy.
            automatic: Whether nobody asked for it. Then the conversation is marked, and never imported automatically
                again, also after the set was deleted.

        Returns:
            The set, version 1.

        Raises:
            NotFoundError: No such conversation, or not this user's.
            ConflictError: The conversation has a gene set, or was imported automatically before.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; look at the conversation's `gene_set_id`.
        """
        content = GeneSetContent(
            name=name,
            gene_ids=gene_ids,
            source=source,
            wdk_step_id=wdk_step_id,
            search_name=search_name,
            record_type=record_type,
            parameters=parameters,
            step_count=step_count,
        )
        values: list[Any] = [
            as_uuid(stream_id, "stream_id"),
            self._owner,
            uuid4(),
            boolean(automatic, "automatic"),
            content.record_type,
            content.name,
            content.gene_ids,
            content.source,
            content.wdk_step_id,
            content.search_name,
            content.parameters,
            content.step_count,
        ]
        return await self._recorded(lambda inside: inside._import(values))

    async def _import(self, values: list[Any]) -> GeneSetRow:
        """Send `_IMPORT`, and record the link."""
        stream_id, _, _, automatic, *_ = values
        rows = await self._entire(_IMPORT, values)
        if not rows:
            raise NotFoundError("stream")
        if rows[0]["id"] is None:
            raise ConflictError("The conversation has a gene set already, or was imported automatically before.")
        latch = {"gene_set_auto_imported": True} if automatic else {}
        self._record(stream_id, {"gene_set_id": rows[0]["id"], **latch})
        return instances(GeneSetRow, rows)[0]
