"""Legacy databases that Hypothesis draws: small, and full of what should not be."""

import json
from datetime import UTC, datetime

from hypothesis import strategies as st

from tests.support.legacy.rows import Row, World, identity
from tests.support.legacy.schema import TABLES

KEYS = st.one_of(
    st.integers(1, 4).map(identity),
    st.integers(1, 4).map(lambda number: identity(number).upper()),
    st.sampled_from(["x", "exp_0123456789ab", "op_0123456789ab", "exp_0123456789abc", "Ä 🧬", identity(1)[:-1], ""]),
)
# No two that differ in case alone: one of them would be a conversation in two tables and the other in one.
STREAM_KEYS = st.sampled_from([*map(identity, range(1, 5)), identity(5).upper(), "x", "Ä 🧬", ""])
OPERATION_KEYS = KEYS.map(lambda key: key[:32])
SITES = st.sampled_from(["plasmodb", "toxodb", ""])
NAMES = st.one_of(
    st.sampled_from(["", "a", "a (1)", "a (2)", "n" * 255, "n" * 251 + " (1)", "New Conversation"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
)
TIMES = st.one_of(
    st.sampled_from([datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)]),
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - both are UTC
)
NUMBERS = st.integers(-(2**31), 2**31 - 1)
WDK_IDS = st.none() | st.integers(1, 3)
POSITIONS = st.none() | st.from_regex(r"\A[0-9]{1,20}-[0-9]{1,8}\Z") | st.text("0123456789-x\u0661", max_size=30)

# Also lone surrogates and U+0000, which JSON text can hold and jsonb cannot.
_TEXTS = st.text(st.characters(), max_size=6) | st.sampled_from(["\0", "\ud800", "\udc00\ud800", "\\u0000", "\\ud800"])
_SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
_VALUES = st.recursive(
    _SCALARS | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)
_STEPS = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from(["a", "b", "c", 7, None, ""])},
        optional={
            "searchName": st.sampled_from(["GenesByTaxon", "", None, "\0"]),
            "kind": st.sampled_from(["search", "combine"]),
            "operator": st.sampled_from(["UNION", "", None, 3]),
            "parameters": st.dictionaries(st.sampled_from("pq"), st.integers(0, 9) | st.text("xy"), max_size=2),
            "primaryInputStepId": st.sampled_from(["a", "b", "gone", 7, None]),
            "secondaryInputStepId": st.sampled_from(["b", "c", None]),
            "estimatedSize": st.sampled_from([None, 0, 7, 2**63]),
            "filters": st.lists(st.integers(0, 3), max_size=1),
        },
    ),
    max_size=4,
)


def _written(value) -> str:
    """JSON text, in one of two ways to write it; text that UTF-8 cannot have stays escaped."""
    try:
        plain = json.dumps(value, ensure_ascii=False, indent=1)
        plain.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return plain


DOCUMENTS = _VALUES.map(json.dumps) | _VALUES.map(_written)
_PADDED = st.sampled_from([" a", "a\r\n", "\ufeffa", "\u00a0", "a\u3000"])
_LISTS = st.lists(_TEXTS | _PADDED, max_size=3)
LISTS = _LISTS.map(json.dumps) | _LISTS.map(_written) | DOCUMENTS
PARENTS = st.lists(KEYS | st.integers(), max_size=3).map(json.dumps) | DOCUMENTS
OBJECTS = st.dictionaries(_TEXTS | st.just("isPrimary"), _VALUES, max_size=3).map(json.dumps) | DOCUMENTS
PLANS = OBJECTS | st.sampled_from(
    [
        *("{}", '{"root": {"id": "a"}}', '{"recordType": "gene"}', '{"metadata": {"name": "x", "own": 1}}'),
        '{"root": {"id": 7, "searchName": "GenesByTaxon", "filters": [], "primaryInput": {"id": "a"}}}',
    ]
)


@st.composite
def worlds(draw, *, nullable: bool) -> World:
    """Rows for every table; ``nullable`` for Alembic's variant."""
    user = st.none() | KEYS
    rows: dict[str, list[Row]] = {table: [] for table in TABLES}

    def fill(table, key, keys=KEYS, *, other=None, **values):
        """Rows with keys of their own; `other` may be null in both variants, and is drawn as it is."""
        may_be_null = {name: st.none() | value for name, value in values.items()} if nullable else values
        columns = st.fixed_dictionaries({key: keys, **(other or {}), **may_be_null})
        rows[table] = draw(st.lists(columns, max_size=4, unique_by=lambda row: row[key]))

    fill("users", "id", created_at=TIMES)
    for number, row in enumerate(rows["users"]):
        row["external_id"] = f"user {number}" if number % 2 else None
    common = {"site_id": SITES, "name": NAMES, "created_at": TIMES}
    lists = dict.fromkeys(("positive_ids", "negative_ids", "tags"), LISTS)
    fill("control_sets", "id", other={"user_id": user}, is_public=st.booleans(), version=NUMBERS, **common, **lists)
    fill("experiments", "id", other={"user_id": user}, data=OBJECTS, status=NAMES.map(lambda it: it[:20]), **common)
    sources = st.sampled_from(["paste", "saved", "other", ""])
    documents = {"gene_ids": LISTS, "parent_set_ids": PARENTS}
    own = {"user_id": user, "parameters": st.none() | DOCUMENTS}
    fill("gene_sets", "id", other=own, source=sources, step_count=NUMBERS, **documents, **common)
    own = {"experiment_id": st.none() | KEYS}
    fill("streams", "id", STREAM_KEYS, other=own, user_id=KEYS, site_id=SITES, created_at=TIMES)
    other = {
        "wdk_strategy_id": WDK_IDS,
        "last_event_id": POSITIONS.map(lambda it: it and it[:30]),
        "dismissed_at": st.none() | TIMES,
        "gene_set_id": st.none() | KEYS,
        "root_step_id": st.sampled_from([None, "a", "7"]),
        "record_type": st.sampled_from([None, "gene"]),
    }
    flags = dict.fromkeys(("is_saved", "gene_set_auto_imported"), st.booleans())
    documents = {"plan": PLANS, "steps": _STEPS.map(json.dumps) | DOCUMENTS}
    values = {"name": NAMES, "site_id": SITES, "updated_at": TIMES, "step_count": NUMBERS}
    fill("stream_projections", "stream_id", STREAM_KEYS, other=other, **flags, **documents, **values)
    statuses = st.sampled_from(["active", "completed", "failed", "cancelled", "odd"])
    values = {"stream_id": STREAM_KEYS, "status": statuses, "created_at": TIMES}
    fill("operations", "operation_id", OPERATION_KEYS, other={"completed_at": st.none() | TIMES}, **values)
    return _whole(rows)


def _whole(rows: dict[str, list[Row]]) -> World:
    """With a value for each column that was not drawn."""
    world = World()
    makers = (world.user, world.control_set, world.experiment, world.gene_set, world.stream)
    for table, make in zip(TABLES, makers, strict=False):
        for row in rows[table]:
            make(**row)
    for row in rows["stream_projections"]:
        world.projection(row.pop("stream_id"), **row)
    for row in rows["operations"]:
        world.operation(row.pop("stream_id"), **row)
    return world
