"""Documents that jsonb would refuse, that are not of their column's type, or that are over a limit of what is written.

Clean documents never leave the server. A quick look at each document's text picks the suspicious ones; their text is
fixed here and converted on the server by a function that gives null where jsonb refuses.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import ne
from typing import Any, Final

from veupath_store.adoption.text import depth, has_large_integer, storable, with_floats
from veupath_store.adoption.values import ProblemKind
from veupath_store.adoption.work import Work
from veupath_store.documents.json import decode, encode
from veupath_store.documents.plans import check_plan
from veupath_store.errors import InvalidInputError
from veupath_store.inputs import limits
from veupath_store.inputs.legacy_ids import adopted_id
from veupath_store.inputs.validation import SPACE

FEW: Final = 20
"""Documents of a batch: each may have many megabytes."""

# Any number that may read back as another, or not at all: jsonb has no exponents and 16,383 digits behind a point at
# most, and orjson reads integers of 64 bits. What stands before a number keeps digits of names and hashes out.
_NUMBERS: Final = (
    r"d.text ~ '(^|[\[:,\s])-?([0-9]{19}|[0-9]+(\.[0-9]+)?[eE](\+?[0-9]|-[0-9]{5}))'",
    r"(octet_length(d.text) > 16383 AND d.text ~ '\.[0-9]{255}')",
)
# Of a list of texts: what begins an item that is none, and what may be white space around one, or an escape for it.
_ODD_ITEM: Final = r"""d.text ~ '[[,]\s*[^"\s\]]|[^[,]\s|[\\\uFEFF]'"""

# A regular expression of the server repeats something as often at most.
_REPEATED: Final = 255


@dataclass(frozen=True, kw_only=True)
class Document:
    """A JSON column that is taken over."""

    table: str
    field: str
    type: str | None
    """What it must be, ``array`` or ``object``; ``None`` for any."""
    empty: str
    """SQL for what stands for a document that cannot be kept."""
    wrong: str = ""
    """SQL for what becomes of a document of another type, with a place for it; else it becomes empty."""
    fixed: str = "made empty"
    """What is said of that."""
    items: int | None = None
    """The limit of its items, or a plan's steps."""
    longest: int | None = None
    """The limit of an item's characters, in a list of texts."""

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

    def suspicion(self) -> str:
        """SQL for whether the text ``d.text`` has to be looked at; true of some that are well."""
        conditions = [*_NUMBERS, f"octet_length(d.text) > {limits.DOCUMENT_BYTES}"]
        if self.items:
            mark = "," if self.type == "array" else "{"
            count = f"octet_length(d.text) - octet_length(replace(d.text, '{mark}', ''))"
            conditions.append(f"(octet_length(d.text) > {self.items} AND {count} >= {self.items})")
        if self.longest:
            conditions += [f"""d.text ~ '"[^"]{{{min(self.longest + 1, _REPEATED)}}}'""", _ODD_ITEM]
        return " OR ".join(conditions)


_ARRAY: Final = "'[]'::jsonb"
_OBJECT: Final = "'{}'::jsonb"

PLAN: Final = Document(table="stream_projections", field="plan", type="object", empty=_OBJECT, items=limits.PLAN_STEPS)


def _genes(table: str, field: str) -> Document:
    return Document(table=table, field=field, type="array", empty=_ARRAY, items=limits.GENE_IDS, longest=limits.GENE_ID)


DOCUMENTS: Final = (
    _genes("control_sets", "positive_ids"),
    _genes("control_sets", "negative_ids"),
    Document(table="control_sets", field="tags", type="array", empty=_ARRAY, items=limits.TAGS, longest=limits.TAG),
    Document(
        table="experiments",
        field="data",
        type="object",
        empty=_OBJECT,
        wrong="jsonb_build_object('legacy', {})",
        fixed="kept under the key legacy",
    ),
    _genes("gene_sets", "gene_ids"),
    Document(table="gene_sets", field="parameters", type=None, empty="NULL::jsonb"),
    Document(table="gene_sets", field="parent_set_ids", type="array", empty=_ARRAY, items=limits.PARENT_SETS),
    PLAN,
)

