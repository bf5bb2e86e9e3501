"""The commands, and conversations for them."""

import json
from contextlib import closing

import pytest

from tests.acceptance.projections import COMMAND, SECRET_NAME, SECRET_PLAN, said
from tests.support.conversations import conversation
from tests.support.processes import run, run_at_terminal
from tests.support.projections import Logs
from veupath_store import Event, Projector


@pytest.fixture
def command(tmp_path, environment):
    """Run one of the commands; what is given by name wins over the environment."""

    async def command(*arguments, **more):
        finished = await run(*COMMAND, *map(str, arguments), cwd=tmp_path, **{**environment, **more})
        assert "Traceback" not in finished.err, finished
        return finished

    return command


@pytest.fixture
def document(command):
    """Run one of the commands with --json; its exit code and the one document that it prints."""

    async def document(*arguments, **more):
        finished = await command(*arguments, "--json", **more)
        assert finished.err == "", finished
        return finished.code, json.loads(finished.out)

    return document


@pytest.fixture
def at_terminal(tmp_path, environment):
    """Run one of the commands at a terminal."""

    async def at_terminal(*arguments, typed=b""):
        return await run_at_terminal(*COMMAND, *arguments, cwd=tmp_path, typed=typed, **environment, TERM="xterm")

    return at_terminal


@pytest.fixture
async def streams(user):
    """Three conversations that are caught up."""
    ids = [await conversation(user, f"{SECRET_NAME} {n}") for n in range(3)]
    for stream_id in ids:
        await Projector().append(stream_id, [Event(type="graph_plan", data={"plan": SECRET_PLAN}), *said(3)])
        await Projector().catch_up(stream_id)
    return ids


@pytest.fixture
def logs(settings):
    """The logs, read and harmed past the store."""
    with closing(Logs(settings.redis_url.get_secret_value(), settings.log_prefix)) as logs:
        yield logs


@pytest.fixture
def trim_log(logs):
    """Redis loses the beginning of a conversation's log."""
    return lambda stream_id: logs.redis.xtrim(logs.key(stream_id), maxlen=1, approximate=False)
