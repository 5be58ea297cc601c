"""What an audit finds in recordings: errors stop a run, warnings are kept with the data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

SEVERITIES: Final = ("error", "warning")
Severity = Literal["error", "warning"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong, or odd, in recordings; of many alike the first one and their number."""

    severity: Severity
    check: str
    """What was looked at, in snake_case, e.g. ``dangling_token``: the same for all findings of a kind."""
    message: str
    """One sentence for the user: the file, the token or value, what is wrong and what to do."""
    scene_name: str = ""
    """Empty where it concerns no scene alone."""
    table: str = ""
    """Name of the table (``sample_data``) or, of other files, the path below the dataroot."""
    token: str = ""
    """Of the first record; empty where there is none."""
    num: int = 1
    """Records like it."""


class BrokenRecording(ValueError):  # noqa: N818 -- names the thing, as Finding does
    """Recordings that cannot be used, with everything that was found; the message is the first error's."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        first, *others = [finding for finding in self.findings if finding.severity == "error"]
        more = f" (and {len(others):,} more errors)" if others else ""
        super().__init__(first.message + more)

    def __reduce__(self) -> tuple[type["BrokenRecording"], tuple[tuple[Finding, ...]]]:
        """Findings travel between processes, not the message alone."""
        return type(self), (self.findings,)
