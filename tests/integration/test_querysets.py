"""Which public methods of the repositories go through a Tortoise queryset, and which send SQL of their own.

The origin of each statement is read off the stack at the moment at which it is sent.
"""

import re
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from tortoise import models, queryset
from tortoise.backends.base import executor

from tests.support.cases import all_cases
from tests.support.world import make_world
from veupath_store import (
    AccountRepository,
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    LeaseRepository,
    OperationRepository,
    StreamRepository,
    UserRepository,
    async_session_factory,
)
from veupath_store.engine.statements import Statements
from veupath_store.errors import PruneRefusedError
from veupath_store.repositories import queries

README = Path(__file__).parents[2] / "README.md"
QUERYSETS = {module.__file__ for module in (models, queryset, executor, queries)}

BY_SQL = {
    # Several tables in one statement.
    UserRepository: {"delete"},
    AccountRepository: {"purge", "export"},
    # Free names, several tables, `unlogged ||`.
    StreamRepository: {
        *("create", "delete", "update_projection", "patch_projection", "dismiss", "restore", "claim_wdk_strategy"),
        *("prune_wdk_orphans", "dismiss_wdk_orphans"),
    },
    # INSERT and guarded UPDATE with RETURNING, and an upsert that compares what it replaces.
    ControlSetRepository: {"create", "update", "upsert_seed"},
    ExperimentRepository: {"save", "write", "is_written", "patch_field", "delete"},
    GeneSetRepository: {"save", "write", "is_written", "delete", "import_for_stream"},
    OperationRepository: {"register", "start", "request_cancel", "delete"},
    # SKIP LOCKED, and guarded UPDATE with RETURNING.
    LeaseRepository: {"claim", "sweep", "heartbeat", "release", "assert_lease"},
}


@contextmanager
def origins():
    """Of each statement sent inside the block, whether a queryset sends it."""
    sent = []
    run = Statements._run

    async def noting(self, query, values, call):
        files = {frame.filename for frame in traceback.extract_stack()}
        sent.append(not files.isdisjoint(QUERYSETS))
        return await run(self, query, values, call)

    with patch.object(Statements, "_run", noting):
        yield sent


@pytest.mark.without_log
async def test_plain_reads_and_plain_writes_of_one_row_go_through_querysets(store):
    by_sql = {}
    for repository, method, case in all_cases():
        world = await make_world()
        async with async_session_factory() as session:
            with origins() as sent, suppress(PruneRefusedError):
                await case.call(repository(session), world)
        assert sent, (repository, method)
        if not any(sent):
            by_sql.setdefault(repository, set()).add(method)
    assert by_sql == BY_SQL
    methods = len(all_cases())
    through = methods - sum(map(len, by_sql.values()))
    assert through >= 36
    said = re.search(r"(\d+) of the (\d+) public methods", README.read_text().replace("\n", " "))
    assert said.groups() == (str(through), str(methods))
