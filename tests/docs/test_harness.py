"""The harness sees what is wrong, and says where."""

import re

import pytest

from tests.docs import not_run
from tests.docs.expected import has_come, matches
from tests.docs.not_run import NOT_RUN
from tests.docs.pages import REPOSITORY, Page, WrongPageError, pages
from tests.docs.runner import Runner, importable

FENCE = "```"
WRONG_BLOCKS = {
    "an error": ("python", "import math\n\nmath.sqrt(-1)\n", 6),
    "an error in a function": ("python", "def wrong():\n    raise KeyError\n\n\nwrong()\n", 5),
    "an error after an await": ("python", "import asyncio\nawait asyncio.sleep(0)\nassert 1 == 2\n", 6),
    "a syntax error": ("python", "x = 1\ny = = 2\n", 5),
    "another output": ("python", "print(1)\n# > 1\nprint(2)\n# > 3\n", 7),
    "more output": ("python", "print(1)\n# > 1\nprint(2)\n", 5),
    "a file that does not compile": ('python title="app.py"', "await nothing\n", 4),
    "a file outside of the folder": ('python title="../app.py"', "x = 1\n", 3),
    "a command that fails": ("console", "$ true\n$ false\n", 5),
    "a command that is not there": ("console", "$ no-such-command\n", 4),
    "another output of a command": ("console", "$ printf 'a\\nb\\n'\na\nc\n", 6),
    "more output of a command": ("console", "$ printf 'a\\nb\\n'\na\n", 5),
    "less output of a command": ("console", "$ echo a\na\nb\n", 6),
    "a server that ends by itself": ("console", "$ echo a\nb\n^C\n", 4),
    "a server that ends badly": ("console", "$ trap 'exit 3' INT; echo a; while true; do sleep 0.05; done\na\n^C\n", 4),
    "output without a command": ("console", "a\n", 4),
    "no command": ("console", "", 3),
    "an unknown target": ("console", "$ make coffee\n", 4),
    "an unknown extra": ("console", "$ pip install 'veupath-store[cli,coffee]'\n", 4),
    "an install that nothing covers": ("console", "$ pip install sqlalchemy\n", 4),
    "wrong TOML": ("toml", "[a]\nb = \n", 5),
    "wrong INI": ("ini", "[a]\nb\n", 5),
    "wrong YAML": ("yaml", "a:\n  b\n", 5),
    "no language": ("", "x\n", 3),
    "an unknown language": ("ruby", "x\n", 3),
    "a diagram elsewhere": ("mermaid", "erDiagram\n", 3),
}
RIGHT = f"""
{FENCE}python title="package/greeting.py"
def greet() -> str:
    return "hello"
{FENCE}

{FENCE}python
from uuid import UUID

from package.greeting import greet
from veupath_store import UserRepository

user = await UserRepository().create("ada")
print(greet(), user.id)
# > hello ...-...
{FENCE}

{FENCE}console
$ python -c 'from package.greeting import greet; print(greet())' && exit 3
hello
$ echo a \\
> b   # and a remark
a b
$ printf '1\\n2\\n3\\n'
1
...
$ test -n "$DATABASE_URL"
$ trap 'echo bye; exit 0' INT; echo up; while true; do sleep 0.05; done
u...
^C
bye
{FENCE}

1. In a list:

   {FENCE}sql
   UPDATE users SET external_id = 'grace' WHERE external_id = 'ada';
   {FENCE}

{FENCE}python
assert (await UserRepository().get_by_id(user.id)).external_id == "grace"
{FENCE}

{FENCE}yaml
on: push
jobs:
  - run: |
      anything: at all
      here
{FENCE}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a page; without servers, unless their variables are given."""
    monkeypatch.chdir(tmp_path)

    async def run(text, environment=None):
        with importable(tmp_path):
            return await Runner(Page("docs/page.md", text), tmp_path, environment or {}).run()

    return run


@pytest.mark.parametrize(("kind", "text", "line"), WRONG_BLOCKS.values(), ids=WRONG_BLOCKS)
async def test_a_wrong_block_fails_with_its_line(kind, text, line, run):
    with pytest.raises(WrongPageError, match=f"^docs/page.md:{line}: "):
        await run(f"# A page\n\n{FENCE}{kind}\n{text}{FENCE}\n")


async def test_wrong_sql_fails_with_its_line(run, environment):
    with pytest.raises(WrongPageError, match=r"^docs/page\.md:3: "):
        await run(f"{FENCE}sql\nSELECT 1;\nSELECT nothing;\n{FENCE}\n", environment)


async def test_a_right_page_is_run_from_top_to_bottom(run, environment):
    done = await run(RIGHT, environment)
    assert done == ["written", "run", "run, run, run, run, run", "run", "run", "parsed"]


async def test_a_command_that_is_covered_elsewhere_is_not_run(run):
    (done,) = await run(f"{FENCE}console\n$ make demo   # a working day\n{FENCE}\n")
    assert done == "covered by tests/acceptance/test_demo.py"


def test_a_fence_that_is_never_closed_is_told():
    with pytest.raises(WrongPageError, match=r"^docs/page\.md:2: "):
        _ = Page("docs/page.md", f"\n{FENCE}text\n").blocks


def test_any_text_within_a_line_and_any_lines_are_matched_and_nothing_else():
    assert matches(["a", "...", "d"], "a\nb\nc\nd\n") is None
    assert matches(["a ... d"], "a b c d \n") is None
    assert matches(["a", "...", "e"], "a\nb\n") == 2
    assert matches(["a ... d"], "a b\nc d\n") == 0
    assert has_come(["a", "..."], "a\nb")
    assert not has_come(["a", "b"], "a\nb")


@pytest.mark.parametrize("pattern", NOT_RUN)
def test_what_is_not_run_is_in_a_page_and_runs_elsewhere(pattern):
    blocks = [block for page in pages() for block in page.blocks if block.language == "console"]
    lines = [line.removeprefix("$ ").partition(" #")[0].strip() for it in blocks for line in it.text.splitlines()]
    used = [found for line in lines if (found := re.fullmatch(pattern, line))]
    assert used, "no page has such a command: take the entry out"
    file, what = NOT_RUN[pattern]
    covering = (REPOSITORY / file).read_text()
    for command in used:
        assert what.format(*command.groups()) in covering
        assert not_run.missing(command[0]) is None
