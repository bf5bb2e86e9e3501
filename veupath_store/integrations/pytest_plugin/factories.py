"""The factories as fixtures, one for each entity. They depend on no fixture but the factories themselves."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from veupath_store.integrations.testing import Factories, Make
    from veupath_store.models import ControlSet, ExperimentRow, GeneSetRow, Operation, Stream, StreamProjection, User
    from veupath_store.values import Lease


@pytest.fixture
def make_user(store_factories: "Factories") -> "Make[User]":
    """Makes users who have logged in: `Factories.user`."""
    return store_factories.user


@pytest.fixture
def make_guest(store_factories: "Factories") -> "Make[User]":
    """Makes users without a login: `Factories.guest`."""
    return store_factories.guest


@pytest.fixture
def make_stream(store_factories: "Factories") -> "Make[Stream]":
    """Makes conversations, their projections loaded: `Factories.stream`."""
    return store_factories.stream


@pytest.fixture
def make_projection(store_factories: "Factories") -> "Make[StreamProjection]":
    """Makes conversations, and gives their projections: `Factories.projection`."""
    return store_factories.projection


@pytest.fixture
def make_control_set(store_factories: "Factories") -> "Make[ControlSet]":
    """Makes control sets: `Factories.control_set`."""
    return store_factories.control_set


@pytest.fixture
def make_experiment(store_factories: "Factories") -> "Make[ExperimentRow]":
    """Makes experiments: `Factories.experiment`."""
    return store_factories.experiment


@pytest.fixture
def make_gene_set(store_factories: "Factories") -> "Make[GeneSetRow]":
    """Makes gene sets: `Factories.gene_set`."""
    return store_factories.gene_set


@pytest.fixture
def make_operation(store_factories: "Factories") -> "Make[Operation]":
    """Makes operations: `Factories.operation`."""
    return store_factories.operation


@pytest.fixture
def make_lease(store_factories: "Factories") -> "Make[Lease]":
    """Makes operations that run, and gives their leases: `Factories.lease`."""
    return store_factories.lease
