"""What came of one fault, as it goes into the report."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What came of one fault.

    Attributes:
        command: Name of the command.
        kind: What was done to it.
        start: How the command was started, "exec" or "fork".
        to_group: Whether the signal went to all processes of the command.
        share: Of the processor time, or of the disk, after which the fault came.
        struck: Whether the command still ran, or the disk was too small for it.
        exit_code: Of the disturbed run.
        findings: All that was wrong.
        seconds: That the test took.
        seconds_to_end: From the fault to the end of all processes, where that is measured.
    """

    command: str
    kind: str
    start: str
    to_group: bool
    share: float
    struck: bool = False
    exit_code: int | None = None
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    seconds_to_end: float | None = None
