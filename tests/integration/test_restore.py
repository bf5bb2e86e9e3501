"""After a restore the two servers are of different moments: what docs/operations.md says of it."""

import asyncio
import os
import re
import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis

from tests.support import redis_servers
from tests.support.checkout import REPOSITORY
from tests.support.checks import APPLICATION, check
from tests.support.conversations import conversation, say, texts_of
from tests.support.databases import connected
from tests.support.dumps import programs
from tests.support.processes import BIN, run
from tests.support.projections import at_rest, logged
from tests.support.redis_ports import free_port
from tests.support.roles import role
from tests.support.servers import new_name
from tests.support.waiting import becomes
from veupath_store import ProjectionWorker, Projector, StoreSettings, StreamRepository, close_db, init_db
from veupath_store.repositories import ControlSetRepository, UserRepository
from veupath_store.schema.migrations import migrate
from veupath_store.servers.redis import server_program
from veupath_store.values import Level

pytestmark = [pytest.mark.own_database, pytest.mark.with_log, pytest.mark.large]


def logs(redis_url, prefix):
    """What Redis holds of this store, as a backup has it."""
    with redis_servers.client(redis_url) as client:
        return {key: client.dump(key) for key in client.scan_iter(match=f"{prefix}*")}


def restore_logs(redis_url, prefix, backup):
    redis_servers.remove_keys(redis_url, prefix)
    with redis_servers.client(redis_url) as client:
        for key, value in backup.items():
            client.restore(key, 0, value)


async def test_redis_of_an_earlier_moment(user, redis_url, log_prefix):
    """Messages since then are lost, which is said for good; names and plans are not, for the row has them."""
    stream = await conversation(user, "old")
    await say(stream, "first")
    backup = logs(redis_url, log_prefix)
    await say(stream, "lost")
    await StreamRepository().update_projection(stream, name="renamed since", plan={"root": {"id": "a"}})
    later = await conversation(user, "begun since")
    await at_rest()
    restore_logs(redis_url, log_prefix, backup)

    assert (await Projector().lag()).counts == {"ahead": 2}
    assert len((await Projector().verify()).suspects) == 2
    refused = (await Projector().rebuild()).refused
    assert {one.stream_id for one in refused} == {stream, later}
    row = await StreamRepository().get_projection(stream)
    assert (row.name, row.message_count) == ("renamed since", 2)

    for one in (stream, later):
        await say(one, "next")
    lag = await Projector().lag()
    assert lag.counts == {"current": 2}
    assert {one.stream_id: one.lost["messages"] for one in lag.lagging} == {stream: 1, later: 0}
    assert not (await Projector().verify()).suspects
    row = await StreamRepository().get_projection(stream)
    assert (row.name, row.plan, row.message_count) == ("renamed since", {"root": {"id": "a"}}, 2)
    assert await texts_of(stream) == ["first", "next"]
    assert (await StreamRepository().get_projection(later)).name == "begun since"


async def test_postgresql_of_an_earlier_moment(store, user, settings, server):
    """Rows become what their logs say, conversations begun since too; what other tables lost stays lost."""
    stream = await conversation(user, "old")
    await say(stream, "first")
    await close_db()
    backup = new_name()
    await server.create(backup, settings.target.database)
    try:
        await init_db(settings=settings)
        await say(stream, "second")
        await StreamRepository().update_projection(stream, name="renamed since", plan={"root": {"id": "a"}})
        later = await conversation(user, "begun since")
        await say(later, "third")
        lists = {"positive_ids": [], "negative_ids": []}
        await ControlSetRepository().create(name="x", site_id="plasmodb", record_type="gene", user_id=user.id, **lists)
        await at_rest()
        await close_db()

        restored = logged(server.url(backup), settings.redis_url, settings.log_prefix)
        await init_db(settings=restored)
        assert (await StreamRepository().get_projection(stream)).name == "old"
        lag = await Projector().lag()
        assert (lag.counts, lag.without_row) == ({"behind": 1}, 1)
        assert not (await Projector().rebuild()).refused
        row = await StreamRepository().get_projection(stream)
        assert (row.name, row.plan, row.message_count) == ("renamed since", {"root": {"id": "a"}}, 2)
        assert not (await Projector().verify()).suspects
        assert await texts_of(stream) == ["first", "second"]
        await ProjectionWorker().sweep()
        assert await StreamRepository().get_projection(later) is None
        assert not (await Projector().rebuild(missing=True)).refused
        row = await StreamRepository().get_projection(later)
        assert (row.name, row.message_count) == ("begun since", 1)
        assert await texts_of(later) == ["third"]
        assert not (await Projector().verify()).suspects
        assert await ControlSetRepository().list_by_site("plasmodb", user.id) == []
        assert (await UserRepository().get_by_id(user.id)).id == user.id
    finally:
        await close_db()
        await server.drop(backup)


