"""Tests that are no coroutines, with the store and without it."""

from veupath_store import StoreSettings


def test_nothing_is_needed_for_a_test_without_the_store():
    assert 1 + 1 == 2


def test_the_environment_names_the_tests_database(store_settings):
    assert StoreSettings().database_url == store_settings.database_url
    assert StoreSettings().redis_url is None


def test_the_store_is_open_for_a_synchronous_test_as_well(store):
    assert store.is_open
