"""Control sets."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final
from uuid import UUID, uuid4

from tortoise.expressions import Q
from tortoise.models import Model
from tortoise.queryset import QuerySet

from veupath_store.errors import InvalidInputError, UnitOfWorkError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import (
    as_optional_uuid,
    as_uuid,
    ids_of_genes,
    integer,
    one_of,
    page_size,
    text,
    texts,
)
from veupath_store.models import ControlSet
from veupath_store.repositories.base import GENE_OPERATOR, Repository
from veupath_store.repositories.pages import Key, Listing, Page
from veupath_store.repositories.queries import Condition, instance, instances
from veupath_store.values import ControlSetSummary, GeneMatch
from veupath_store.values.control_sets import ControlSetPatch

# Model.create costs 1.5 times its INSERT.
_CREATE: Final = """
INSERT INTO control_sets (id, user_id, site_id, name, record_type, positive_ids, negative_ids, source, tags,
                          provenance_notes, is_public)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING version, is_seed, created_at"""

_SEED_COLUMNS: Final = ("name", "record_type", "positive_ids", "negative_ids", "source", "tags", "provenance_notes")
# An upsert that compares what it replaces, with RETURNING.
_UPSERT_SEED: Final = f"""
INSERT INTO control_sets (id, site_id, {", ".join(_SEED_COLUMNS)}, is_public, is_seed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, true, true)
ON CONFLICT (user_id, site_id, name) WHERE is_seed DO UPDATE SET
    {", ".join(f"{column} = EXCLUDED.{column}" for column in _SEED_COLUMNS)},
    version = control_sets.version + CASE
        WHEN ({", ".join(f"control_sets.{column}" for column in _SEED_COLUMNS)})
            IS DISTINCT FROM ({", ".join(f"EXCLUDED.{column}" for column in _SEED_COLUMNS)}) THEN 1 ELSE 0 END
