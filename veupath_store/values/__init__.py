"""Frozen values that repositories take and return: what callers hold in their hands beside the models."""

from veupath_store.values.accounts import (
    SYSTEM_SITE_ID,
    SYSTEM_STREAM_ID,
    SYSTEM_USER_ID,
    PurgeMode,
    PurgeReport,
)
from veupath_store.values.check import CheckReport, Finding, Level
from veupath_store.values.control_sets import ControlSetPatch, ControlSetSummary, GeneMatch
from veupath_store.values.documents import DocumentDelete, DocumentSave, SaveFailure, WriterStatistics
from veupath_store.values.events import (
    LoggedEvent,
    LogPage,
    Message,
    MessageRole,
    SubAgent,
    TokenUsage,
    ToolCall,
)
from veupath_store.values.experiments import ExperimentSave, ExperimentSummary
from veupath_store.values.gene_sets import GeneSetContent, GeneSetSave, GeneSetSource, GeneSetSummary
from veupath_store.values.operations import (
    Heartbeat,
    Lease,
    OperationStatus,
    OperationStatusView,
    OperationSummary,
    OperationType,
    SweepReport,
)
from veupath_store.values.projections import (
    CaughtUp,
    FieldDifference,
    LagReport,
    LagState,
    LogProblem,
    RebuildOutcome,
    RebuildReport,
    StreamLag,
    StreamRebuild,
    StreamVerification,
    VerifyOutcome,
    VerifyReport,
)
from veupath_store.values.readiness import Readiness
from veupath_store.values.streams import DismissReason, ProjectionPatch, ProjectionSort, ProjectionSummary
from veupath_store.values.wdk import SyncedStrategy, SyncOutcome, SyncReport, WdkStrategy

__all__ = [
    "SYSTEM_SITE_ID",
    "SYSTEM_STREAM_ID",
    "SYSTEM_USER_ID",
    "CaughtUp",
    "CheckReport",
    "ControlSetPatch",
    "ControlSetSummary",
    "DismissReason",
    "DocumentDelete",
    "DocumentSave",
    "ExperimentSave",
    "ExperimentSummary",
    "FieldDifference",
    "Finding",
    "GeneMatch",
    "GeneSetContent",
    "GeneSetSave",
    "GeneSetSource",
    "GeneSetSummary",
    "Heartbeat",
    "LagReport",
    "LagState",
    "Lease",
    "Level",
    "LogPage",
    "LogProblem",
    "LoggedEvent",
    "Message",
    "MessageRole",
    "OperationStatus",
    "OperationStatusView",
    "OperationSummary",
    "OperationType",
    "ProjectionPatch",
    "ProjectionSort",
    "ProjectionSummary",
    "PurgeMode",
    "PurgeReport",
    "Readiness",
    "RebuildOutcome",
    "RebuildReport",
    "SaveFailure",
    "StreamLag",
    "StreamRebuild",
    "StreamVerification",
    "SubAgent",
    "SweepReport",
    "SyncOutcome",
    "SyncReport",
    "SyncedStrategy",
    "TokenUsage",
    "ToolCall",
    "VerifyOutcome",
    "VerifyReport",
    "WdkStrategy",
    "WriterStatistics",
]
