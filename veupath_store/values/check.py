"""What a look at a deployment found."""

from collections import Counter
from enum import StrEnum

from veupath_store.values.value import Value


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Finding(Value):
    """One thing that was looked at.

    Attributes:
        name: What was looked at, always by the same name: ``schema``.
        level: How it is.
        message: A sentence that says how it is and, where it is not well, what to do. Never a password, a DSN or
            stored content.
        details: What exactly: one line for each object, host or table.
    """

    name: str
    level: Level
    message: str
    details: tuple[str, ...] = ()


class CheckReport(Value):
    """What `check_deployment` found.

    Attributes:
        complete: Whether everything could be looked at: the settings could be used, and each server answered.
        findings: In the order in which things were looked at.
    """

    complete: bool
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[Level, int]:
        """How many findings there are of each level."""
        found = Counter(finding.level for finding in self.findings)
        return {level: found[level] for level in Level}

    def is_well(self, *, strict: bool = False) -> bool:
        """Whether all is well.

        Args:
            strict: Whether warnings count, too.
        """
        counts = self.counts
        return self.complete and not counts[Level.FAILURE] and not (strict and counts[Level.WARNING])
