"""The commands that the harness does not run, and what runs each instead.

They install something, or are the targets of the Makefile, which would run the tests from within the tests.
"""

import re
import tomllib

from tests.docs.pages import REPOSITORY

_ALWAYS = re.compile(r"(python -m )?(pip|make|git clone)\b")
_EXTRAS = re.compile(r"veupath-store\[([\w,-]+)\]")


# A file, and a line or a function of it that runs the same.
NOT_RUN: dict[str, tuple[str, str]] = {
    r"make demo": ("tests/acceptance/test_demo.py", "test_the_demo_proves_that_nothing_was_lost_on_both_days"),
    r"make (lint|test|test-large|test-running|test-lowest|test-newest)": (".ci/run", "make {0}"),
    r"make help": ("tests/unit/test_project.py", "test_make_help_has_a_line_for_each_target"),
    r"make check": ("Makefile", "check: lint test test-large"),
    r"make bench": ("tests/integration/test_benchmarks.py", "test_two_workloads_are_measured_and_what_was_left_out_is"),
    r"make bench-scale": (
        "tests/integration/test_scale_benchmark.py",
        "test_a_call_is_measured_at_each_size_and_a_heavy_user_as_soon_as_there_is_one",
    ),
    r"pip install '?veupath-store(\[[\w,-]+\])?'?": (
        "tests/acceptance/test_wheel.py",
        "test_the_installed_wheel_migrates_with_its_own_files",
    ),
    r"aerich upgrade": (
        "tests/migration/test_aerich_command.py",
        "test_upgrade_and_downgrade_and_upgrade_again_with_data_in_it",
    ),
}
"""The commands that are not run, as regular expressions, and what covers each."""


def not_run(command: str) -> str | None:
    """The file that covers a command which is not to be run.

    Raises:
        LookupError: It must not be run, and nothing covers it.
    """
    bare = re.sub(r"\s+#.*$", "", command)
    for pattern, (file, _) in NOT_RUN.items():
        if re.fullmatch(pattern, bare):
            return file
    if _ALWAYS.match(bare):
        raise LookupError("tests/docs/not_run.py does not say which test covers this command")
    return None


def missing(command: str) -> str | None:
    """What a command that is not run names although it does not exist: a make target, an extra."""
    bare = re.sub(r"\s+#.*$", "", command)
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    if bare.startswith("make ") and not set(bare.split()[1:]) <= targets:
        return f"the Makefile has no target {bare.removeprefix('make ')!r}"
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = {extra for found in _EXTRAS.findall(bare) for extra in found.split(",")}
    unknown = asked - project["optional-dependencies"].keys()
    return f"there is no extra {', '.join(sorted(unknown))}" if unknown else None
