"""Users of Redis with few rights: what the store needs of one, and that `check` names what is missing."""

import ast
import re
from uuid import uuid4

import pytest

from tests.support.checkout import REPOSITORY
from tests.support.checks import NOWHERE, by_name, parts
from tests.support.log_calls import calls
from veupath_store.check.log import about_log, command_probes, key_probes, privileges
from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError
from veupath_store.events.log.entries import Event, LogKey
from veupath_store.events.log.log import EventLog
from veupath_store.events.log.scripts import BEHIND, HOLDER, SWEPT
from veupath_store.values import Level

PREFIX = "ours:"
LOG = REPOSITORY / "veupath_store" / "events" / "log"
AT_CONNECTING = {"HELLO", "SENTINEL"}
"""Sent where no user is asked for rights: to a Sentinel, and what each user may send."""

COMMANDS = [str(command[0]) for command in command_probes(PREFIX)]


@pytest.fixture
def limited(private_redis):
    """A function that gives the URL of a user with these rights; the server is as it was afterwards."""
    with private_redis.client() as beside:

        def user(rights: str) -> str:
            beside.execute_command("ACL", "SETUSER", "ann", "reset", "on", ">word", *rights.split())
            return private_redis.url.replace("unix://", "unix://ann:word@")

        yield user
        beside.execute_command("ACL", "DELUSER", "ann")
        beside.flushall()


def settings(url: str) -> StoreSettings:
    return StoreSettings(database_url=NOWHERE, redis_url=url, log_prefix=PREFIX)


async def rights_of(url: str):
    _, findings = await about_log(settings(url))
    return parts(by_name(findings)["log rights"])


def event(**data) -> Event:
    return Event(type="user_message", data=data, key=uuid4())


def sent() -> set[str]:
    """The commands that the source of the log, its scripts included, has."""
    found = set()
    for path in LOG.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            asks = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "_ask"
            command = node.args if asks else node.elts if isinstance(node, ast.Tuple) else []
            if command and isinstance(command[0], ast.Constant):
                first = command[0].value
                found |= {first} if isinstance(first, str) and re.fullmatch("[A-Z]{3,}", first) else set()
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                # `XADD`, whose arguments a script collects, is the first of a table.
                found |= set(re.findall(r"(?:redis\.call\(|= \{)'([A-Z]{3,})'", node.value))
    return found


def test_the_list_of_commands_is_complete():
    assert sent() - AT_CONNECTING - {"COUNT"} == set(COMMANDS), "of options, one tuple begins with COUNT"
    assert len(set(COMMANDS)) == len(COMMANDS)


def test_the_page_has_all_rights_in_one_line():
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    [line] = re.findall(r"^ACL SETUSER pathfinder on >SECRET (.+)$", page, re.MULTILINE)
    assert sorted(line.split()) == sorted(privileges("pathfinder:").split())


async def test_a_user_with_just_these_rights_can_do_all_that_the_log_does(limited):
    log = EventLog(settings(limited(privileges(PREFIX))))
    key = LogKey.stream(uuid4())
    await log.append(key, [event(), event()], new=True)
    with log.watch.subscribe(key, None) as news:
        assert await news.take(5)
    for call in calls(log, key):
        await call
    await log.close()
    assert (await rights_of(limited(privileges(PREFIX))))[0] is Level.OK


@pytest.mark.parametrize("name", COMMANDS)
async def test_each_command_that_is_refused_is_named(limited, name):
    level, message, details = await rights_of(limited(f"~* +@all -{name.lower()}"))
    assert (level, details) == (Level.FAILURE, [f"command {name}"])
    assert f"+{name.lower()} " in message


@pytest.mark.parametrize("pattern", key_probes(PREFIX))
async def test_each_pattern_of_keys_that_is_refused_is_named(limited, pattern):
    others = " ".join(f"~{other}" for other in (*key_probes(PREFIX), f"{PREFIX}projections:never") if other != pattern)
    level, message, details = await rights_of(limited(f"{others} +@all"))
    assert (level, details) == (Level.FAILURE, [f"keys {pattern}"])
    assert f"~{PREFIX}*" in message


async def test_several_are_named_together(limited):
    _, _, details = await rights_of(limited("~* +@all -xtrim -zadd"))
    assert details == ["command XTRIM", "command ZADD"]


async def test_what_is_tried_changes_nothing(limited, private_redis):
    log, key = EventLog(settings(private_redis.url)), LogKey.stream(uuid4())
    await log.append(key, [event(), event()], new=True)
    await log.append(LogKey.operation(uuid4()), [event()], new=True)
    await log.claim_sweep(600)
    await log.hold("this database")
    await log.close()
    with private_redis.client() as beside:
        before = {name: (beside.dump(name), beside.ttl(name) > 0) for name in beside.scan_iter()}
        assert {f"{PREFIX}{name}".encode() for name in (BEHIND, SWEPT, HOLDER)} < before.keys()
        assert (await rights_of(private_redis.url))[0] is Level.OK
        assert {name: (beside.dump(name), beside.ttl(name) > 0) for name in beside.scan_iter()} == before


async def test_a_user_without_rights_is_sent_to_the_check(limited):
    log = EventLog(settings(limited("~* +@read +ping")))
    with pytest.raises(ConfigurationError, match="veupath-store check says which"):
        await log.append(LogKey.stream(uuid4()), [event()], new=True)
    await log.close()
