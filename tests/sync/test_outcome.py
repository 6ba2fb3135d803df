"""Outcomes: encoded once, compared as a client would."""

import json
from itertools import combinations

from cupola.sync.outcome import QueryOutcome


def test_a_value_is_a_modification_around_its_bytes() -> None:
    outcome = QueryOutcome.success(b"[1.0]", log_lines=b'["[LOG] x"]', journal='a "journal"')
    assert outcome.ok
    assert outcome.value == b"[1.0]"
    assert json.loads(outcome.modification(7)) == {
        "type": "QueryUpdated",
        "queryId": 7,
        "value": [1.0],
        "logLines": ["[LOG] x"],
        "journal": 'a "journal"',
    }
    pieces = (outcome.opening, b"7", outcome.middle, outcome.body, outcome.closing)
    assert outcome.modification(7) == b"".join(pieces)


def test_only_an_application_error_has_data() -> None:
    """Clients go by the presence of the key: null is data as well."""
    plain = QueryOutcome.failure("boom")
    assert not plain.ok
    assert plain.value is None
    assert json.loads(plain.modification(0)) == {
        "type": "QueryFailed",
        "queryId": 0,
        "errorMessage": "boom",
        "logLines": [],
        "journal": None,
    }
    with_null = QueryOutcome.failure("boom", error_data=b"null")
    assert json.loads(with_null.modification(0))["errorData"] is None


def test_outcomes_that_a_client_can_tell_apart_differ() -> None:
    outcomes = [
        QueryOutcome.success(b"1"),
        QueryOutcome.success(b'"1"'),
        QueryOutcome.success(b"1", log_lines=b'["[LOG] 1"]'),
        QueryOutcome.failure("1"),
        QueryOutcome.failure("1", log_lines=b'["[LOG] 1"]'),
        QueryOutcome.failure("1", error_data=b"null"),
        QueryOutcome.failure("1", error_data=b"1"),
        QueryOutcome.failure("1\0", error_data=b"1"),
        QueryOutcome.failure("[Request ID: 1] 2"),
        QueryOutcome.failure("see [Request ID: 1]"),
        QueryOutcome.failure("see [Request ID: 2]"),
    ]
    assert not any(one.digest == other.digest for one, other in combinations(outcomes, 2))


def test_a_request_id_or_journal_alone_is_no_change() -> None:
    first = QueryOutcome.failure("[Request ID: 1f2e] Server Error\nUncaught Error: boom")
    second = QueryOutcome.failure("[Request ID: 77aa] Server Error\nUncaught Error: boom")
    assert first.digest == second.digest
    assert QueryOutcome.success(b"1", journal="a").digest == QueryOutcome.success(b"1").digest


def test_what_an_outcome_keeps_is_counted() -> None:
    outcome = QueryOutcome.success(b"x" * 1000)
    assert 1000 < outcome.size_bytes < 1200
    assert len(repr(outcome)) < 100


def test_what_is_redacted_keeps_values_data_and_journals() -> None:
    """And is made once, for all who are shown it."""
    text = "[Request ID: a1] Server Error\nUncaught ValueError: row 7\n    at f (m.py:3)"
    failed = QueryOutcome.failure(text, error_data=b'{"a":1}', log_lines=b'["x"]', journal="j")
    told = QueryOutcome.success(b"5", log_lines=b'["x"]', journal="j")
    plain = QueryOutcome.success(b"5", journal="j")

    assert failed.redacted.modification(3) == (
        b'{"type":"QueryFailed","queryId":3,"errorMessage":"[Request ID: a1] Server Error",'
        b'"logLines":[],"journal":"j","errorData":{"a":1}}'
    )
    assert failed.redacted is failed.redacted
    assert told.redacted.modification(3) == plain.modification(3)
    assert told.redacted.digest == plain.digest, "no change that a client could tell"
    assert plain.redacted is plain
