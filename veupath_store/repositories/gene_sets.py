"""Gene sets."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final
from uuid import UUID, uuid4

from tortoise.models import Model
from tortoise.queryset import QuerySet

from veupath_store.errors import ConflictError, NotFoundError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_uuid, boolean, ids_of_genes, integer, one_of
from veupath_store.models import GeneSetRow
from veupath_store.models.unlogged import tagged
from veupath_store.repositories.base import GENE_OPERATOR, site_or_none
from veupath_store.repositories.documents import DocumentRepository, DocumentSql
from veupath_store.repositories.pages import Key, Listing, Page
from veupath_store.repositories.queries import Condition, Prepared, instances
from veupath_store.values import (
    DocumentSave,
    GeneMatch,
    GeneSetContent,
    GeneSetSave,
    GeneSetSource,
    GeneSetSummary,
)

_GIVEN: Final = ("record_type", "name", "gene_ids", "source", "wdk_step_id", "search_name", "parameters", "step_count")
# Three tables in one statement. The conversation's row is locked first: of several imports at once the first one makes
# the set, and the others then see it. An automatic import that was done once is not done again after its set was
# deleted.
_IMPORT: Final = f"""
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
    INSERT INTO gene_sets (id, user_id, site_id, wdk_strategy_id, {", ".join(_GIVEN)})
    SELECT taken.id, user_id, site_id, wdk_strategy_id, COALESCE($5, record_type), $6, $7, $8, $9, $10, $11, $12
    FROM target, taken
    RETURNING {{columns}}
),
linked AS (
    UPDATE stream_projections p
    SET gene_set_id = made.id, gene_set_auto_imported = p.gene_set_auto_imported OR $4,
        updated_at = GREATEST(p.updated_at, CURRENT_TIMESTAMP), unlogged = p.unlogged || $13::jsonb
    FROM target, made
    WHERE p.stream_id = target.stream_id AND p.user_id = target.user_id
)
SELECT made.* FROM target LEFT JOIN made ON true"""


# In the statement that deletes the set, and not by its foreign key: the link's end is to be logged, too.
_UNLINK: Final = """
unlinked AS (
    UPDATE stream_projections p
    SET gene_set_id = NULL, unlogged = p.unlogged || jsonb_build_object('gene_set_id', $3::text)
    FROM taken WHERE p.user_id = taken.user_id AND p.gene_set_id = taken.id
)"""


def _mine(user_id: UUID, genes: list[str] | None = None, *, operator: str = "", **only: Any) -> QuerySet[GeneSetRow]:  # noqa: ANN401
    wanted = [] if genes is None else [Condition(f"gene_ids {operator} {{}}", genes)]
    return GeneSetRow.filter(*wanted, user_id=user_id, **only)


_Newest: Final = partial(
    Listing[GeneSetSummary],
    name="gene sets",
    summary=GeneSetSummary,
    keys=(Key("created_at", datetime), Key("id", UUID)),
    looked_up={"gene_count": "gene_count"},
)
_NEWEST: Final = _Newest(build=_mine)
_CONTAINING: Final = {
    match: _Newest(build=partial(_mine, operator=GENE_OPERATOR[match]), in_index_order=False) for match in GeneMatch
}
_BY_STRATEGY: Final = Prepared[GeneSetRow](
    lambda wdk_strategy_id, **mine: (
        _mine(wdk_strategy_id=wdk_strategy_id, **mine).order_by("-created_at", "-id").limit(1)
    )
)


class GeneSetRepository(DocumentRepository[GeneSetRow, GeneSetSave, GeneSetSummary]):
    """Reads and writes of gene sets. Deleting one takes it out of the conversation that it was made from."""

    model: ClassVar[type[Model]] = GeneSetRow
    entity: ClassVar[str] = "gene set"
    sql: ClassVar[DocumentSql] = DocumentSql("gene_sets", GeneSetSave.columns(), unlink=_UNLINK)
    listing: ClassVar[Listing[Any]] = _NEWEST
    save_type: ClassVar[type[DocumentSave]] = GeneSetSave

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
        parameters: Mapping[str, object] | Sequence[object] | None = None,
        parent_set_ids: Sequence[UUID | str] = (),
        operation: str | None = None,
        step_count: int = 1,
        version: int = 0,
    ) -> int:
        """Save a gene set, new or known; return its new version. Raises what `write` does.

        A save writes all that is given here; never the owner or the time of creation. What the other arguments mean
        `GeneSetSummary` says.

        Args:
            gene_set_id: Its id, the caller's own choice.
            gene_ids: The ids, trimmed, in the order that is kept.
            parameters: The parameters of the search of that step, a JSON object or array.
            parent_set_ids: The sets that it was derived from.
            version: The version that the caller has seen: what its last save returned; 0 for a new set.
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
        parameters: Mapping[str, object] | Sequence[object] | None = None,
        step_count: int = 1,
        automatic: bool = False,
    ) -> GeneSetRow:
        """Make a gene set, version 1, from a conversation, and link it there: both or neither. Race-free.

        Owner, site and WDK strategy are the conversation's, and so is the record type where none is given. What the
        others mean `GeneSetSummary` and `save` say.

        Args:
            automatic: Whether it was not asked for. Then the conversation is marked, and never imported automatically
                again, also after the set was deleted.

        Raises:
            ConflictError: The conversation has a gene set, or was imported automatically before.
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
        which = [as_uuid(stream_id, "stream_id"), self._owner, uuid4(), boolean(automatic, "automatic")]
        changed = ("gene_set_id", "gene_set_auto_imported") if automatic else ("gene_set_id",)
        values = [*which, *(getattr(content, column) for column in _GIVEN), tagged(changed)]
        rows = await self._entire(_IMPORT, values)
        if not rows:
            raise NotFoundError("stream")
        if rows[0]["id"] is None:
            raise ConflictError("The conversation has a gene set already, or was imported automatically before.")
        return instances(GeneSetRow, rows)[0]

    async def find_by_wdk_strategy(
        self, user_id: UUID | str, wdk_strategy_id: int, site_id: str | None = None
    ) -> GeneSetRow | None:
        """The user's gene set that was imported from a WDK strategy, the newest where there are several."""
        wdk = integer(wdk_strategy_id, "wdk_strategy_id", 0, limits.INT64_MAX)
        user, site = self._whose(user_id), site_or_none(site_id)
        return await _BY_STRATEGY.first(await self._client(), user_id=user, wdk_strategy_id=wdk, site_id=site)

    async def page_containing(
        self,
        user_id: UUID | str,
        gene_ids: Sequence[str],
        site_id: str | None = None,
        *,
        match: GeneMatch | str = GeneMatch.ANY,
        cursor: str | None = None,
        limit: int = 50,
    ) -> "Page[GeneSetSummary]":
        """Which of the user's gene sets contain a gene, newest first.

        Args:
            gene_ids: The genes, trimmed and then compared exactly; `limits.GENES_SOUGHT` at most.
            match: Whether a set must contain any of the genes or all of them.
        """
        genes = ids_of_genes(gene_ids, "gene_ids", most=limits.GENES_SOUGHT, fewest=1)
        listing = _CONTAINING[one_of(match, "match", GeneMatch)]
        return await self._page(listing, cursor, limit, user_id, genes=genes, site_id=site_or_none(site_id))
