"""Documents that are kept as they are, and yet do not read as before, or are over a limit of what is written."""

from typing import Any, Final

from veupath_store.adoption.text import depth, has_large_integer
from veupath_store.adoption.values import ProblemKind
from veupath_store.adoption.work import Work
from veupath_store.documents.json import decode, encode
from veupath_store.documents.plans import check_plan
from veupath_store.errors import InvalidInputError
from veupath_store.inputs import limits

# The limits of a column's items and of the characters of one, and what each item brings with it.
_GENES: Final = (limits.GENE_IDS, limits.GENE_ID, ",")
_LIMITS: Final = {
    ("control_sets", "positive_ids"): _GENES,
    ("control_sets", "negative_ids"): _GENES,
    ("control_sets", "tags"): (limits.TAGS, limits.TAG, ","),
    ("gene_sets", "gene_ids"): _GENES,
    ("gene_sets", "parent_set_ids"): (limits.PARENT_SETS, None, ","),
    ("stream_projections", "plan"): (limits.PLAN_STEPS, None, "{"),
}

# Any number that may read back as another, or not at all: jsonb has no exponents and 16,383 digits behind a point at
# most, and orjson reads integers of 64 bits. What stands before a number keeps digits of names and hashes out.
_NUMBERS: Final = (
    r"d.text ~ '(^|[\[:,\s])-?([0-9]{19}|[0-9]+(\.[0-9]+)?[eE](\+?[0-9]|-[0-9]{5}))'",
    r"(octet_length(d.text) > 16383 AND d.text ~ '\.[0-9]{255}')",
)
# Of a list of texts: what begins an item that is none, and what may be white space around one, or an escape for it.
_ODD_ITEM: Final = r"""d.text ~ '[[,]\s*[^"\s\]]|[^[,]\s|[\\\uFEFF]'"""
_NOTES: Final = "SELECT id FROM old_control_sets WHERE length(provenance_notes) > {most}"

# A regular expression of the server repeats something as often at most.
_REPEATED: Final = 255


def suspicion(table: str, field: str) -> str:
    """SQL for whether a document's text ``d.text`` has to be looked at; true of some that are well."""
    conditions = [*_NUMBERS, f"octet_length(d.text) > {limits.DOCUMENT_BYTES}"]
    if (table, field) in _LIMITS:
        most, longest, mark = _LIMITS[table, field]
        items = f"octet_length(d.text) - octet_length(replace(d.text, '{mark}', '')) >= {most}"
        conditions.append(f"(octet_length(d.text) > {most} AND {items})")
        if longest:
            conditions += [f"""d.text ~ '"[^"]{{{min(longest + 1, _REPEATED)}}}'""", _ODD_ITEM]
    return " OR ".join(conditions)


async def note_kept(work: Work, table: str, field: str, documents: list[tuple[str, str]]) -> None:
    """Note it of some documents, given as old ids and texts that the store reads."""
    beyond = [(key, reason) for key, text in documents if (reason := _beyond(table, field, text))]
    inexact = [key for key, text in documents if has_large_integer(text)]
    await work.note_each(
        ProblemKind.OVER_LIMIT, table, field, [(key, f"kept; it cannot be saved again: {why}") for key, why in beyond]
    )
    rounded = "kept; an integer of more than 64 bits reads back as a float"
    await work.note_each(ProblemKind.INEXACT_NUMBER, table, field, [(key, rounded) for key in inexact])


async def note_provenance(work: Work) -> None:
    """Note it of the only long text that is no document."""
    why = f"kept; it cannot be saved again: it has more than {limits.PROVENANCE_NOTES} characters"
    rows = _NOTES.format(most=limits.PROVENANCE_NOTES)
    await work.note(ProblemKind.OVER_LIMIT, "control_sets", "provenance_notes", why, rows)


def _beyond(table: str, field: str, text: str) -> str | None:
    """Which limit a document is over."""
    value = decode(text)
    try:
        if isinstance(value, list) and (table, field) in _LIMITS:
            _check_list(value, field, *_LIMITS[table, field][:2])
        elif isinstance(value, dict) and field == "plan":
            check_plan(value, field)
        if len(text) > limits.DOCUMENT_BYTES or depth(text) > limits.DOCUMENT_DEPTH:
            encode(value, field)
    except InvalidInputError as exc:
        return exc.reason
    return None


def _check_list(value: list[Any], field: str, most: int, longest: int | None) -> None:
    if len(value) > most:
        raise InvalidInputError(field, f"it has more than {most} items")
    if longest and any(isinstance(item, str) and len(item) > longest for item in value):
        raise InvalidInputError(field, f"an item has more than {longest} characters")
