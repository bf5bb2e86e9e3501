"""What EXPLAIN says of a statement, in the few words that tests ask for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Plan:
    """Which indexes a statement used, and what it did without one; of rows, the most of one node."""

    indexes: set[str] = field(default_factory=set)
    sequential_scans: set[str] = field(default_factory=set)
    sorted_rows: int = 0
    filtered_rows: int = 0


async def explained(client, sql: str, values: list[Any]) -> Plan:
    """Run a statement under EXPLAIN ANALYZE (in a transaction that is rolled back)."""
    plan = Plan()
    async with client.pooled_transaction() as transaction:
        rows = await transaction.execute_rows(f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {sql}", values)
        await transaction.rollback()
    for node in _nodes(json.loads(rows[0][0])[0]["Plan"]):
        if "Index Name" in node:
            plan.indexes.add(node["Index Name"])
        if node["Node Type"] == "Seq Scan":
            plan.sequential_scans.add(node["Relation Name"])
        removed = sum(node.get(f"Rows Removed by {step}", 0) for step in ("Filter", "Index Recheck", "Join Filter"))
        plan.filtered_rows = max(plan.filtered_rows, removed * node["Actual Loops"])
        if "Sort" in node["Node Type"]:
            plan.sorted_rows = max(plan.sorted_rows, *(int(child["Actual Rows"]) for child in node["Plans"]))
    return plan


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)
