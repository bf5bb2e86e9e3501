"""Documents that jsonb would refuse, or that are not of their column's type.

Clean documents never leave the server. A quick look at each document's text picks the suspicious ones; their text is
fixed here and converted on the server by a function that gives null where jsonb refuses.
"""

import json
import re
from dataclasses import dataclass
from operator import ne
from typing import Any, Final
from uuid import UUID

from veupath_store.adoption.kept import note_kept, suspicion
from veupath_store.adoption.text import READABLE, depth, storable, with_floats
from veupath_store.adoption.values import ProblemKind
from veupath_store.adoption.work import Work
from veupath_store.documents.json import decode
from veupath_store.inputs import limits
from veupath_store.inputs.legacy_ids import adopted_id
from veupath_store.inputs.validation import SPACE

FEW: Final = 20
"""Documents of a batch: each may have many megabytes."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A JSON column that is taken over.

    Attributes:
        table: The old table.
        field: The column.
        type: What it must be, ``array`` or ``object``; ``None`` for any.
        empty: SQL for what stands for a document that cannot be kept.
        wrong: SQL for what becomes of a document of another type, with a place for it.
        fixed: What is said of that.
    """

    table: str
    field: str
    type: str | None
    empty: str
    wrong: str = ""
    fixed: str = "made empty"

    def converted(self) -> str:
        """SQL for the column as jsonb, after `join`."""
        raw = f"o.{self.field}"
        if self.type is None:
            usual = f"CASE WHEN json_typeof({raw}) <> 'null' THEN {raw}::jsonb END"
        else:
            wrong = f"WHEN {raw} IS NOT NULL THEN {self.wrong.format(f'{raw}::jsonb')} " if self.wrong else ""
            usual = f"CASE WHEN json_typeof({raw}) = '{self.type}' THEN {raw}::jsonb {wrong}ELSE {self.empty} END"
        return f"CASE WHEN d_{self.field}.key IS NOT NULL THEN d_{self.field}.document ELSE {usual} END"

    def text(self) -> str:
        """SQL for the column as JSON text, after `join`: in the old row's own words, where nothing was fixed."""
        raw, fixed = f"o.{self.field}", f"d_{self.field}"
        usual = f"CASE WHEN json_typeof({raw}) = '{self.type}' THEN {raw}::text ELSE ({self.empty})::text END"
        return f"CASE WHEN {fixed}.key IS NOT NULL THEN {fixed}.document::text ELSE {usual} END"

    def join(self) -> str:
        """The join with what was fixed."""
        alias = f"d_{self.field}"
        return (
            f"LEFT JOIN adopting_documents {alias} ON {alias}.entity = '{self.table}'"
            f" AND {alias}.field = '{self.field}' AND {alias}.key = o.id"
        )


_ARRAY: Final = "'[]'::jsonb"
_OBJECT: Final = "'{}'::jsonb"

PLAN: Final = Document(table="stream_projections", field="plan", type="object", empty=_OBJECT)

DOCUMENTS: Final = (
    Document(table="control_sets", field="positive_ids", type="array", empty=_ARRAY),
    Document(table="control_sets", field="negative_ids", type="array", empty=_ARRAY),
    Document(table="control_sets", field="tags", type="array", empty=_ARRAY),
    Document(
        table="experiments",
        field="data",
        type="object",
        empty=_OBJECT,
        wrong="jsonb_build_object('legacy', {})",
        fixed="kept under the key legacy",
    ),
    Document(table="gene_sets", field="gene_ids", type="array", empty=_ARRAY),
    Document(table="gene_sets", field="parameters", type=None, empty="NULL::jsonb"),
    Document(table="gene_sets", field="parent_set_ids", type="array", empty=_ARRAY),
    PLAN,
)

_MADE: Final = (
    """CREATE TEMP TABLE adopting_documents (
        entity text NOT NULL, field text NOT NULL, key text COLLATE "C" NOT NULL, fixed text,
        changed boolean NOT NULL DEFAULT false, document jsonb
    ) ON COMMIT DROP""",
    "CREATE UNIQUE INDEX ON adopting_documents (entity, field, key)",
    # Only what jsonb refuses of a text; anything else, as a full disk, is an error.
    """CREATE OR REPLACE FUNCTION pg_temp.adopting_jsonb(document text) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
    BEGIN
        RETURN document::jsonb;
    EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
        RETURN NULL;
    END $$""",
)