PAGE = REPOSITORY / "docs" / "operations.md"


def commands(port, directory):
    """The page's commands, to back up and to restore: the lines of its two blocks."""
    section = PAGE.read_text("utf-8").partition("## Backup and restore")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    return [block.replace("6379", str(port)).replace("/var/lib/redis", str(directory)).splitlines() for block in blocks]


@asynccontextmanager
async def operator(cwd, urls):
    """A shell that runs commands; servers that it started are ended with it."""
    async with connected(urls["MIGRATION_DATABASE_URL"]) as connection:
        postgres = programs(connection.get_server_version().major)
    path = f"{postgres}:{Path(server_program()).parent}:{os.environ['PATH']}"
    servers = []

    async def type_in(line):
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", f"exec {line}", cwd=cwd, env={"PATH": path, **urls}, stdout=asyncio.subprocess.DEVNULL
        )
        if line.startswith("redis-server"):
            servers.append(process)
            await becomes(lambda: answers(urls["REDIS_URL"]), True, line)
        else:
            assert await process.wait() == 0, line

    try:
        yield type_in
    finally:
        for process in servers:
            process.kill()
            await process.wait()


async def answers(url):
    try:
        with redis_servers.client(url) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


async def test_the_commands_of_the_page(empty_url, tmp_path):
    """As the two roles of the page; what was written after the backup is gone, and all else is as it was."""
    port, directory = free_port(), tmp_path / "redis"
    directory.mkdir()
    backup, restoring = commands(port, directory)
    async with (
        role(empty_url, "GRANT USAGE, CREATE ON SCHEMA public TO {role}") as (_, owner),
        role(empty_url) as (name, application),
    ):
        redis_url = f"redis://127.0.0.1:{port}/0"
        urls = {"DATABASE_URL": application, "MIGRATION_DATABASE_URL": owner, "REDIS_URL": redis_url}
        await migrate(StoreSettings(database_url=owner))
        async with connected(owner) as connection:
            await connection.execute("; ".join(APPLICATION).format(role=name))
        settings = StoreSettings(database_url=application, migration_database_url=owner, redis_url=redis_url)
        async with operator(directory, urls) as type_in:
            await type_in(f"redis-server --port {port} --appendonly yes --appendfsync always --save ''")
            await init_db(settings=settings)
            user = await UserRepository().create()
            stream = await conversation(user, "old")
            await say(stream, "first")
            for line in backup:
                await type_in(line)
            await say(stream, "lost")
            await close_db()
        for left in directory.glob("appendonly*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        async with operator(directory, urls) as type_in:
            for line in restoring:
                await type_in(line)
            for command in ("lag", "verify", "rebuild"):
                finished = await run(BIN / "veupath-store", "projections", command, "--quiet", cwd=tmp_path, **urls)
                assert finished.code == 0, finished
            report = await check(application, migration_database_url=owner, redis_url=redis_url)
            about_tables = [one for one in report.findings if not one.name.startswith("log")]
            assert {one.level for one in about_tables} == {Level.OK}, about_tables
            await init_db(settings=settings)
            assert await texts_of(stream) == ["first"]
            await say(stream, "second")
            await close_db()
            with redis_servers.client(redis_url) as client:
                assert client.config_get("appendonly") == {"appendonly": "yes"}