_MADE: Final = (
    """CREATE TEMP TABLE adopting_documents (
        entity text NOT NULL, field text NOT NULL, key text COLLATE "C" NOT NULL, fixed text,
        document jsonb
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
SELECT o.id, COALESCE(d.document::text, o.parent_set_ids::text) AS text
FROM old_gene_sets o LEFT JOIN adopting_documents d
  ON d.entity = 'gene_sets' AND d.field = 'parent_set_ids' AND d.key = o.id
WHERE json_typeof(o.parent_set_ids) = 'array'
  AND COALESCE(d.document::text, o.parent_set_ids::text) !~ '{_LIST_OF_IDS}'"""

_KNOWN: Final = "SELECT legacy_id, id FROM adopting_ids WHERE kind = 'gene_sets' AND legacy_id = ANY ($1::text[])"

_PUT: Final = """
INSERT INTO adopting_documents (entity, field, key, document)
SELECT $1, put.field, put.key, put.document::jsonb
FROM unnest($2::text[], $3::text[], $4::text[]) AS put(field, key, document)
ON CONFLICT (entity, field, key) DO UPDATE SET document = excluded.document"""

_ODD: Final = "{} that are no texts were left out, and {} lost white space around them"

_LONG_NUMBER: Final = re.compile(r"[0-9][eE][-+]?[0-9]{3}|[0-9]{255}", re.ASCII)

_COLUMNS: Final = ("entity", "field", "key", "fixed")


async def fix_documents(work: Work) -> None:
    """Fix what jsonb would refuse; afterwards ``adopting_documents`` has each such document as it will be."""
    for statement in _MADE:
        await work.run(statement)
    for document in work.steps("reading documents", DOCUMENTS):
        table, field = document.table, document.field
        levels = limits.PLAN_DEPTH if document is PLAN else limits.DOCUMENT_DEPTH
        query = _SUSPICIOUS.format(table=table, field=field, levels=levels, suspicion=document.suspicion())
        async for rows in work.batches(query, FEW):
            records, noted = [], []
            for key, original in rows:
                text, problems = _fixed(original, document)
                noted += [(key, kind, field, fixed) for kind, fixed in problems]
                # Most often a pair of surrogates, which is well as it is.
                if text != original or _LONG_NUMBER.search(original):
                    records.append((table, field, key, text))
            await work.note_each(table, noted)
            await work.copy("adopting_documents", _COLUMNS, records)
        await _convert(work, document)
    await _convert_parents(work)
    await work.run("ANALYZE pg_temp.adopting_documents")


def _fixed(original: str, document: Document) -> tuple[str | None, list[tuple[ProblemKind, str]]]:
    """A document's text as it will be, ``None`` where it cannot be kept; and what is listed of it."""
    text, problems = storable(original), []
    try:
        value = decode(text)
    except ValueError:  # a number that no double holds
        return None, []
    if depth(text) > limits.DOCUMENT_DEPTH:
        return None, []
    if text != original:
        problems.append((ProblemKind.UNSTORABLE_TEXT, "characters that cannot be stored became U+FFFD"))
    if document.longest and isinstance(value, list):
        texts = [item for item in value if isinstance(item, str)]
        kept = texts if document.field == "tags" else [item.strip(SPACE) for item in texts]
        if kept != value:
            odd = _ODD.format(len(value) - len(texts), sum(map(ne, texts, kept)))
            problems.append((ProblemKind.MALFORMED_DOCUMENT, odd))
            text, value = json.dumps(kept), kept
    else:
        text = with_floats(text)
    if reason := _over_limit(document, value, text):
        problems.append((ProblemKind.OVER_LIMIT, f"kept; it cannot be saved again: {reason}"))
    if has_large_integer(text):
        rounded = "kept; an integer of more than 64 bits reads back as a float"
        problems.append((ProblemKind.INEXACT_NUMBER, rounded))
    return text, problems


def _over_limit(document: Document, value: Any, text: str) -> str | None:  # noqa: ANN401 - stored JSON
    """Which limit of what is written a document is over."""
    if isinstance(value, list) and document.items and len(value) > document.items:
        return f"it has more than {document.items} items"
    if isinstance(value, list) and document.longest and max(map(len, value), default=0) > document.longest:
        return f"an item has more than {document.longest} characters"
    try:
        if isinstance(value, dict) and document is PLAN:
            check_plan(value, document.field)
        if len(text) > limits.DOCUMENT_BYTES:
            encode(value, document.field)
    except InvalidInputError as exc:
        return exc.reason
    return None


async def _convert(work: Work, document: Document) -> None:
    """Text to jsonb, and to the type of the column; note what was done."""
    here = f"entity = '{document.table}' AND field = '{document.field}'"
    await work.run(f"UPDATE adopting_documents SET document = pg_temp.adopting_jsonb(fixed) WHERE {here}")
    await work.note(
        ProblemKind.MALFORMED_DOCUMENT,
        document.table,
        document.field,
        "nested too deep, or with a number that is too large: made empty",
        f"SELECT key FROM adopting_documents WHERE {here} AND document IS NULL",
    )
    wrong = ""
    if document.type is not None:
        other = f"jsonb_typeof(document) <> '{document.type}'"
        plain = f"json_typeof(o.{document.field}) <> '{document.type}'"
        await work.note(
            ProblemKind.MALFORMED_DOCUMENT,
            document.table,
            document.field,
            document.fixed,
            f"SELECT key FROM adopting_documents WHERE {here} AND {other} UNION ALL "
            f"SELECT o.id FROM old_{document.table} o {document.join()} "
            f"WHERE {plain} AND d_{document.field}.key IS NULL",
        )
        wrong = f"WHEN {other} THEN {document.wrong.format('document') or document.empty}"
    await work.run(
        f"UPDATE adopting_documents SET fixed = NULL,"
        f" document = CASE WHEN document IS NULL THEN {document.empty} {wrong} ELSE document END WHERE {here}"
    )


async def _convert_parents(work: Work) -> None:
    """Old ids in lists of sets that a set was derived from."""
    async for rows in work.batches(_PARENTS, FEW * FEW):
        lists = [(row["id"], decode(row["text"])) for row in rows]
        texts = [it for _, ids in lists for it in ids if isinstance(it, str)]
        known = dict(await work.connection.fetch(_KNOWN, texts))
        noted, mapped = [], []
        for key, ids in lists:
            kept = [str(known.get(it) or adopted_id(it)) for it in ids if isinstance(it, str)]
            mapped.append(("parent_set_ids", key, json.dumps(kept)))
            if len(kept) < len(ids):
                fixed = f"{len(ids) - len(kept)} that are no ids were left out"
                noted.append((key, ProblemKind.MALFORMED_DOCUMENT, "parent_set_ids", fixed))
        await work.note_each("gene_sets", noted)
        await put_documents(work, "gene_sets", mapped)


async def put_documents(work: Work, table: str, documents: Sequence[tuple[str, str, str]]) -> None:
    """Put documents, given as columns, old ids and JSON texts, in place of those that are there."""
    columns = [list(column) for column in zip(*documents, strict=True)] or [[], [], []]
    await work.connection.execute(_PUT, table, *columns)
