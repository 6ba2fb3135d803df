"""Queries and mutations in TypeScript, through workers, as serving runs them."""

import asyncio

import pytest

from cupola.auth import Identity
from cupola.limits import Limits
from cupola.values import Int64

from .conftest import Server

pytestmark = pytest.mark.node

ADMIN = Identity("admin")
ADA = Identity(
    "user", {"subject": "ada", "issuer": "https://a", "tokenIdentifier": "https://a|ada"}
)


def send(server, body="hi", channel="general"):
    return server.mutation("messages:send", channel=channel, body=body)


# ------------------------------------------------------------------------------------- documents


def test_a_document_goes_in_and_comes_out(server):
    document_id = send(server)
    (message,) = server.query("messages:list", channel="general")
    assert message["body"] == "hi"
    assert message["_id"] == document_id
    assert server.query("messages:get", id=document_id) == message


def test_a_range_comes_in_the_order_that_was_asked_for(server):
    for body in ("one", "two", "three"):
        send(server, body)
    send(server, "elsewhere", channel="other")

    listed = server.query("messages:list", channel="general")

    assert [message["body"] for message in listed] == ["three", "two", "one"]


def test_writes_are_seen_by_the_mutation_that_made_them(server):
    document_id = send(server)
    patched, unset, replaced, found, deleted = server.mutation("messages:edit", id=document_id)
    assert (patched["body"], patched["extra"]) == ("patched", Int64(1))
    assert "extra" not in unset
    assert replaced["channel"] == "other"
    assert replaced["_creationTime"] == patched["_creationTime"]
    assert (found, deleted) == (1, None)


def test_a_patch_that_changes_nothing_writes_nothing(server):
    """Else it would wake everyone who reads the document."""
    document_id = send(server, "same")
    before = server.backend.status()["commits"]
    server.mutation("messages:patchSame", id=document_id, body="same")
    assert server.backend.status()["commits"] == before
    server.mutation("messages:patchSame", id=document_id, body="other")
    assert server.backend.status()["commits"] == before + 1


def test_a_filter_picks_documents(server):
    send(server, "one")
    send(server, "two")
    assert server.query("messages:matching", body="two")["body"] == "two"
    assert server.query("messages:matching", body="three") is None


def test_ids_are_told_apart(server):
    document_id = send(server)
    assert server.query("messages:normalize", table="messages", id=document_id) == document_id
    assert server.query("messages:normalize", table="messages", id="nonsense") is None
    assert server.query("messages:normalize", table="nowhere", id=document_id) is None
    text = server.failure("query", "messages:getFrom", table="users", id=document_id)
    assert "Invalid argument `id` for `db.get`" in text
    assert 'Id<"users">' in text
    assert "Invalid argument `id`" in server.failure("query", "messages:get", id="nonsense")


def test_documents_are_counted(server):
    send(server)
    send(server)
    assert server.query("messages:count") == 2


def test_a_scan_sees_the_writes_made_while_it_goes_on(server):
    """Rows are read ahead; what a write makes of them counts."""
    server.mutation("messages:many", count=6)
    seen = server.mutation("messages:writesWhileReading")
    assert seen == ["0", "1", "patched", "4", "5", "late"]


def test_a_long_scan_comes_whole_and_a_short_one_stops(server):
    server.mutation("messages:many", count=700)
    assert server.query("messages:all") == [str(number) for number in range(700)]
    assert server.query("messages:firstOfMany") == [["0", "2", "3"], 40, 0]


def test_a_scan_sees_what_is_written_behind_its_last_row(server):
    server.mutation("messages:many", count=3)
    assert server.mutation("messages:addsAtTheEnd") == ["0", "1", "2", "late"]


def test_a_scan_of_jobs_sees_them_canceled(server):
    assert server.mutation("messages:cancelsWhileReading") == ["pending", "canceled", "canceled"]


def test_a_loop_that_writes_does_not_read_rows_again_and_again(server):
    """They count against the bound of what a function may read: 32,000."""
    server.mutation("messages:many", count=400)
    assert server.mutation("messages:patchesWhileReading") == 400
    assert server.query("messages:all") == [f"{number}!" for number in range(400)]


def test_a_query_may_call_others_while_it_reads(server):
    """All rows were sent with the first one; none changes for it."""
    server.mutation("messages:many", count=3)
    assert server.query("messages:callsWhileReading") == [["0", 3], ["1", 3], ["2", 3]]


# ------------------------------------------------------------------------------------ pagination


def page(server, **options):
    return server.query("messages:page", paginationOpts={"numItems": 2, "cursor": None, **options})


def test_a_scan_past_its_bound_fails_and_does_not_end_early(code, tmp_path):
    """Rows are read ahead: what fails among them is met when the function comes to it."""
    server = Server(code, tmp_path / "data.sqlite3", Limits(documents_read_max=30))
    try:
        for number in range(31):
            server.mutation("messages:send", channel="c", body=f"{number}")
        assert "Too many documents read" in server.failure("query", "messages:all")
    finally:
        server.close()


