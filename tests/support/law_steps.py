"""What the law's machine does at random: calls of repositories, events, units of work, and where they are cut off.

Few names, few WDK ids, two users: so that they collide. Numbers stand for conversations; `LawWorld` says which.
"""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.support.law_deaths import POINTS
from tests.support.logs import DATA, GARBAGE, RAW, TYPED
from veupath_store.events.log.entries import Event

NAMES = st.sampled_from(["", "A", "A (1)", "B", "New Conversation", "New Conversation (1)"])
WDK_IDS = st.integers(1, 3)
SITES = st.sampled_from(["plasmodb", "plasmodb", "plasmodb", "toxodb"])
USERS = st.sampled_from([0, 0, 0, 1])
STREAMS = st.integers(0, 9)
PLANS = st.sampled_from([{}, {"root": {"id": "a", "searchName": "s"}}, {"recordType": "gene", "root": None}])


@dataclass(frozen=True)
class Call:
    """A call of a repository's method, by the name of one of `law_calls.Calls`."""

    kind: str
    given: dict[str, Any]

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(f'{key}={value!r}' for key, value in self.given.items())})"


@dataclass(frozen=True)
class Told:
    """Events that another process appends, past any unit of work."""

    stream: int
    events: tuple[Any, ...]
    """An `Event`, or a type and bytes that are written as they are."""


@dataclass(frozen=True)
class Said:
    """Events that are part of a unit of work."""

    stream: int
    events: tuple[Any, ...]


@dataclass(frozen=True)
class Nested:
    """Calls in a savepoint, which may be undone."""

    calls: tuple[Any, ...]
    undone: bool


