"""Whether a statement leaves something behind in its connection's session, so that the connection must be reset.

asyncpg resets a connection whenever it is given back to a pool (``RESET ALL``, ``CLOSE ALL``, ``UNLISTEN *``, and
advisory locks): one round trip more for every call. It is needed only after a statement that set something for the
session. Which those are cannot be told of SQL in general, because a function may do anything. So the question is turned
around: a connection is spared the reset only if each of its statements is of a kind that sets nothing, and calls only
functions of a list. Whatever is not recognised is followed by a reset.

What this cannot see is a trigger, an operator or a default of the database's own that sets something for the session,
past its transaction (``set_config(…, false)``). The store has none.
"""

import re
from functools import lru_cache
from typing import Final

_ROWS: Final = re.compile(r"[\s(]*(SELECT|INSERT|UPDATE|DELETE|WITH|VALUES)\b", re.IGNORECASE)
"""Statements that read or write rows."""

_CONTROL: Final = re.compile(
    r"BEGIN(; SET LOCAL \w+ = \d+)*|(COMMIT|ROLLBACK)( AND CHAIN)?|(SAVEPOINT|RELEASE SAVEPOINT) \w+"
    r"|ROLLBACK TO SAVEPOINT \w+; RELEASE SAVEPOINT \w+"
)
"""What bounds a transaction, as the engine sends it."""

# In the order in which they stand: a quote in a comment begins no string, and two dashes in a string no comment.
_LITERAL: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*")

# Several statements; strings and names with escapes, which are not read here; a schema that is written with a space.
_UNREADABLE: Final = re.compile(r";|/\*|\$(?!\d)|\b[EU]&?'|\.\s", re.IGNORECASE)

# A name before a bracket that is no function's: the table of an INSERT, a conflict's columns, a named query, an alias.
_NO_CALL: Final = re.compile(
    r"\bINTO\s+[\w\"]+\s*\(|\bCONFLICT\s*\(|\bAS\s+\w+\s*\("
    r"|\b\w+\s*\([\w\s,\"]*\)\s+AS\s+(?:(?:NOT\s+)?MATERIALIZED\s+)?(?=\(\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|VALUES\s*\())",
    re.IGNORECASE,
)
_CALL: Final = re.compile(r"([\w\".]+)\s*\(")

_WORDS: Final = frozenset(
    """
    all and any array as between by case check char distinct else end except exists filter from having in intersect
    into is lateral limit materialized not null numeric of offset on or order over partition recursive returning row
    select set some then union update using values varchar when where with within
    """.split()  # noqa: SIM905 - a list of a hundred quoted words reads worse
)
"""Words of SQL that may stand before a bracket."""

_FUNCTIONS: Final = frozenset(
    """
    abs array_agg array_append array_length array_position array_remove avg bool_and bool_or cardinality ceil
    clock_timestamp coalesce concat count current_database current_setting date_trunc dense_rank extract first_value
    floor format gen_random_uuid generate_series greatest jsonb_agg jsonb_array_elements jsonb_array_elements_text
    jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_object_agg jsonb_object_keys jsonb_set
    jsonb_strip_nulls jsonb_typeof lag last_value lead least left length lower make_interval max md5 min mod now
    nullif octet_length pg_column_size pg_current_snapshot pg_current_xact_id pg_current_xact_id_if_assigned
    pg_is_in_recovery pg_snapshot_xmin pg_visible_in_snapshot pg_xact_status rank regexp_matches regexp_replace
    repeat replace right round row_number row_to_json split_part statement_timestamp string_agg strpos substr
    substring sum to_char to_jsonb to_regclass transaction_timestamp trim txid_current unnest upper
    """.split()  # noqa: SIM905
)
"""Functions of PostgreSQL that set nothing for the session."""


@lru_cache(maxsize=2_048)
def leaves_nothing(sql: str) -> bool:
    """Whether a statement certainly leaves nothing behind in its session.

    Args:
        sql: The text that is sent.

    Returns:
        ``False`` also where it cannot be told.
    """
    if _CONTROL.fullmatch(sql):
        return True
    if re.search(r"\b[EU]&?'", sql, re.IGNORECASE):
        return False
    bare = _LITERAL.sub(_plain, sql)
    if _UNREADABLE.search(bare) or not _ROWS.match(bare):
        return False
    return all(name.lower() in _FUNCTIONS or name.lower() in _WORDS for name in _CALL.findall(_NO_CALL.sub(" ", bare)))


def _plain(literal: "re.Match[str]") -> str:
    text = literal[0]
    if text.startswith("'"):
        return "''"
    return " " if text.startswith("--") else text
