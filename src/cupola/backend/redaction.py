"""What clients are shown where errors are redacted (spec: function runtime, section 14).

The text of a failure may name tables, files and values, and log lines anything. A client of a
redacting deployment gets the request id, by which the operator finds all of it in the logs. The
data of application errors is meant for clients, and is always sent. Administrators see everything.

What a call or query ended with is kept whole, and shared; it is redacted where it is answered.
"""

from __future__ import annotations

import dataclasses

from cupola.auth import Identity
from cupola.backend.calls import CallResult
from cupola.sync.outcome import QueryOutcome, redacted_text


def shown_to(identity: Identity, result: CallResult) -> CallResult:
    """What a caller may see of how a call ended, in a deployment that redacts."""
    if identity.may_call_internal:
        return result
    message = None if result.error_message is None else redacted_text(result.error_message)
    return dataclasses.replace(result, error_message=message, log_lines=b"[]")


def outcomes_shown_to(
    identity: Identity, outcomes: dict[int, QueryOutcome]
) -> dict[int, QueryOutcome]:
    """The same of live queries, by query id. Whoever sees less shares one outcome, too."""
    if identity.may_call_internal:
        return outcomes
    return {query_id: outcome.redacted for query_id, outcome in outcomes.items()}