def test_pages_follow_each_other(server):
    for body in "abc":
        send(server, body)
    first = page(server)
    second = page(server, cursor=first["continueCursor"])
    assert [m["body"] for m in first["page"]] == ["a", "b"]
    assert [m["body"] for m in second["page"]] == ["c"]
    assert (first["isDone"], second["isDone"]) == (False, True)


def test_a_page_size_of_zero_and_a_second_page_are_refused(server):
    text = server.failure("query", "messages:page", paginationOpts={"numItems": 0, "cursor": None})
    assert "numItems must be at least 1" in text
    assert "multiple paginated queries" in server.failure("query", "messages:twoPages")


def test_a_foreign_cursor_is_refused_with_data_that_clients_look_for(server):
    result = server.call(
        "query", "messages:page", paginationOpts={"numItems": 1, "cursor": "nonsense"}
    )
    assert "InvalidCursor" in result.error_message
    assert result.error_data == b'{"isConvexSystemError":true,"paginationError":"InvalidCursor"}'


# ---------------------------------------------------------------------------- checks around calls


def test_arguments_are_checked_before_anything_runs(server):
    text = server.failure("query", "messages:list", channel=1)
    assert text.startswith("ArgumentValidationError: ")
    assert "v.string()" in text


def test_results_are_checked(server):
    text = server.failure("query", "messages:wrongResult")
    assert text.startswith("ReturnsValidationError: ")


def test_an_internal_function_looks_missing_to_clients(server):
    hidden = server.call("query", "messages:secret").error_message
    missing = server.call("query", "messages:sacred").error_message
    assert "Could not find public function for 'messages:secret'" in hidden
    assert "Could not find public function for 'messages:sacred'" in missing
    assert server.value("query", "messages:secret", ADMIN) == "secret"


def test_a_default_export_has_a_path(server):
    assert server.query("nested/other:default") == "default of nested/other"
    assert server.query("nested/other") == "default of nested/other"


def test_values_keep_their_types(server):
    came = server.query("messages:values", value={"a": [None, True, "x", 1.5]})
    assert came["value"] == {"a": [None, True, "x", 1.5]}
    assert came["big"] == Int64(5)
    assert came["bytes"] == b"\x01\x02\x03"
    assert came["inf"] == float("inf")
    assert came["nan"] != came["nan"]
    assert str(came["zero"]) == "-0.0"


# ------------------------------------------------------------------------------------------ errors


def test_an_error_shows_where_it_was_thrown(server):
    text = server.failure("query", "messages:fail")
    first, frame, *_ = text.split("\n")
    assert first == "Uncaught Error: boom"
    assert "app/messages.ts:" in frame
    assert "handler" in frame


def test_the_data_of_an_application_error_reaches_the_client(server):
    result = server.call("mutation", "messages:failWithData")
    assert result.error_data == b'{"code":{"$integer":"BwAAAAAAAAA="},"text":"bad"}'
    assert 'Uncaught ConvexError: {"code":"7n","text":"bad"}' in result.error_message
    assert server.query("messages:count") == 0


def test_a_promise_that_nothing_settles_is_an_error(server):
    assert "never resolve" in server.failure("query", "messages:never")


def test_a_rejection_that_nobody_handles_fails_the_call(server):
    assert server.failure("query", "messages:rejects").startswith("Uncaught Error: nobody listens")


def test_a_write_that_nobody_awaits_counts_unless_the_call_fails(server):
    server.mutation("messages:unawaited", fails=False)
    assert server.query("messages:count") == 1
    server.failure("mutation", "messages:unawaited", fails=True)
    assert server.query("messages:count") == 1


# ------------------------------------------------------------------------------------ nested calls


def test_a_query_calls_queries_in_its_snapshot(server):
    send(server)
    assert server.query("messages:callsQuery") == ["secret", 1]


def test_a_failed_nested_mutation_takes_back_only_its_own_writes(server):
    outcome = server.mutation("messages:sendThenCatch")
    assert outcome["isConvexError"] is True
    assert outcome["data"] == {"code": Int64(7), "text": "bad"}
    assert outcome["bodies"] == ["kept"]
    assert server.query("messages:all") == ["kept"]


def test_a_mutation_looks_at_the_snapshot_it_began_with(server):
    send(server, "old")
    assert server.mutation("messages:looksBack") == [["old"], ["old", "new"]]


def test_functions_cannot_call_each_other_without_end(server):
    assert "MaximumCallDepthExceeded" in server.failure("mutation", "messages:endless")


# ----------------------------------------------------------------------------------------- identity


def test_a_query_knows_who_asks(server):
    assert server.value("query", "messages:whoAmI", ADA) == "ada"
    assert server.query("messages:whoAmI") is None


# ---------------------------------------------------------------------------------------- live data


def test_two_mutations_that_conflict_both_commit(server):
    """One of them runs again, on what the other has written."""

    async def both():
        return await asyncio.gather(
            *(
                server.ask("mutation", "messages:sendNumbered", {"channel": "race"})
                for _ in range(6)
            )
        )

    results = server.run(both())

    assert all(result.ok for result in results), [r.error_message for r in results]
    bodies = sorted(m["body"] for m in server.query("messages:list", channel="race"))
    assert bodies == ["0", "1", "2", "3", "4", "5"]