def call(kind: str, **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    return st.fixed_dictionaries(given).map(lambda values: Call(kind, values))


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def several(of: st.SearchStrategy[Any], least: int, most: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, min_size=least, max_size=most).map(tuple)


FIELDS = some(
    name=st.sampled_from(["A", "A (1)", "B", "New Conversation"]),
    record_type=st.sampled_from(["gene", "transcript"]),
    wdk_strategy_id=WDK_IDS | st.none(),
    is_saved=st.booleans(),
    plan=PLANS,
    step_count=st.integers(0, 3),
    result_count=st.integers(0, 3) | st.none(),
    gene_set_id=st.integers(0, 3) | st.none(),
    gene_set_auto_imported=st.booleans(),
)
SYNCED = st.fixed_dictionaries(
    {"wdk_strategy_id": WDK_IDS, "name": NAMES},
    optional={
        "record_type": st.sampled_from(["gene", "", None]),
        "is_saved": st.booleans(),
        "result_count": st.integers(0, 3) | st.none(),
        "step_count": st.integers(0, 3),
    },
)
LIVE = st.lists(WDK_IDS, max_size=3, unique=True)

OFTEN = (
    call("create", user=USERS, site=SITES, stream=st.none() | STREAMS, name=NAMES),
    call("patch", stream=STREAMS, fields=FIELDS),
    call("update", stream=STREAMS, fields=FIELDS),
    call("claim", stream=STREAMS, wdk=WDK_IDS, is_saved=st.booleans()),
    call("sync", user=USERS, site=SITES, strategies=st.lists(SYNCED, min_size=1, max_size=4)),
)
SELDOM = (
    call("ensure", user=USERS, site=SITES, stream=STREAMS, name=NAMES),
    call("for_experiment", user=USERS, site=SITES, experiment=st.integers(0, 1), name=NAMES),
    call("dismiss", stream=STREAMS),
    call("restore", stream=STREAMS),
    call("dismiss_orphans", user=USERS, site=SITES, live=LIVE),
    call("prune", user=USERS, site=SITES, live=LIVE),
    call("import_genes", stream=STREAMS, automatic=st.booleans()),
    call("delete_genes", gene_set=st.integers(0, 3)),
    call("delete", stream=STREAMS),
)
CHANGES = st.one_of(
    st.just(()), st.tuples(call("patch", fields=FIELDS)), *[st.tuples(call("dismiss"), call("restore"))] * 2
)
"""Calls that are still to be given their conversation."""

RARELY = (
    call("purge", user=USERS, site=SITES, dismiss=st.booleans()),
    call("purge", user=USERS, dismiss=st.booleans()),
    call("delete_user", user=USERS),
)
CALLS: st.SearchStrategy[Call] = st.deferred(lambda: st.one_of(*OFTEN * 4, *SELDOM * 2, *RARELY))


def event(kind: str, data: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    return st.builds(Event, type=st.just(kind), data=data)


RIGHT = (
    event("user_message", st.just({"content": "hello"})),
    event("assistant_delta", st.just({"text": "he"})),
    event("of_tomorrow", st.just({})),
    event("strategy_meta", some(name=NAMES, recordType=st.sampled_from(["gene", ""]))),
    event("strategy_link", some(wdkStrategyId=WDK_IDS, isSaved=st.booleans())),
    event("strategy_link", st.fixed_dictionaries({"wdkStrategyId": WDK_IDS})),
    event("model_selected", some(modelId=NAMES)),
    event("graph_cleared", st.just({})),
    event("graph_plan", some(plan=PLANS, name=NAMES)),
    event(
        "graph_snapshot",
        some(
            graphSnapshot=some(
                steps=st.just([{"id": "a", "searchName": "s", "filters": [1]}]),
                rootStepId=st.sampled_from(["a", "a", None]),
                name=NAMES,
            )
        ),
    ),
)
CLAIMING = (
    event("strategy_meta", st.fixed_dictionaries({"name": NAMES})),
    event("strategy_link", st.fixed_dictionaries({"wdkStrategyId": WDK_IDS})),
    event("graph_cleared", st.just({})),
)
PATCHED = some(
    name=NAMES,
    wdkStrategyId=WDK_IDS | st.none(),
    isSaved=st.booleans(),
    created=st.booleans(),
    dismissedReason=st.sampled_from(["user", None, "boredom"]),
    order=st.integers(0, 9),
    whole=st.sampled_from(["made", "", 7]),
    tags=st.sampled_from([{"name": "w"}, {"name": 7}, [], {"plan": "w", "message_count": "w"}]),
)
ODD = (
    event("projection_patched", PATCHED),
    st.sampled_from(sorted(DATA)).flatmap(lambda kind: event(kind, DATA[kind].filter(lambda d: isinstance(d, dict)))),
    TYPED,
    st.tuples(st.sampled_from(sorted(DATA)), RAW),
    st.tuples(st.sampled_from(sorted(DATA)), GARBAGE.map(lambda data: json.dumps(data).encode())),
)
EVENTS: st.SearchStrategy[Any] = st.deferred(lambda: st.one_of(*RIGHT, *RIGHT, *ODD))
TELLINGS = st.builds(Told, STREAMS, several(EVENTS, 1, 3))
MESSAGES = st.builds(Told, STREAMS, several(st.one_of(*RIGHT[:1] * 9, *RIGHT), 3, 5))
SAYINGS = st.builds(Said, STREAMS, several(st.one_of(*RIGHT), 1, 3))
CLAIMS = st.builds(Told, STREAMS, several(st.one_of(*CLAIMING), 3, 6))
SAVEPOINTS = st.builds(Nested, several(CALLS, 1, 2), st.booleans())
PARTS = several(
    st.one_of(CALLS, CALLS, CALLS, TELLINGS, SAYINGS, SAVEPOINTS, st.sampled_from(["commit", "rollback"])), 1, 5
)

DEATHS = st.sampled_from(POINTS)
ENDINGS = st.one_of(st.sampled_from(["leave", "leave", "leave", "raise"]), DEATHS)
SELDOM_DEAD = st.sampled_from(["", "", ""]) | DEATHS
RACERS = st.one_of(
    st.tuples(st.just("call"), CALLS),
    st.tuples(st.just("call"), CALLS),
    st.tuples(st.just("unit"), PARTS, ENDINGS),
    st.tuples(st.just("tell"), TELLINGS),
    st.tuples(st.just("catch_up"), STREAMS, st.just(1), st.just("")),
    st.tuples(st.just("rebuild"), STREAMS, st.just(()), st.just("")),
)
