"""Frozen values that repositories take and return: what callers hold in their hands beside the models."""

from veupath_store.values.accounts import PurgeMode, PurgeReport
from veupath_store.values.control_sets import ControlSetSummary, GeneMatch
from veupath_store.values.operations import (
    Heartbeat,
    Lease,
    OperationStatus,
    OperationStatusView,
    OperationSummary,
    OperationType,
    SweepReport,
)
from veupath_store.values.readiness import Readiness
from veupath_store.values.streams import DismissReason, ProjectionSort, ProjectionSummary
from veupath_store.values.wdk import SyncedStrategy, SyncOutcome, SyncReport, WdkStrategy

__all__ = [
    "ControlSetSummary",
    "DismissReason",
    "GeneMatch",
    "Heartbeat",
    "Lease",
    "OperationStatus",
    "OperationStatusView",
    "OperationSummary",
    "OperationType",
    "ProjectionSort",
    "ProjectionSummary",
    "PurgeMode",
    "PurgeReport",
    "Readiness",
    "SweepReport",
    "SyncOutcome",
    "SyncReport",
    "SyncedStrategy",
    "WdkStrategy",
]
