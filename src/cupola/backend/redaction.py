"""What clients are shown where errors are redacted (spec: function runtime, section 14).

The text of a failure may name tables, files and values, and log lines anything. A client of a
redacting deployment gets the request id, by which the operator finds all of it in the logs. The
data of application errors is meant for clients, and is always sent. Administrators see everything,
except in live queries, whose results are shared.
"""

from __future__ import annotations

import dataclasses

from cupola.auth import Identity
from cupola.backend.calls import CallResult


def redacted_text(message: str) -> str:
    """The first line of a failure's text: `[Request ID: …] Server Error`."""
    return message.partition("\n")[0]


def shown_to(identity: Identity, result: CallResult) -> CallResult:
    """What a caller may see of how a call ended, in a deployment that redacts."""
    if identity.may_call_internal:
        return result
    message = None if result.error_message is None else redacted_text(result.error_message)
    return dataclasses.replace(result, error_message=message, log_lines=b"[]")
