"""Random logs: entries of every type, with data that is right, wrong, or garbage."""

import json
from typing import Any

from hypothesis import strategies as st

from veupath_store.events.fold.fold import PROJECTING
from veupath_store.events.log.entries import Entry, Position

ODD_TEXTS = ("", "a", "x" * 300, "\0", "\ud800", "\ude00", "\ud83d\ude00", "\\u0000", "\\\0", "\u00e9", "combine")
SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 7, -1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 1.5, 1e17])
    | st.sampled_from(ODD_TEXTS)
    | st.text(st.characters(), max_size=3)
)
GARBAGE = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["root", "id", "a\0"]), inner),
    max_leaves=5,
)
NAMES = st.sampled_from([*ODD_TEXTS, "Kinases"])
STEP_IDS = st.sampled_from(["a", "a", "b", "c", "d", 7, "7", None, "", True])
INPUT_IDS = st.sampled_from(["b", "c", "d", "d", 7, "gone", "gone", None, "", True])


def mostly(right: st.SearchStrategy[Any], wrong: st.SearchStrategy[Any] = GARBAGE) -> st.SearchStrategy[Any]:
    return st.sampled_from([right] * 9 + [wrong]).flatmap(lambda it: it)


@st.composite
def objects(draw: st.DrawFn, /, **fields: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Objects with most of the fields: each is right most of the time, and sometimes garbage."""
    return {
        key: draw(mostly(value)) for key, value in fields.items() if draw(st.sampled_from([True, True, True, False]))
    }


STEPS = objects(
    id=STEP_IDS,
    kind=st.sampled_from(["search", "transform", "combine"]),
    searchName=NAMES,
    operator=st.sampled_from(["INTERSECT", None, ""]),
    parameters=st.dictionaries(NAMES, GARBAGE, max_size=2),
    displayName=NAMES,
    colocationParams=st.just({"upstream": 100}),
    primaryInputStepId=INPUT_IDS,
    secondaryInputStepId=INPUT_IDS,
    wdkStepId=st.none() | GARBAGE,
)
SNAPSHOTS = objects(
    steps=st.lists(mostly(STEPS), max_size=5),
    rootStepId=STEP_IDS,
    name=NAMES,
    graphName=NAMES,
    recordType=NAMES,
)


def rooted(snapshot: dict[str, Any]) -> dict[str, Any]:
    """The same snapshot, whose root is its first step."""
    match snapshot.get("steps"):
        case [{"id": identity}, *_]:
            return {**snapshot, "rootStepId": identity}
    return snapshot


PLAN_NODES = st.recursive(
    objects(id=STEP_IDS, searchName=NAMES),
    lambda inner: objects(id=STEP_IDS, searchName=NAMES, operator=NAMES, primaryInput=inner, secondaryInput=inner),
    max_leaves=6,
)
PLANS = objects(root=PLAN_NODES, recordType=NAMES, metadata=objects(name=NAMES))
TIMES = st.sampled_from(
    [
        *("2024-05-06T07:08:09.123456+02:00", "2024-05-06T07:08:09Z", "2024-05-06T07:08:09", "2024-13-01"),
        *("0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    ]
)
PATCHES = objects(
    name=NAMES,
    recordType=NAMES | st.none(),
    wdkStrategyId=st.integers(0, 5) | st.none(),
    wdkEventId=st.sampled_from([None, "5-3", "007-0", "x", f"{2**64}-0"]),
    isSaved=st.booleans(),
    modelId=NAMES | st.none(),
    messageCount=st.integers(0, 9),
    stepCount=st.integers(0, 9),
    plan=PLANS,
    resultCount=st.integers(0, 9) | st.none(),
    dismissedReason=st.sampled_from(["user", "wdk_orphan", "purge", "boredom", None]),
    geneSetId=st.sampled_from(["11111111-2222-4333-8444-555555555555", "1111", None]),
    geneSetAutoImported=st.booleans(),
    created=st.sampled_from([False, False, False, True]),
    whole=st.sampled_from([None, None, None, None, 7, "made", "lost", "trim"]),
    unrootedSteps=st.lists(STEPS, max_size=2) | st.none(),
    messagesAfter=st.sampled_from([None, "5-3", "007-0", "x", f"{2**64}-0"]),
    lost=st.just({"messages": 2}),
    updatedAt=TIMES,
    dismissedAt=TIMES,
    order=st.integers(0, 10**6 + 1),
    xact=st.just("77"),
)
DATA: dict[str, st.SearchStrategy[Any]] = {
    "user_message": objects(content=NAMES),
    "assistant_message": objects(content=NAMES),
    "strategy_meta": objects(name=NAMES, recordType=NAMES),
    "strategy_link": objects(wdkStrategyId=st.integers(0, 5), isSaved=st.booleans()),
    "graph_snapshot": objects(
        graphSnapshot=SNAPSHOTS | SNAPSHOTS.map(rooted),
    ),
    "graph_plan": objects(plan=PLANS, name=NAMES, recordType=NAMES),
    "model_selected": objects(modelId=NAMES),
    "graph_cleared": st.just({}),
    "projection_patched": PATCHES,
    "assistant_delta": objects(text=NAMES),
    "of_tomorrow": GARBAGE,
}
assert DATA.keys() >= PROJECTING

RAW = st.sampled_from(
    [b"", b"{", b"[]", b"null", b"7", b"NaN", b'"text"', b'{"name":NaN}', b"\xff", b'{"name":"\xff"}']
)
INTRICATE = ("graph_snapshot", "projection_patched")
TYPED = st.sampled_from([*sorted(DATA), *INTRICATE * 3]).flatmap(
    lambda kind: st.tuples(st.just(kind), mostly(mostly(DATA[kind]).map(lambda data: json.dumps(data).encode()), RAW))
)
POSITIONS = st.builds(Position, st.integers(0, 30) | st.just(2**64 - 1), st.integers(0, 3))
ENTRIES = st.builds(lambda position, typed: Entry(position, *typed), POSITIONS, TYPED)
LOGS = st.lists(ENTRIES, max_size=12)
"""Not in order, with positions twice: both happen to whoever reads in pages and tries again."""

ORDERED_LOGS = st.lists(TYPED, max_size=12).map(
    lambda many: [Entry(Position(1_700_000_000_000 + n, 0), *typed) for n, typed in enumerate(many)]
)


def log(*events: tuple[str, Any], start: int = 1) -> list[Entry]:
    """Entries at ``start-0``, ``start+1-0``, …, from types and data; bytes are taken as they are."""
    return [entry(kind, data, ms) for ms, (kind, data) in enumerate(events, start)]


def entry(kind: str, data: Any = None, ms: int = 1, seq: int = 0) -> Entry:
    raw = data if isinstance(data, bytes) else json.dumps({} if data is None else data).encode()
    return Entry(Position(ms, seq), kind, raw)
