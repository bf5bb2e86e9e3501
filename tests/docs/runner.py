"""Running a page from top to bottom."""

import ast
import configparser
import contextlib
import inspect
import io
import os
import re
import sys
import tomllib
import traceback
import types
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.docs import commands
from tests.docs.expected import matches
from tests.docs.pages import REPOSITORY, Block, Page
from tests.docs.setups import SETUPS
from tests.support.databases import connected

_PRINTS = "# > "
_NOT_RUN = {"mermaid": "compared by test_diagram", "text": "free"}
_YAML_LINE = re.compile(r"""^ *(- )*(["']?[\w./$ {}-]+["']?:( .*)?|- .*|#.*|-)$""")


@dataclass
class Runner:
    """One page being run.

    Attributes:
        folder: Where titled blocks are written, and where commands run.
        environment: The variables of its servers.
        done: What was done about each block, in their order.
    """

    page: Page
    folder: Path
    environment: dict[str, str]
    done: list[str] = field(default_factory=list)

    async def run(self) -> list[str]:
        """Run all blocks.

        Raises:
            WrongPageError: At the first that is wrong.
        """
        module = types.ModuleType("page_" + re.sub(r"\W", "_", self.page.name))
        # Where pydantic and dataclasses look for the names in annotations.
        sys.modules[module.__name__] = module
        SETUPS.get(self.page.name, lambda: None)()
        for block in self.page.blocks:
            self.done.append(await self._block(block, module.__dict__))
        return self.done

    async def _block(self, block: Block, names: dict[str, object]) -> str:
        if block.title is not None:
            return self._write(block)
        match block.language:
            case "python":
                return await run_python(block, names)
            case "console":
                return ", ".join(await commands.run(block, self.folder, self.environment))
            case "sql":
                return await run_sql(block, self.environment["DATABASE_URL"])
        return _NOT_RUN.get(block.language) or parse(block)

    def _write(self, block: Block) -> str:
        if block.language == "python":
            compiled(block, top_level_await=False)
        elif block.language in {"toml", "ini", "yaml"}:
            parse(block)
        path = (self.folder / str(block.title)).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise block.wrong("its title leads out of the folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, "utf-8")
        return "written"


def compiled(block: Block, *, top_level_await: bool) -> types.CodeType:
    """The code of a block, whose lines are those of the page."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if top_level_await else 0
    path = str(REPOSITORY / block.page)
    try:
        return compile("\n" * block.line + block.text, path, "exec", flags, dont_inherit=True)
    except SyntaxError as exc:
        raise block.wrong(f"{type(exc).__name__}: {exc.msg}", (exc.lineno or block.line) - block.line) from exc


async def run_python(block: Block, names: dict[str, object]) -> str:
    """Run a block, and compare what it prints with its lines ``# > …``, if there are any."""
    code = compiled(block, top_level_await=True)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            result = eval(code, names)
            if code.co_flags & inspect.CO_COROUTINE:
                await result
    except Exception as exc:
        raise block.wrong(f"{type(exc).__name__}: {exc}", _line_of(exc, code) - block.line) from exc
    expected = [
        (number, line.strip().removeprefix(_PRINTS))
        for number, line in enumerate(block.text.splitlines(), 1)
        if line.strip().startswith(_PRINTS)
    ]
    if expected:
        wrong = matches([line for _, line in expected], printed.getvalue())
        if wrong is not None:
            number = expected[min(wrong, len(expected) - 1)][0]
            raise block.wrong(f"it printed:\n{printed.getvalue()}", number)
    return "run"


def _line_of(error: BaseException, code: types.CodeType) -> int:
    """The line of the page that an error comes from."""
    lines = [
        frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == code.co_filename
    ]
    return lines[-1] if lines else code.co_firstlineno


async def run_sql(block: Block, url: str) -> str:
    """Run the statements of a block, in autocommit."""
    async with connected(url) as connection:
        try:
            await connection.execute(block.text)
        except asyncpg.PostgresError as exc:
            position = int(getattr(exc, "position", None) or 1)
            raise block.wrong(str(exc), block.text[:position].count("\n") + 1) from exc
    return "run"


def parse(block: Block) -> str:
    """Parse a configuration file."""
    try:
        if block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "ini":
            configparser.ConfigParser(interpolation=None).read_string(block.text)
        else:
            _parse_yaml(block)
    except (tomllib.TOMLDecodeError, configparser.Error) as exc:
        found = re.search(r"line:? +(\d+)", str(exc))
        raise block.wrong(str(exc), int(found[1]) if found else 0) from exc
    return "parsed"


def _parse_yaml(block: Block) -> None:
    """No parser of YAML is among the dependencies: look at each line."""
    literal: int | None = None
    for number, line in enumerate(block.text.splitlines(), 1):
        indent = len(line) - len(line.lstrip(" "))
        if literal is not None and (not line.strip() or indent > literal):
            continue
        literal = indent if re.search(r": [|>][+-]?$", line) else None
        if line.strip() and line != "---" and not _YAML_LINE.match(line):
            raise block.wrong(f"no line of YAML: {line!r}", number)


@contextlib.contextmanager
def importable(folder: Path):
    """A folder from which modules are imported, and none of them afterwards."""
    sys.path.insert(0, str(folder))
    before = dict(sys.modules)
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in sys.modules.keys() - before.keys():
            origin = getattr(sys.modules[name], "__file__", None) or ""
            if origin.startswith(str(folder) + os.sep) or name.startswith("page_"):
                del sys.modules[name]
