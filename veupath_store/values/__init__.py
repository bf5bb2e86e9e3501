"""Frozen values that repositories take and return: what callers hold in their hands beside the models."""

from veupath_store.values.streams import DismissReason, ProjectionSummary

__all__ = ["DismissReason", "ProjectionSummary"]
