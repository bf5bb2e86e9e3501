"""What all commands share: the version, the exit codes, and questions."""

import sys

import pytest

import veupath_store
from tests.support.processes import BIN, run
from veupath_store.cli.console import EXIT_CODES

COMMANDS = [
    *(("migrate",), ("downgrade",), ("check",), ("adopt",)),
    *(("projections", name) for name in ("lag", "verify", "rebuild", "work")),
]
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.mark.parametrize("command", [(BIN / "veupath-store",), (sys.executable, "-m", "veupath_store")])
async def test_the_command_and_the_module_print_the_version(tmp_path, command):
    finished = await run(*command, "--version", cwd=tmp_path)
    assert (finished.code, finished.out) == (0, f"veupath-store {veupath_store.__version__}\n"), finished


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_each_command_ends_with_the_exit_codes(call, command):
    code, out, err = call(*command, "--help", DATABASE_URL=NOWHERE)
    assert (code, err) == (0, "")
    assert " ".join(out.split()).endswith(EXIT_CODES)


@pytest.mark.parametrize(
    "command", [("adopt",), ("adopt", "--undo"), ("adopt", "--finish"), COMMANDS[-2]], ids=" ".join
)
def test_without_a_terminal_what_asks_refuses_before_it_connects(call, command):
    force = ["--force"] if "rebuild" in command else []
    code, out, err = call(*command, *force, DATABASE_URL=NOWHERE)
    assert (code, out) == (2, "")
    assert "give --yes" in err
