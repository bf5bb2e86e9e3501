"""How ``veupath-store projections`` shows what it found: tables and details for people, JSON for programs."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel

from veupath_store.cli.console import print_json, print_line, print_table
from veupath_store.values import (
    FieldDifference,
    LagReport,
    LagState,
    LogProblem,
    RebuildReport,
    StreamLag,
    StreamRebuild,
    StreamVerification,
    VerifyOutcome,
    VerifyReport,
)

SHOWN: Final = 20
"""Conversations of which details are shown."""

HIDDEN: Final = frozenset({"name", "plan"})
"""Columns whose content is research content."""

_NOT_IN_OLD_LOGS: Final = frozenset({"updated_at"})
"""Columns that an adopted row has from elsewhere: the SQLAlchemy layer took the time, and kept no claim, by itself."""

NEW_FOR: Final = timedelta(days=7)
"""How long a loss is a finding, since it was seen; it is listed for good."""

_BY_URGENCY: Final = (LagState.UNREADABLE, LagState.MISSING, LagState.AHEAD, LagState.STUCK, LagState.BEHIND)
_FOUND: Final = {*_BY_URGENCY} - {LagState.BEHIND}
_URGENCY: Final = {state: order for order, state in enumerate(_BY_URGENCY)}


def show_lag(report: LagReport, *, as_json: bool, quiet: bool) -> bool:
    """Print what `Projector.lag` found; whether nothing is stuck, ahead, missing or unreadable, and no loss is new."""
    lost = [one for one in report.lagging if one.lost is not None]
    ok = not any(report.counts.get(state) for state in _FOUND) and not any(map(_is_new_loss, lost))
    lagging = sorted(report.lagging, key=lambda one: (_URGENCY.get(one.state, len(_URGENCY)), -one.seconds))
    if as_json:
        print_json("lag", ok, {**_plain(report), "lagging": [_plain(one) for one in lagging]})
    elif not (quiet and ok):
        totals = {
            "events not folded in": report.events,
            "logs that have lost something": len(lost),
            "logs without a row": report.without_row,
            "logs still to be removed": report.removals,
            "oldest event, in seconds": round(report.seconds),
        }
        _print("lag", report.counts, totals, ([_lagging(one)] for one in lagging))
    return ok


def show_verify(report: VerifyReport, *, values: bool, as_json: bool, quiet: bool) -> bool:
    """Print what `Projector.verify` found, names and plans only with `values`; whether every row is proven."""
    ok = not report.suspects
    if as_json:
        suspects = [
            {**_plain(one), "differences": [_as_json(difference, values) for difference in one.differences]}
            for one in report.suspects
        ]
        print_json("verify", ok, {**_plain(report), "suspects": suspects})
    elif not (quiet and ok):
        details = (_suspect(one, values) for one in report.suspects)
        _print("verify", report.counts, {"events folded": report.events}, details)
    return ok


def show_rebuild(report: RebuildReport, *, as_json: bool, quiet: bool) -> bool:
    """Print what `Projector.rebuild` did; whether nothing was refused."""
    ok = not report.refused
    if as_json:
        print_json("rebuild", ok, _plain(report))
    elif not (quiet and ok):
        skipped = sum(len(problems) for problems in report.problems.values())
        refused = {one.stream_id: _refused(one) for one in report.refused}
        others = {key: [f"{key}  events skipped", *_problems(found)] for key, found in report.problems.items()}
        totals = {"events folded": report.events, "events skipped": skipped}
        kept = (lines for key, lines in others.items() if key not in refused)
        _print("rebuild", report.counts, totals, [*refused.values(), *kept])
    return ok


def _plain(report: BaseModel) -> dict[str, Any]:
    return report.model_dump(mode="json")


def _as_json(difference: FieldDifference, values: bool) -> dict[str, Any]:
    if difference.column in HIDDEN and not values:
        return {"column": difference.column, "differs": _sizes(difference)}
    return _plain(difference)


def _print(title: str, counts: Mapping[Any, int], totals: Mapping[str, int], details: Iterable[list[str]]) -> None:
    """Print a table, and what is to be said of each of the first `SHOWN` conversations."""
    states = sorted(counts.items(), key=lambda pair: _order(pair[0]))
    print_table([*states, ("conversations", sum(counts.values()))], [*totals.items()], title=title)
    every = list(details)
    for first, *others in every[:SHOWN]:
        print_line(first)
        for line in others:
            print_line(f"  {line}")
    if len(every) > SHOWN:
        print_line(f"… and {len(every) - SHOWN} more; --json lists all")


def _order(state: StrEnum) -> int:
    return list(type(state)).index(state)


def _is_new_loss(one: StreamLag) -> bool:
    try:
        return one.lost is not None and datetime.now(UTC) - datetime.fromisoformat(str(one.lost.get("at"))) < NEW_FOR
    except (TypeError, ValueError):
        return True


def _lagging(one: StreamLag) -> str:
    if one.state is LagState.UNREADABLE:
        return f"{one.stream_id}  unreadable: {one.reason}"
    if one.lost is not None:
        lost = f"{one.lost.get('messages')} message(s) between {one.lost.get('after')} and {one.lost.get('before')}"
        return f"{one.stream_id}  {one.state}: its log has lost {lost}; seen at {one.lost.get('at')}"
    if one.state is LagState.MISSING:
        return f"{one.stream_id}  missing: there is no row; a rebuild makes it from the log"
    if one.state is LagState.AHEAD:
        return f"{one.stream_id}  ahead: the row has seen {one.position}, the log ends at {one.newest or 'nothing'}"
    return f"{one.stream_id}  {one.state}: {one.events:,} event(s), the oldest {one.seconds:,.0f} s ago"


def _suspect(one: StreamVerification, values: bool) -> list[str]:
    shown = (f"{difference.column}: {_compared(difference, values)}" for difference in one.differences)
    return [f"{one.stream_id}  {one.outcome}{_explained(one)}", *shown, *_problems(one.problems)]


def _explained(one: StreamVerification) -> str:
    """Of a row whose log has no beginning, as that of an adopted conversation: whether the log explains it."""
    if one.reason:
        return f": {one.reason}"
    if one.outcome is not VerifyOutcome.INCOMPLETE:
        return ""
    unexplained = [it.column for it in one.differences if it.column not in _NOT_IN_OLD_LOGS]
    if not unexplained:
        return ": the log has no beginning, and what it holds explains the row"
    return f": the log has no beginning, and what it holds does not explain {', '.join(unexplained)}"


def _refused(one: StreamRebuild) -> list[str]:
    reason = f": {one.reason}" if one.reason else ""
    return [f"{one.stream_id}  refused: {one.outcome}{reason}", *_problems(one.problems)]


def _problems(problems: Iterable[LogProblem]) -> list[str]:
    every = [f"entry {problem.position} ({problem.type}) was skipped: {problem.reason}" for problem in problems]
    return every if len(every) <= SHOWN else [*every[:SHOWN], f"… and {len(every) - SHOWN} more"]


def _compared(difference: FieldDifference, values: bool) -> str:
    if difference.column in HIDDEN and not values:
        return f"differs ({_sizes(difference)})"
    stored, folded = _plain(difference)["stored"], _plain(difference)["folded"]
    return f"stored {json.dumps(stored, ensure_ascii=False)}, folded {json.dumps(folded, ensure_ascii=False)}"


def _sizes(difference: FieldDifference) -> str:
    """How large both are, stored / folded, and nothing of what they hold."""
    (kind, size, unit), (other, other_size, _) = _size(difference.stored), _size(difference.folded)
    if kind == other:
        return (
            f"{kind} of {size} / {other_size} {unit}" if kind == "text" else f"{kind} with {size} / {other_size} {unit}"
        )
    return f"{kind} / {other}"


def _size(value: Any) -> tuple[str, int, str]:  # noqa: ANN401 - a column's value
    if isinstance(value, str):
        return "text", len(value), "characters"
    if isinstance(value, dict):
        return "object", len(value), "keys"
    return ("null" if value is None else type(value).__name__), 0, ""