RETURNING {{columns}}"""


def _readable(
    site: str,
    reader: UUID | None = None,
    tags: list[str] | None = None,
    genes: list[str] | None = None,
    *,
    operator: str = "",
) -> list[QuerySet[ControlSet]]:
    """The public sets of a site, and a reader's others there: branches, each in the order of its own index.

    With one OR instead, PostgreSQL sorted all 2,000 sets that a heavy user sees on a site, of 200,000; this sorts none
    (tests/integration/test_query_plans.py holds it to that).
    """
    wanted = [] if tags is None else [Condition("tags ?| {}", tags)]
    if genes is not None:
        wanted.append(Condition(f"(positive_ids {operator} {{}} OR negative_ids {operator} {{}})", genes, genes))
    public = ControlSet.filter(*wanted, site_id=site, is_public=True)
    own = ControlSet.filter(*wanted, user_id=reader, site_id=site, is_public=False)
    return [public] if reader is None else [public, own]


_Newest: Final = partial(
    Listing[ControlSetSummary],
    name="control sets",
    summary=ControlSetSummary,
    keys=(Key("created_at", datetime), Key("id", UUID)),
    looked_up={"positive_count": "positive_count", "negative_count": "negative_count"},
    in_index_order=False,
)
_NEWEST: Final = _Newest(build=_readable)
_CONTAINING: Final = {match: _Newest(build=partial(_readable, operator=GENE_OPERATOR[match])) for match in GeneMatch}


class ControlSetRepository(Repository[ControlSet]):
    """Reads and writes of control sets. Restricted to a user, it reads public sets too, and changes only own ones.

    In lists ``user_id`` says whose own sets are added to the public ones: ``None`` for the repository's user, or for
    none.
    """

    model: ClassVar[type[Model]] = ControlSet
    entity: ClassVar[str] = "control set"

    async def list_by_site(
        self,
        site_id: str,
        user_id: UUID | str | None = None,
        tags: Sequence[str] | None = None,
        limit: int = 100,
    ) -> list[ControlSet]:
        """Public sets of a site, and the user's own there, with their gene lists, newest first.

        Args:
            tags: Only sets with any of these tags; ``None`` or empty for all. Found in a GIN index, before the limit.
        """
        site, size, wanted = text(site_id, "site_id", limits.SITE_ID), page_size(limit), _tags(tags) or None
        client, reader = await self._client(), self._reader(user_id)
        found, _ = await _NEWEST.entire(client, None, size, site=site, reader=reader, tags=wanted)
        return found

    async def page_by_site(
        self,
        site_id: str,
        user_id: UUID | str | None = None,
        tags: Sequence[str] | None = None,
        *,
        cursor: str | None = None,
        limit: int = 50,
    ) -> "Page[ControlSetSummary]":
        """One page of what `list_by_site` lists, without gene lists."""
        site, wanted = text(site_id, "site_id", limits.SITE_ID), _tags(tags) or None
        reader = self._reader(user_id)
        return await _NEWEST.page(await self._client(), cursor, limit, site=site, reader=reader, tags=wanted)

    async def page_containing(
        self,
        site_id: str,
        gene_ids: Sequence[str],
        user_id: UUID | str | None = None,
        *,
        match: GeneMatch | str = GeneMatch.ANY,
        cursor: str | None = None,
        limit: int = 50,
    ) -> "Page[ControlSetSummary]":
        """Which of a site's public sets, and of the user's own, contain a gene, newest first.

        Args:
            gene_ids: The genes, trimmed and then compared exactly; `limits.GENES_SOUGHT` at most.
            match: Whether a set must contain any of the genes or all of them, among its positive ones or among its
                negative ones.
        """
        listing = _CONTAINING[one_of(match, "match", GeneMatch)]
        site, reader = text(site_id, "site_id", limits.SITE_ID), self._reader(user_id)
        genes = ids_of_genes(gene_ids, "gene_ids", most=limits.GENES_SOUGHT, fewest=1)
        return await listing.page(await self._client(), cursor, limit, site=site, reader=reader, genes=genes)

    async def create(
        self,
        *,
        name: str,
        site_id: str,
        record_type: str,
        positive_ids: Sequence[str],
        negative_ids: Sequence[str],
        source: str | None = None,
        tags: Sequence[str] | None = None,
        provenance_notes: str | None = None,
        is_public: bool = False,
        user_id: UUID | str | None = None,
    ) -> ControlSet:
        """A new control set, version 1.

        Args:
            name: Its name; need not be unique.
            record_type: What the ids are, as ``transcript``.
            positive_ids: Genes that a search should find.
            negative_ids: Genes that it should not find.
            source: Where it comes from, as ``curation``.
            tags: Words to find it by.
            provenance_notes: Free text.
            is_public: Whether everybody sees it.
            user_id: The owner, or ``None`` for the repository's user, or no owner.
        """
        owner = as_optional_uuid(user_id, "user_id") or self._owner
        self._refuse_other_owner(owner)
        content = ControlSetPatch(
            name=name,
            record_type=record_type,
            positive_ids=positive_ids,
            negative_ids=negative_ids,
            source=source,
            tags=_tags(tags),
            provenance_notes=provenance_notes,
            is_public=is_public,
        )
        site = text(site_id, "site_id", limits.SITE_ID)
        row: dict[str, Any] = {"id": uuid4(), "user_id": owner, "site_id": site, **content.columns()}
        inserted = await (await self._client()).execute_rows(_CREATE, list(row.values()))
        return instance(ControlSet, [*row.items(), *inserted[0].items()])

    async def update(self, id: UUID | str, patch: ControlSetPatch, *, version: int | None = None) -> ControlSet:  # noqa: A002
        """Change the fields that the patch names, and raise the version; return the set as it is stored now.

        Args:
            patch: What to change.
            version: The version that the caller has seen; ``None`` to change whatever is stored.

        Raises:
            StaleVersionError: The stored version is another one; nothing was changed.
            InvalidInputError: An argument is refused, or a seed would become private.
        """
        identity = as_uuid(id, "id")
        if not isinstance(patch, ControlSetPatch):
            raise InvalidInputError("patch", "a ControlSetPatch is needed")
        seen = None if version is None else integer(version, "version", 1, limits.INT32_MAX)
        values = [identity, self._owner, seen]
        assignments = ["version = version + 1"]
        for column, value in patch.columns().items():
            values.append(value)
            assignments.append(f"{column} = ${len(values)}")
        # A Tortoise UPDATE returns no row.
        rows = await self._entire(
            f"UPDATE control_sets SET {', '.join(assignments)} WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) "
            "AND ($3::integer IS NULL OR version = $3) RETURNING {columns}",
            values,
        )
        if not rows:
            raise await self._refusal(identity)
        return instances(ControlSet, rows)[0]

    async def delete(self, id: UUID | str) -> bool:  # noqa: A002
        """Delete one."""
        rows = await self._own_rows()
        return await rows.filter(pk=self._identity(id)).delete() > 0

    async def upsert_seed(
        self,
        *,
        name: str,
        site_id: str,
        record_type: str,
        positive_ids: Sequence[str],
        negative_ids: Sequence[str],
        source: str | None = None,
        tags: Sequence[str] | None = None,
        provenance_notes: str | None = None,
    ) -> ControlSet:
        """A public set that the application ships, known by its site and name: made, or brought up to date; race-free.

        The version is raised only when something changed. The arguments are those of `create`.

        Raises:
            UnitOfWorkError: The repository is restricted to a user, who has no seeds.
        """
        if self._owner is not None:
            raise UnitOfWorkError("A seed is no user's: call upsert_seed on ControlSetRepository(session) itself.")
        patch = ControlSetPatch(
            name=name,
            record_type=record_type,
            positive_ids=positive_ids,
            negative_ids=negative_ids,
            source=source,
            tags=_tags(tags),
            provenance_notes=provenance_notes,
        )
        values = [uuid4(), text(site_id, "site_id", limits.SITE_ID), *patch.columns().values()]
        rows = await self._entire(_UPSERT_SEED, values)
        return instances(ControlSet, rows)[0]

    @classmethod
    def _readable_by(cls, owner: UUID | None) -> Q:
        return Q() if owner is None else Q(user_id=owner) | Q(is_public=True)

    def _reader(self, user_id: UUID | str | None) -> UUID | None:
        """Whose own sets are read: another user's look as if there were none."""
        asked = as_optional_uuid(user_id, "user_id")
        if self._owner is None or asked is None:
            return asked or self._owner
        return asked if asked == self._owner else None


def _tags(tags: Sequence[str] | None) -> list[str]:
    """Tags as they are kept and looked for; none for ``None``."""
    return [] if tags is None else texts(tags, "tags", most=limits.TAGS, longest=limits.TAG)
