"""Bounds and checks of what callers give."""
