"""What people expect of a project: one version, a licence, pinned releases, and the same commands everywhere."""

import os
import re
import subprocess

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import veupath_store
from tests import versions
from tests.support.checkout import REPOSITORY

MAKEFILE = (REPOSITORY / "Makefile").read_text()


def test_the_version_is_stated_once():
    files = [*(REPOSITORY / "veupath_store").rglob("*.py"), *REPOSITORY.glob("*.toml"), *REPOSITORY.glob("*.cff")]
    stating = [path for path in files if f'"{veupath_store.__version__}"' in path.read_text()]
    assert stating == [REPOSITORY / "veupath_store" / "__init__.py"]


def test_the_newest_version_of_the_changelog_is_that_of_the_package():
    newest = re.search(r"^## (\d\S*)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest.group(1) == veupath_store.__version__


def test_make_help_has_a_line_for_each_target():
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE).group(1).replace("\\", "").split()
    # Not as a part of the make that runs this test.
    outside = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    printed = subprocess.check_output(["make", "help"], cwd=REPOSITORY, text=True, env=outside)
    assert sorted(dict(line.split(maxsplit=1) for line in printed.splitlines())) == sorted(phony)


def test_the_constraints_are_names_and_versions_that_meet_what_is_declared():
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    for requirement in map(Requirement, versions.requirements()):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": "3.11"}):
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_the_workflow_calls_targets_of_the_makefile():
    workflow = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text()
    runs = re.findall(r"run: (.*)", workflow)
    assert all(run.startswith("make ") for run in runs)
    matrix = re.search(r"target: \[(.*)\]", workflow).group(1).split(", ")
    named = {*matrix, *re.findall(r"run: make ([\w-]+)", workflow)}
    checked = set(re.search(r"^check: (.*?)  ##", MAKEFILE, re.MULTILINE).group(1).split())
    # Other versions of Python are jobs of their own there.
    assert named == (checked - {"test-newest"}) | {"demo"}


def test_each_hook_before_a_commit_is_a_command_of_make_lint():
    hooks = re.findall(r"entry: \.venv/bin/(.*)", (REPOSITORY / ".pre-commit-config.yaml").read_text())
    lint = re.search(r"^lint: .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE).group(1)
    assert hooks
    assert [hook for hook in hooks if f"$(BIN)/{hook}" not in lint] == []
