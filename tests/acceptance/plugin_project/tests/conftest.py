"""What this project sets itself, and how long it waits for a clean store."""

import statistics

import pytest

SETUPS = []


@pytest.fixture
def store_settings(store_settings):
    return store_settings.model_copy(update={"pool_max_size": 3})


@pytest.fixture
def make_gene_set():
    """This project's own; the plugin's of the same name gives way."""
    return "ours"


def pytest_runtest_logreport(report):
    if report.when == "setup" and "test_clean" in report.nodeid:
        SETUPS.append(report.duration * 1_000)


def pytest_terminal_summary(terminalreporter):
    if SETUPS:
        terminalreporter.write_line(f"a clean store: {statistics.median(SETUPS):.1f} ms, the median of {len(SETUPS)}")
