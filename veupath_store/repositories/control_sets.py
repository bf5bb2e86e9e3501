"""Control sets."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from tortoise.expressions import Q

from veupath_store import limits
from veupath_store.errors import InvalidInputError, NotFoundError, StaleVersionError
from veupath_store.models import ControlSet
from veupath_store.repositories.control_set_lists import ControlSetLists, checked_tags
from veupath_store.repositories.control_set_patch import ControlSetPatch
from veupath_store.repositories.hydration import instance, instances
from veupath_store.validation import as_optional_uuid, as_uuid, integer, page_size, text

_CREATE: Final = """
INSERT INTO control_sets (id, user_id, site_id, name, record_type, positive_ids, negative_ids, source, tags,
                          provenance_notes, is_public)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING version, is_seed, created_at"""

_SEED_COLUMNS: Final = (
    "name",
    "record_type",
    "positive_ids",
    "negative_ids",
    "source",
    "tags",
    "provenance_notes",
)
_UPSERT_SEED: Final = f"""
INSERT INTO control_sets (id, site_id, {", ".join(_SEED_COLUMNS)}, is_public, is_seed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, true, true)
ON CONFLICT (user_id, site_id, name) WHERE is_seed DO UPDATE SET
    {", ".join(f"{column} = EXCLUDED.{column}" for column in _SEED_COLUMNS)},
    version = control_sets.version + CASE
        WHEN ({", ".join(f"control_sets.{column}" for column in _SEED_COLUMNS)})
            IS DISTINCT FROM ({", ".join(f"EXCLUDED.{column}" for column in _SEED_COLUMNS)}) THEN 1 ELSE 0 END
RETURNING {{columns}}"""

# Two branches, each in the order of its own index and cut at the limit, then merged. With one OR instead, PostgreSQL
# sorted all 2,000 sets that a heavy user sees on a site, of 200,000; this sorts none (tests/integration/
# test_query_plans.py holds it to that).
_LIST: Final = """
(SELECT {columns} FROM control_sets WHERE is_public AND site_id = $1 {tags} ORDER BY created_at DESC, id DESC LIMIT $2)
UNION ALL
(SELECT {columns} FROM control_sets WHERE user_id = $3 AND site_id = $1 AND NOT is_public {tags}
 ORDER BY created_at DESC, id DESC LIMIT $2)
ORDER BY created_at DESC, id DESC LIMIT $2"""


class ControlSetRepository(ControlSetLists):
    """Reads and writes of control sets. Restricted to a user, it reads public sets too, and changes only own ones."""

    model = ControlSet
    entity = "control set"

    async def list_by_site(
        self,
        site_id: str,
        user_id: UUID | str | None = None,
        tags: Sequence[str] | None = None,
        limit: int = 100,
    ) -> list[ControlSet]:
        """Public sets of a site, and the user's own there. One statement.

        Args:
            site_id: The site.
            user_id: Whose own sets to add, or ``None`` for the repository's user, or for public ones only.
            tags: Only sets with any of these tags; ``None`` or empty for all. Found in a GIN index, before the limit.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            The sets with their gene lists, newest first.

        Raises:
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer.
        """
        values: list[Any] = [text(site_id, "site_id", limits.SITE_ID), page_size(limit), self._reader(user_id)]
        condition = ""
        wanted = checked_tags(tags)
        if wanted:
            values.append(wanted)
            condition = "AND tags ?| $4::text[]"
        rows = await self._entire(_LIST, values, tags=condition)
        return instances(ControlSet, rows)

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
        """A new control set, version 1. One statement.

        Args:
            name: Its name; need not be unique.
            site_id: The site.
            record_type: What the ids are, as ``transcript``.
            positive_ids: Genes that a search should find.
            negative_ids: Genes that it should not find.
            source: Where it comes from, as ``curation``.
            tags: Words to find it by.
            provenance_notes: Free text.
            is_public: Whether everybody sees it.
            user_id: The owner, or ``None`` for the repository's user, or for nobody's.

        Returns:
            The set.

        Raises:
            NotFoundError: There is no such user, or the repository is restricted to another one.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost.
        """
        owner = as_optional_uuid(user_id, "user_id") or self._owner
        self._refuse_other_owner(owner)
        content = ControlSetPatch(
            name=name,
            record_type=record_type,
            positive_ids=positive_ids,
            negative_ids=negative_ids,
            source=source,
            tags=checked_tags(tags),
            provenance_notes=provenance_notes,
            is_public=is_public,
        )
        site = text(site_id, "site_id", limits.SITE_ID)
        row: dict[str, Any] = {"id": uuid4(), "user_id": owner, "site_id": site, **content.columns()}
        inserted = await (await self._client()).execute_rows(_CREATE, list(row.values()))
        return instance(ControlSet, [*row.items(), *inserted[0].items()])

    async def update(self, id: UUID | str, patch: ControlSetPatch, *, version: int | None = None) -> ControlSet:  # noqa: A002
        """Change the fields that the patch names, and raise the version. One statement.

        Args:
            id: The set.
            patch: What to change.
            version: The version that the caller has seen; ``None`` to change whatever is stored.

        Returns:
            The set as it is stored now.

        Raises:
            NotFoundError: No such set, or not this user's own.
            StaleVersionError: The stored version is another one; nothing was changed.
            InvalidInputError: An argument is refused, or a seed would become private.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost.
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
        rows = await self._entire(
            f"UPDATE control_sets SET {', '.join(assignments)} WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) "
            "AND ($3::integer IS NULL OR version = $3) RETURNING {columns}",
            values,
        )
        if rows:
            return instances(ControlSet, rows)[0]
        if await (await self._own_rows()).filter(pk=identity).exists():
            raise StaleVersionError(self.entity)
        raise NotFoundError(self.entity)

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
        """A public set that the application ships, known by its site and name: made, or brought up to date.

        One statement; race-free. The version is raised only when something changed.

        Args:
            name: Its name, unique among the site's seeds.
            site_id: The site.
            record_type: What the ids are.
            positive_ids: Genes that a search should find.
            negative_ids: Genes that it should not find.
            source: Where it comes from.
            tags: Words to find it by.
            provenance_notes: Free text.

        Returns:
            The set as it is stored now.

        Raises:
            NotFoundError: The repository is restricted to a user, who has no seeds.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        self._refuse_other_owner(None)
        patch = ControlSetPatch(
            name=name,
            record_type=record_type,
            positive_ids=positive_ids,
            negative_ids=negative_ids,
            source=source,
            tags=checked_tags(tags),
            provenance_notes=provenance_notes,
        )
        values = [uuid4(), text(site_id, "site_id", limits.SITE_ID), *patch.columns().values()]
        rows = await self._entire(_UPSERT_SEED, values)
        return instances(ControlSet, rows)[0]

    @classmethod
    def _readable_by(cls, owner: UUID | None) -> Q:
        return Q() if owner is None else Q(user_id=owner) | Q(is_public=True)
