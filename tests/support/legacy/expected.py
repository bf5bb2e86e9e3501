"""What must become of each legacy row, by the documented rules alone."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from tests.support.legacy.claims import settle
from tests.support.legacy.deviations import Deviations
from tests.support.legacy.documents import Flag, Read, RefusedError
from tests.support.legacy.ids import NOBODY, Ids
from tests.support.legacy.rows import INFINITE, Row, Rows
from tests.support.legacy.schema import KEYS, TABLES
from tests.support.legacy.trees import UnbuildableError, gives_back, identity_of, plan_of, put_on_nodes

DEFAULT_NAME = "New Conversation"
SWITCHED = "The application was switched over while this was running."
SOURCES = ("strategy", "paste", "upload", "derived", "saved")
ENDED = ("completed", "failed", "cancelled")

# Nothing of a row is in a log of the store's yet.
LOGGED = (
    "name record_type wdk_strategy_id is_saved model_id message_count step_count plan unrooted_steps result_count "
    "dismissed_at dismissed_reason gene_set_id gene_set_auto_imported messages_after"
)
NOT_LOGGED = {
    "unlogged": sorted(LOGGED.split()),
    "unrooted_steps": None,
    "messages_after": None,
    "lost": None,
    "wdk_name": None,
    "wdk_name_of": None,
    "plan_version": 0,
}
FIRST = "0-0"
"""The position of a row that has seen nothing of a log which may be there."""

_POSITION = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


# Items of a list, and characters of one.
GENES, TAGS, PARENTS = (250_000, 100), (100, 100), (1_000, 10**9)
LIMITS = {"positive_ids": GENES, "negative_ids": GENES, "gene_ids": GENES, "tags": TAGS, "parent_set_ids": PARENTS}
TEXTS = set(LIMITS) - {"parent_set_ids"}
PLAN_DEPTH = 200


def _trimmed(text: str) -> str:
    for _ in range(2):
        while text and (text[-1].isspace() or text[-1] == "\ufeff"):
            text = text[:-1]
        text = text[::-1]
    return text


def _is_over(field: str, value: Any) -> bool:
    """Whether the store would not write a document that it keeps."""
    if field == "plan":
        node, level = value.get("root"), 0
        while isinstance(node, dict):
            node, level = node.get("primaryInput"), level + 1
        return level > PLAN_DEPTH
    most, longest = LIMITS.get(field, (10**9, 10**9))
    return len(value) > most or any(isinstance(item, str) and len(item) > longest for item in value)


class Expected:
    """The adopted database.

    Attributes:
        legacy: The rows as they were.
        rows: By table and new id. A name that two conversations have is still there twice.
        deviations: Where they are not the legacy rows.
        ids: The new ids of each table.
    """

    def __init__(self, legacy: Rows, now: datetime) -> None:
        self.legacy = legacy
        self._now = now
        self.rows: dict[str, dict[Any, Row]] = {table: {} for table in (*TABLES, "document_ids")}
        self.deviations = Deviations()
        self._note = self.deviations.add
        texts = {table: [row[KEYS[table]] for row in legacy[table]] for table in TABLES}
        self.alone = set(texts["stream_projections"]) - set(texts["streams"])
        texts["streams"] += self.alone
        self.ids = {table: Ids(table, texts[table]) for table in TABLES if table != "stream_projections"}
        for table in TABLES:
            for row in legacy[table]:
                getattr(self, f"_{table}")(row[KEYS[table]], row)
        self._made_projections()
        settle(self)
        self._nobody()
        for table, ids in self.ids.items():
            for text in ids.malformed:
                place = "stream_projections" if table == "streams" and text in self.alone else table
                self._note(place, text, "malformed_id")

    def _filled(self, table: str, key: str, row: Row, **defaults: Any) -> Row:
        """The row's columns, with defaults for those that are null, which are noted."""
        unusable = {None: "missing_value", INFINITE: "unstorable_time"}
        filled = dict(defaults)
        for name in defaults:
            if isinstance(row[name], datetime | None) and row[name] in unusable:
                self._note(table, key, unusable[row[name]], name)
            else:
                filled[name] = row[name]
        return filled

    def _document(
        self, table: str, key: str, row: Row, field: str, kind: type, other: Callable[[Any], Any] | None = None
    ) -> Any:
        """A JSON column's value; of what is no `kind` comes what `other` makes of it, or an empty one."""
        if row[field] is None:
            self._note(table, key, "missing_value", field)
            return kind()
        read = self._read(table, key, row, field)
        if read is None:
            return kind()
        whole = isinstance(read.value, kind)
        if read.inexact:
            kept = other is not None or (whole and field not in TEXTS)
            self._note(table, key, "inexact_number", field, needed=kept)
        if whole and _is_over(field, read.value):
            self._note(table, key, "over_limit", field)
        if read.fixed:
            self._note(table, key, "unstorable_text", field, needed=whole or other is not None)
        if whole:
            return read.value
        self._note(table, key, "malformed_document", field)
        return other(read.value) if other else kind()

    def _texts(self, table: str, key: str, row: Row, field: str) -> list[str]:
        """A list of texts: what else is in it is left out, and genes lose white space around them."""
        items = self._document(table, key, row, field, list)
        texts = [item for item in items if isinstance(item, str)]
        kept = texts if field == "tags" else [_trimmed(item) for item in texts]
        if kept != items:
            self._note(table, key, "malformed_document", field)
        return kept

    def _owner(self, table: str, key: str, text: str | None) -> UUID:
        """A user who is there, or the named owner."""
        if text is not None and self.ids["users"][text] in self.rows["users"]:
            return self.ids["users"][text]
        self._note(table, key, "orphan")
        return NOBODY

    def _users(self, key: str, row: Row) -> None:
        filled = self._filled("users", key, row, created_at=self._now)
        self.rows["users"][self.ids["users"][key]] = {"external_id": row["external_id"], **filled}

    def _control_sets(self, key: str, row: Row) -> None:
        at = ("control_sets", key)
        filled = self._filled(
            *at, row, name="", site_id="", record_type="", version=1, is_public=False, created_at=self._now
        )
        public = filled["is_public"]
        owner = None if row["user_id"] is None and public else self._owner(*at, row["user_id"])
        owner = None if owner == NOBODY and public else owner
        self.rows["control_sets"][self.ids["control_sets"][key]] = {
            "user_id": owner,
            "is_seed": False,
            **filled,
            **{name: self._texts(*at, row, name) for name in ("positive_ids", "negative_ids", "tags")},
            **{name: row[name] for name in ("source", "provenance_notes")},
        }

    def _saved(self, kind: str, key: str, owner: UUID, columns: Row) -> None:
        new = self.ids[kind][key]
        self.rows[kind][new] = {"user_id": owner, "version": 1, **columns}
        self.rows["document_ids"][kind, new] = {"user_id": owner, "kind": kind, "deleted_at": None}

    def _experiments(self, key: str, row: Row) -> None:
        at = ("experiments", key)
        data = self._document(*at, row, "data", dict, lambda value: {"legacy": value})
        primary = any(data.get(name) == Flag(flag=True) for name in ("isPrimary", "isPrimaryBenchmark"))
        now = self._now
        columns = {
            **self._filled(*at, row, site_id="", name="", status="pending", created_at=now, updated_at=now),
            **{name: row[name] for name in ("batch_id", "benchmark_id")},
            "data": data,
            "is_primary": primary,
        }
        self._saved(*at, self._owner(*at, row["user_id"]), columns)

    def _gene_sets(self, key: str, row: Row) -> None:
        at = ("gene_sets", key)
        filled = self._filled(*at, row, site_id="", name="", source="paste", step_count=1, created_at=self._now)
        if filled["source"] not in SOURCES:
            self._note(*at, "unknown_value", "source")
            filled["source"] = "paste"
        parents = self._document(*at, row, "parent_set_ids", list)
        if any(not isinstance(parent, str) for parent in parents):
            self._note(*at, "malformed_document", "parent_set_ids")
        columns = {
            **filled,
            "gene_ids": self._texts(*at, row, "gene_ids"),
            "parameters": self._parameters(*at, row),
            "parent_set_ids": [str(self.ids["gene_sets"][one]) for one in parents if isinstance(one, str)],
        }
        for name in ("wdk_strategy_id", "wdk_step_id", "search_name", "record_type", "operation"):
            columns[name] = row[name]
        self._saved(*at, self._owner(*at, row["user_id"]), columns)

    def _parameters(self, table: str, key: str, row: Row) -> Any:
        """Any JSON value; null is none at all."""
        read = row["parameters"] and self._read(table, key, row, "parameters")
        if read and read.fixed:
            self._note(table, key, "unstorable_text", "parameters")
        if read and read.inexact:
            self._note(table, key, "inexact_number", "parameters")
        return read and read.value

    def _read(self, table: str, key: str, row: Row, field: str) -> Read | None:
        """A document as it reads; `None` for one that jsonb does not take, which is noted."""
        try:
            return Read(row[field])
        except RefusedError:
            return self._note(table, key, "malformed_document", field)

    def _streams(self, key: str, row: Row) -> None:
        at = ("streams", key)
        experiment = row.get("experiment_id")
        if experiment == "":
            self._note(*at, "missing_value malformed_id", "experiment_id", needed=False)
        self.rows["streams"][self.ids["streams"][key]] = {
            **self._filled(*at, row, site_id="", created_at=self._now),
            "user_id": self._owner(*at, row["user_id"]),
            "experiment_id": self.ids["experiments"][experiment] if experiment else None,
        }
        self._log(*at)

    def _log(self, table: str, key: str) -> None:
        if key != str(self.ids["streams"][key]):
            self._note(table, key, "renamed_log")

    def _stream_projections(self, key: str, row: Row) -> None:
        at, new = ("stream_projections", key), self.ids["streams"][key]
        columns = self._filled(*at, row, is_saved=False, message_count=0, step_count=0, updated_at=self._now)
        auto_imported = {"gene_set_auto_imported": row.get("gene_set_auto_imported", False)}
        columns |= self._filled(*at, auto_imported, gene_set_auto_imported=False)
        if new not in self.rows["streams"]:
            stream = {"user_id": NOBODY, "site_id": row["site_id"] or "", "experiment_id": None}
            self.rows["streams"][new] = {**stream, "created_at": columns["updated_at"]}
            self._note(*at, "missing_stream")
            self._log(*at)
        owner, site = (self.rows["streams"][new][name] for name in ("user_id", "site_id"))
        if row["site_id"] is None:
            self._note(*at, "missing_value", "site_id")
        elif row["site_id"] != site:
            self._note(*at, "site_mismatch" if row["site_id"] else "site_mismatch missing_value", "site_id")
        if not row["name"]:
            self._note(*at, "missing_value", "name")
        columns |= {name: self._count(*at, columns, name, 0) for name in ("message_count", "step_count")}
        columns |= {name: self._count(*at, row, name, None) for name in ("wdk_strategy_id", "result_count")}
        plan, steps = self._plan(*at, row)
        columns |= {
            "user_id": owner,
            "site_id": site,
            "name": row["name"] or DEFAULT_NAME,
            "last_event_id": self._position(*at, row) or FIRST,
            "gene_set_id": self._link(*at, row.get("gene_set_id"), owner),
            "dismissed_at": row.get("dismissed_at"),
            "dismissed_reason": row.get("dismissed_at") and "user",
            **NOT_LOGGED,
            "plan": plan,
            "unrooted_steps": steps,
        }
        columns.update((name, row[name]) for name in ("record_type", "model_id"))
        self.rows["stream_projections"][new] = columns

    def _plan(self, table: str, key: str, row: Row) -> tuple[Any, Any]:
        """The plan, and the steps that are kept beside it."""
        plan, objects = self._document(table, key, row, "plan", dict), self._steps(table, key, row)
        if objects is None:
            return plan, None
        root, had_root = row["root_step_id"], plan.get("root") is not None
        try:
            plan = plan if had_root else {**plan, **self._built(table, key, row, plan, objects)}
        except UnbuildableError:
            if root is not None:
                self._note(table, key, "plan_unbuildable")
        if had_root and root not in (None, identity_of(plan["root"])):
            self._note(table, key, "steps_differ", "root_step_id")
        put_on_nodes(plan, objects)
        if all(gives_back(plan, step) for step in objects):
            return plan, None
        if plan.get("root") is not None:
            self._note(table, key, "steps_differ", "steps")
        return plan, objects

    def _steps(self, table: str, key: str, row: Row) -> list[Any] | None:
        """The steps that are objects; `None` where there are none at all."""
        try:
            steps = Read("null" if row["steps"] is None else row["steps"])
        except RefusedError:
            return self._note(table, key, "plan_unbuildable malformed_document", "steps")
        if steps.value in (None, []):
            return None
        if not isinstance(steps.value, list):
            return self._note(table, key, "malformed_document", "steps")
        if steps.fixed:
            self._note(table, key, "unstorable_text", "steps")
        objects = [step for step in steps.value if isinstance(step, dict)]
        if len(objects) < len(steps.value):
            self._note(table, key, "malformed_document", "steps")
        return objects

    def _built(self, table: str, key: str, row: Row, plan: Any, steps: list[Any]) -> Any:
        built = plan_of(steps, row["root_step_id"], row["record_type"], row["name"] or DEFAULT_NAME)
        if isinstance(plan.get("metadata"), dict):
            built["metadata"] = {**plan["metadata"], **built["metadata"]}
        self._note(table, key, "plan_built")
        return built

    def _count(self, table: str, key: str, row: Row, name: str, least: int | None) -> int | None:
        """A number that is not below zero, or the least."""
        if row[name] is None or row[name] >= 0:
            return row[name]
        self._note(table, key, "negative_number", name)
        return least

    def _position(self, table: str, key: str, row: Row) -> str | None:
        text = row["last_event_id"]
        found = _POSITION.fullmatch(text or "")
        if found and all(int(number) < 2**64 for number in found.groups()):
            return text
        if text is not None or (row["message_count"] or 0) > 0:
            self._note(table, key, "malformed_position")
        return None

    def _link(self, table: str, key: str, text: str | None, owner: UUID) -> UUID | None:
        if text is None:
            return None
        gene_set = self.ids["gene_sets"][text]
        if self.rows["gene_sets"].get(gene_set, {}).get("user_id") == owner:
            return gene_set
        self._note(table, key, "broken_link")
        return None

    def _operations(self, key: str, row: Row) -> None:
        at = ("operations", key)
        stream_id = None if row["stream_id"] is None else self.ids["streams"][row["stream_id"]]
        stream = self.rows["streams"].get(stream_id)
        if stream is None:
            self._note(*at, "orphan")
        columns = {"type": row["type"] or "batch", **self._filled(*at, row, created_at=self._now)}
        if not row["type"]:
            self._note(*at, "missing_value", "type")
        ended = row["status"] in ENDED
        if not ended:
            kind = "operation_ended" if row["status"] == "active" else "unknown_value"
            self._note(*at, "missing_value" if row["status"] is None else kind)
        self.rows["operations"][self.ids["operations"][key]] = {
            **columns,
            "stream_id": stream and stream_id,
            "user_id": stream["user_id"] if stream else NOBODY,
            "status": row["status"] if ended else "failed",
            "completed_at": row["completed_at"] or (None if ended else self._now),
            "error": None if ended else SWITCHED,
            "attempts": 0,
            "max_attempts": 1,
            **dict.fromkeys(("worker_id", "lease_token", "heartbeat_at", "lease_expires_at")),
            **dict.fromkeys(("cancel_requested_at", "start_position")),
        }

    def _made_projections(self) -> None:
        for row in self.legacy["streams"]:
            new = self.ids["streams"][row["id"]]
            if new in self.rows["stream_projections"]:
                continue
            self._note("streams", row["id"], "missing_projection")
            stream = self.rows["streams"][new]
            empty = ("record_type", "wdk_strategy_id", "model_id", "result_count", "gene_set_id")
            self.rows["stream_projections"][new] = {
                **{name: stream[name] for name in ("user_id", "site_id")},
                "name": DEFAULT_NAME,
                "is_saved": False,
                "message_count": 0,
                "step_count": 0,
                "plan": {},
                "last_event_id": FIRST,
                "updated_at": stream["created_at"],
                "gene_set_auto_imported": False,
                **dict.fromkeys((*empty, "dismissed_at", "dismissed_reason")),
                **NOT_LOGGED,
            }

    def _nobody(self) -> None:
        owners = {row["user_id"] for table in TABLES[1:] for row in self.rows[table].values()}
        if NOBODY in owners:
            self.rows["users"].setdefault(NOBODY, {"external_id": "adopted:nobody", "created_at": self._now})