_TOO_DEEP: Final = """COALESCE(jsonb_path_exists(pg_temp.adopting_jsonb(d.text),
    'strict $.**{{{levels} to last}} ? (@.type() == "array" || @.type() == "object")', '{{}}', true), true)"""

# A surrogate of a pair is suspicious, too. A plan's steps are limited to fewer levels than documents are.
_SUSPICIOUS: Final = rf"""
SELECT o.id, d.text FROM old_{{table}} o CROSS JOIN LATERAL (SELECT o.{{field}}::text AS text OFFSET 0) d
WHERE o.{{field}} IS NOT NULL AND (
    strpos(d.text, '\u0000') > 0 OR strpos(d.text, '\ud') > 0 OR strpos(d.text, '\uD') > 0
    OR {{suspicion}}
    OR (octet_length(d.text) > 2 * {{levels}}
        AND octet_length(d.text) - octet_length(replace(replace(d.text, '[', ''), '{{{{', '')) > {{levels}}
        AND {_TOO_DEEP}))"""

_LIST_OF_IDS: Final = r'^\s*\[\s*("{id}"(\s*,\s*"{id}")*)?\s*\]\s*$'.format(
    id="[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)
_PARENTS: Final = f"""
SELECT o.id, COALESCE(d.document::text, o.parent_set_ids::text) AS text, d.key IS NOT NULL AS fixed
FROM old_gene_sets o LEFT JOIN adopting_documents d
  ON d.entity = 'gene_sets' AND d.field = 'parent_set_ids' AND d.key = o.id
WHERE json_typeof(o.parent_set_ids) = 'array'
  AND COALESCE(d.document::text, o.parent_set_ids::text) !~ '{_LIST_OF_IDS}'"""

_OF_TEXTS: Final = frozenset({"positive_ids", "negative_ids", "tags", "gene_ids"})
_ODD: Final = "{} that are no texts were left out, and {} lost white space around them"

_LONG_NUMBER: Final = re.compile(r"[0-9][eE][-+]?[0-9]{3}|[0-9]{255}", re.ASCII)

_COLUMNS: Final = ("entity", "field", "key", "fixed", "changed")


async def fix_documents(work: Work) -> None:
    """Fix what jsonb would refuse; afterwards ``adopting_documents`` has each such document as it will be."""
    for statement in _MADE:
        await work.run(statement)
    for number, document in enumerate(DOCUMENTS):
        work.tell("reading documents", number, len(DOCUMENTS))
        table, field = document.table, document.field
        levels = limits.PLAN_DEPTH if field == "plan" else limits.DOCUMENT_DEPTH
        query = _SUSPICIOUS.format(table=table, field=field, levels=levels, suspicion=suspicion(table, field))
        async for rows in work.batches(query, FEW):
            read = [_fixed(row, document) for row in rows]
            odd = [(one.key, one.odd) for one in read if one.odd]
            await work.note_each(ProblemKind.MALFORMED_DOCUMENT, table, field, odd)
            await note_kept(work, table, field, [(one.key, one.text) for one in read if one.text is not None])
            records = [(table, field, one.key, one.text, one.changed) for one in read if one.matters]
            await work.copy("adopting_documents", _COLUMNS, records)
        await _convert(work, document)
    await _convert_parents(work)
    await work.run("ANALYZE pg_temp.adopting_documents")
    work.tell("reading documents", len(DOCUMENTS), len(DOCUMENTS))


@dataclass(frozen=True, kw_only=True)
class _Fixed:
    """A document that was looked at.

    Attributes:
        key: The row's old id.
        text: As it will be; ``None`` where it cannot be kept.
        changed: Whether characters were replaced.
        odd: What was done to a list of texts.
        matters: Whether the column cannot be converted as it is.
    """

    key: str
    text: str | None
    changed: bool = False
    odd: str = ""
    matters: bool = True


def _fixed(row: Any, document: Document) -> _Fixed:  # noqa: ANN401 - a record
    text = storable(row["text"])
    if depth(text) > READABLE or not _is_read(text):
        return _Fixed(key=row["id"], text=None)
    in_full, odd = _of_texts(text, document.field) if document.field in _OF_TEXTS else (with_floats(text), "")
    # Most often a pair of surrogates, which is well as it is.
    matters = in_full != row["text"] or _LONG_NUMBER.search(text) is not None
    return _Fixed(key=row["id"], text=in_full, changed=text != row["text"], odd=odd, matters=matters)


def _of_texts(text: str, field: str) -> tuple[str, str]:
    """A list of texts as the store would take it, and what was done to that."""
    items = decode(text)
    if not isinstance(items, list):
        return text, ""
    texts = [item for item in items if isinstance(item, str)]
    kept = texts if field == "tags" else [item.strip(SPACE) for item in texts]
    if kept == items:
        return text, ""
    trimmed = sum(map(ne, texts, kept))
    return json.dumps(kept), _ODD.format(len(items) - len(texts), trimmed)


def _is_read(text: str) -> bool:
    """Whether the store would read it back."""
    if _LONG_NUMBER.search(text):
        try:
            decode(text)
        except ValueError:
            return False
    return True


async def _convert(work: Work, document: Document) -> None:
    """Text to jsonb, and to the type of the column; note what was done."""
    here = f"entity = '{document.table}' AND field = '{document.field}'"
    await work.run(f"UPDATE adopting_documents SET document = pg_temp.adopting_jsonb(fixed) WHERE {here}")
    await work.note(
        ProblemKind.UNSTORABLE_TEXT,
        document.table,
        document.field,
        "characters that cannot be stored became U+FFFD",
        f"SELECT key FROM adopting_documents WHERE {here} AND changed AND document IS NOT NULL",
    )
    await work.note(
        ProblemKind.MALFORMED_DOCUMENT,
        document.table,
        document.field,
        "nested too deep, or with a number that is too large: made empty",
        f"SELECT key FROM adopting_documents WHERE {here} AND document IS NULL",
    )
    if document.type is not None:
        other = f"{here} AND jsonb_typeof(document) <> '{document.type}'"
        plain = f"json_typeof(o.{document.field}) <> '{document.type}'"
        await work.note(
            ProblemKind.MALFORMED_DOCUMENT,
            document.table,
            document.field,
            document.fixed,
            f"SELECT key FROM adopting_documents WHERE {other} UNION ALL "
            f"SELECT o.id FROM old_{document.table} o {document.join()} "
            f"WHERE {plain} AND d_{document.field}.key IS NULL",
        )
        wrong = document.wrong.format("document") if document.wrong else document.empty
        await work.run(f"UPDATE adopting_documents SET document = {wrong} WHERE {other}")
    await work.run(f"UPDATE adopting_documents SET document = {document.empty} WHERE {here} AND document IS NULL")
    await work.run(f"UPDATE adopting_documents SET fixed = NULL WHERE {here}")


async def _convert_parents(work: Work) -> None:
    """Old ids in lists of sets that a set was derived from."""
    async for rows in work.batches(_PARENTS, FEW * FEW):
        lists = [(row["id"], row["fixed"], decode(row["text"])) for row in rows]
        known = await _known(work, [text for _, _, ids in lists for text in ids if isinstance(text, str)])
        records, dropped = [], []
        for key, fixed, ids in lists:
            texts = [text for text in ids if isinstance(text, str)]
            if len(texts) < len(ids):
                dropped.append((key, f"{len(ids) - len(texts)} that are no ids were left out"))
            quoted = ", ".join(f'"{known.get(text) or adopted_id(text)}"' for text in texts)
            records.append(("gene_sets", "parent_set_ids", key, f"[{quoted}]", fixed))
        await work.note_each(ProblemKind.MALFORMED_DOCUMENT, "gene_sets", "parent_set_ids", dropped)
        await work.connection.execute(
            "DELETE FROM adopting_documents WHERE entity = 'gene_sets' AND field = 'parent_set_ids'"
            " AND key = ANY ($1::text[])",
            [key for key, fixed, _ in lists if fixed],
        )
        await work.copy("adopting_documents", _COLUMNS, records)
    await work.run("UPDATE adopting_documents SET document = fixed::jsonb, fixed = NULL WHERE fixed IS NOT NULL")


async def _known(work: Work, texts: list[str]) -> dict[str, UUID]:
    """The UUIDs of gene sets by their old ids, where the two differ."""
    rows = await work.connection.fetch(
        "SELECT legacy_id, id FROM adopting_ids WHERE kind = 'gene_sets' AND legacy_id = ANY ($1::text[])",
        list(set(texts)),
    )
    return {row["legacy_id"]: row["id"] for row in rows}
