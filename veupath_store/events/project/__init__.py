"""Rows and logs, kept at the same place."""
