"""The fold of a log: pure."""
