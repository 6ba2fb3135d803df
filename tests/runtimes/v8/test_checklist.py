"""The conformance checklist of the function runtime (section 22 of its spec): who holds each item.

A row names its item and the tests that hold it; a row whose test is gone fails here.
"""

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).parent

CHECKLIST = {
    "1. `undefined` in index ranges; ties of `desc` by creation time": [
        "test_semantics::test_a_missing_field_is_the_smallest_value",
    ],
    "2. `db.get` of another table's id is an error; of a nonexistent one null": [
        "test_calls::test_ids_are_told_apart",
        "test_semantics::test_a_document_that_is_gone_is_null",
    ],
    "3. A patch with `undefined` removes the field; an identical one writes nothing": [
        "test_calls::test_writes_are_seen_by_the_mutation_that_made_them",
        "test_calls::test_a_patch_that_changes_nothing_writes_nothing",
    ],
    "4. Own writes are seen in index ranges and in `collect()`": [
        "test_calls::test_writes_are_seen_by_the_mutation_that_made_them",
        "test_calls::test_a_scan_sees_the_writes_made_while_it_goes_on",
    ],
    "5. A failed nested mutation takes back its writes and schedules, not its parent's": [
        "test_calls::test_a_failed_nested_mutation_takes_back_only_its_own_writes",
        "test_scheduling::test_what_was_rolled_back_was_not_scheduled",
    ],
    "6. An un-awaited insert of a mutation that returns is committed; of one that throws not": [
        "test_calls::test_a_write_that_nobody_awaits_counts_unless_the_call_fails",
    ],
    "7. The clock stands still within a run; randomness differs across runs; both at import": [
        "test_semantics::test_a_run_has_one_time_and_its_own_randomness",
        "test_environment::test_clocks_stand_still",
    ],
    "8. `crypto.randomUUID()` works in a mutation; `generateKey` does not": [
        "test_semantics::test_a_mutation_makes_ids_but_no_keys",
    ],
    "9. `setTimeout` fails a query even inside try; a rejected `fetch` can be caught": [
        "test_environment::test_a_timer_fails_the_call_even_where_it_is_caught",
        "test_environment::test_fetch_rejects_and_can_be_caught",
    ],
    "10. `runAfter` counts from the frozen clock; nothing is scheduled if the mutation throws": [
        "test_semantics::test_what_is_scheduled_counts_from_the_runs_own_time",
    ],
    "11. A second `.paginate()` is an error; a foreign cursor has `InvalidCursor` data": [
        "test_calls::test_a_page_size_of_zero_and_a_second_page_are_refused",
        "test_semantics::test_a_cursor_of_another_query_is_refused",
    ],
    "12. A page is pinned: it grows inside, and sleeps through inserts after it": [
        "test_semantics::test_a_page_grows_inside_and_sleeps_after_its_end",
    ],
    "13. Results are shared unless the caller was looked at; 17 s if the clock was; no failures": [
        "test_semantics::test_a_result_is_shared_among_callers_that_it_does_not_look_at",
        "test_semantics::test_a_result_of_its_time_is_given_to_nobody_after_17_seconds",
        "test_semantics::test_a_live_result_stays_while_new_askers_get_a_new_one",
        "test_live::test_a_failure_is_not_kept",
    ],
    "14. Two mutations of the same document both commit, one of them run again": [
        "test_calls::test_two_mutations_that_conflict_both_commit",
    ],
    "15. A ConvexError's data reaches the client in redacted mode; texts do not": [
        "test_redaction::test_a_redacted_error_keeps_its_data_and_nothing_else",
    ],
    '16. `console.log("a", {b: 1})`': [
        "test_environment::test_console_lines_look_as_documented",
    ],
    "17. 257 log lines are 255 and one that says so": [
        "test_environment::test_the_log_has_a_bound",
    ],
    "18. An internal function looks like a missing one": [
        "test_calls::test_an_internal_function_looks_missing_to_clients",
    ],
    "19. HEAD is routed to GET; 404 for no route; 500 as JSON; bodies stream": [
        "test_http_actions::test_head_is_answered_by_the_route_of_get",
        "test_http_actions::test_what_no_route_matches_is_told_so",
        "test_http_actions::test_a_failure_is_told_as_json",
        "test_http_actions::test_a_body_arrives_while_it_is_made",
    ],
    "20. An id argument of another table is an `ArgumentValidationError`": [
        "test_semantics::test_an_argument_of_another_tables_id_is_refused",
    ],
    "21. One document too many is an error to catch; in `paginate` it is `SplitRequired`": [
        "test_semantics::test_reading_too_much_can_be_caught_and_cuts_a_page_short",
    ],
    "22. `schemaValidation: false` accepts anything and still builds indexes": [
        "test_semantics::test_without_validation_a_schema_accepts_everything_and_still_has_indexes",
    ],
}


def test_every_item_has_a_row() -> None:
    assert [int(item.partition(".")[0]) for item in CHECKLIST] == list(range(1, 23))


@pytest.mark.parametrize("item", CHECKLIST)
def test_the_tests_of_an_item_exist(item: str) -> None:
    assert CHECKLIST[item]
    for place in CHECKLIST[item]:
        module, _, name = place.partition("::")
        tree = ast.parse((HERE / f"{module}.py").read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in functions, place
