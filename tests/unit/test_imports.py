"""What an import of the repositories brings along: every process that uses them pays it, at each start."""

import subprocess
import sys

LEFT_FOR_LATER = (
    "aerich",  # only migrations need it
    "fastapi",
    "httpx",
    "pydantic.plugin._loader",  # looks through the metadata of all installed distributions
    "pydantic_settings",  # with argparse and dotenv; only where settings are made
    "redis",
    "rich",
    "typer",
    "veupath_store.config",
    "veupath_store.schema.migrations",
)

_IMPORTED = """
import sys
import veupath_store.repositories
print([name for name in sys.argv[1:] if name in sys.modules])
"""

_BUILT = """
import veupath_store.repositories, veupath_store.values
from pydantic import BaseModel

def below(model):
    for child in model.__subclasses__():
        yield child
        yield from below(child)

ours = {model for model in below(BaseModel) if model.__module__.startswith("veupath_store.")}
assert len(ours) > 25
print(sorted(model.__name__ for model in ours if model.__pydantic_complete__))
"""

_IN_THREADS = """
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4
from veupath_store.values import ExperimentSave, WdkStrategy

threads, saves = 16, []
start = threading.Barrier(threads)

def work(number):
    start.wait()
    save = ExperimentSave(id=uuid4(), user_id=uuid4(), site_id="s", name=str(number), status="done", data={"n": number})
    saves.append((save.name, save.data, WdkStrategy(wdk_strategy_id=number).wdk_strategy_id))

with ThreadPoolExecutor(threads) as pool:
    list(pool.map(work, range(threads)))
print(sorted(saves) == sorted((str(n), '{"n":%d}' % n, n) for n in range(threads)))
"""


def printed(program, *arguments):
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_repositories_import_nothing_that_only_others_need():
    assert printed(_IMPORTED, *LEFT_FOR_LATER) == "[]"
    # It would be seen.
    assert printed(_IMPORTED.replace("repositories", "config"), *LEFT_FOR_LATER) != "[]"


def test_no_validator_is_built_before_the_first_value():
    assert printed(_BUILT) == "[]"


def test_the_first_values_may_be_made_in_several_threads_at_once():
    assert [printed(_IN_THREADS) for _ in range(3)] == ["True"] * 3
