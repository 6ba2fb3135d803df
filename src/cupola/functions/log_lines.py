"""Log lines of one call, in the form clients parse: `[LEVEL] text` (spec: sync protocol, section
8.1).
"""

from __future__ import annotations

from cupola.errors import LimitError
from cupola.limits import DEFAULT_LIMITS, Limits


class LogBuffer:
    """What a call and the calls nested in it have logged, bounded in lines and length. `audits`:
    entries of audit logs, see `functions.audit_logs`; no caller is shown them.
    """

    __slots__ = ("_audit_bytes", "_limits", "audits", "lines")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self.lines: list[str] = []
        self.audits: list[str] = []
        self._audit_bytes = 0

    def add(self, level: str, text: str) -> None:
        """Append a line. The one that reaches the bound is replaced by a notice, the rest are
        dropped.
        """
        bound = self._limits.log_lines_max
        if len(self.lines) >= bound:
            return
        if len(self.lines) == bound - 1:
            self.lines.append(
                f"[ERROR] Log overflow (maximum {bound}). Remaining log lines omitted."
            )
            return
        if len(text) > self._limits.log_line_length_max:
            text = text[: self._limits.log_line_length_max] + " (truncated due to length)"
        self.lines.append(f"[{level}] {text}")

    def add_last(self, level: str, text: str) -> None:
        """Append one of the few lines that the system adds at a call's end, also if it is full."""
        self.lines.append(f"[{level}] {text}")

    def audit(self, entry: str) -> None:
        """Raises LimitError (AuditLogTooLarge): All entries together are too large."""
        self._audit_bytes += len(entry.encode("utf-8", "replace"))
        bound = self._limits.audit_log_bytes_max
        if self._audit_bytes > bound:
            raise LimitError(
                f"A call records at most {bound:,} bytes in audit logs (audit_log_bytes_max); "
                "record ids instead of whole documents.",
                code="AuditLogTooLarge",
            )
        self.audits.append(entry)
