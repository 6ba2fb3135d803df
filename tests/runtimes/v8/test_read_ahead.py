"""Documents that come along with the one that a function gets: fewer crossings, no other effect."""

import pytest
from tests.database.by_hand import Database

from cupola.database.transaction import Transaction
from cupola.limits import Limits
from cupola.runtimes.v8.read_ahead import (
    BYTES_MAX,
    DOCUMENTS_MAX,
    SEARCHED_BYTES_MAX,
    ReadAhead,
)

from .conftest import Server
from .live_client import Client

pytestmark = pytest.mark.node


def opened(database: Database) -> Transaction:
    """That of a query."""
    committer = database.committer
    reader = database.persistence.reader
    return Transaction(reader, committer.catalog, committer.head_ts, limits=database.limits)


def seeded(count: int, body: str = "x") -> tuple[Database, list[str]]:
    database = Database()
    return database, database.write(
        lambda transaction: [
            transaction.insert("users", {"body": f"{body}{number}"}) for number in range(count)
        ]
    )


def quoted(*ids: str) -> bytes:
    return b"[" + b",".join(b'"%b"' % each.encode() for each in ids) + b"]"


def ids_after(ahead: ReadAhead, document_id: str) -> list[str]:
    return [line.split()[0].decode() for line in ahead.following(document_id)]


# ---------------------------------------------------------------- what comes along


def test_the_ids_further_on_in_the_arguments_come_along():
    database, ids = seeded(4)
    ahead = ReadAhead(opened(database), b'{"ids":%b}' % quoted(*ids))
    assert ids_after(ahead, ids[0]) == ids[1:]
    assert ids_after(ahead, ids[2]) == ids[3:]


def test_of_rows_come_those_under_the_same_name():
    database, ids = seeded(4)
    rows = [
        b'{"author":"%b","editor":"%b"}' % (ids[n].encode(), ids[3].encode()) for n in (0, 1, 2)
    ]
    ahead = ReadAhead(opened(database), b"{}")
    ahead.note_rows(rows)
    assert ids_after(ahead, ids[0]) == ids[1:3]
    ahead.note_rows(rows)
    assert ids_after(ahead, ids[1]) == ids[2:3], "those of the rows after it"


def test_of_a_list_of_ids_comes_the_rest():
    database, ids = seeded(4)
    ahead = ReadAhead(opened(database), b"{}")
    ahead.note_rows([b'{"members":%b,"owner":"%b"}' % (quoted(*ids[:3]), ids[3].encode())])
    assert ids_after(ahead, ids[0]) == ids[1:3]


def test_what_is_no_document_here_does_not_come():
    database, ids = seeded(2)
    missing = database.write(lambda transaction: transaction.insert("users", {"body": "gone"}))
    database.write(lambda transaction: transaction.delete(missing))
    nobodys = "0" * 31 + "1"
    ahead = ReadAhead(opened(database), quoted(ids[0], missing, nobodys, ids[1], ids[1]))
    assert ids_after(ahead, ids[0]) == [ids[1]]


def test_documents_of_the_system_do_not_come():
    database, ids = seeded(1)
    table = database.committer.catalog.by_name["users"].document_id
    assert table is not None
    ahead = ReadAhead(opened(database), quoted(ids[0], table))
    assert ids_after(ahead, ids[0]) == []


def test_what_comes_is_bounded():
    database, ids = seeded(DOCUMENTS_MAX + 10)
    ahead = ReadAhead(opened(database), quoted(*ids))
    assert ids_after(ahead, ids[0]) == ids[1 : DOCUMENTS_MAX + 1]

    database, ids = seeded(8, body="x" * (BYTES_MAX // 4))
    ahead = ReadAhead(opened(database), quoted(*ids))
    assert len(ids_after(ahead, ids[0])) == 3


def test_what_was_prepared_comes_as_it_would_have_come():
    database, ids = seeded(5)
    ahead = ReadAhead(opened(database), quoted(*ids[:4], ids[0]))
    ahead.prepare()
    for number in range(3):
        assert ids_after(ahead, ids[number]) == ids[number + 1 : 4]
    assert ids_after(ahead, ids[3]) == [ids[0]], "of those prepared none is left"
    assert ids_after(ahead, ids[4]) == []


def test_what_was_prepared_is_not_what_a_write_has_left():
    database, ids = seeded(3)
    transaction = database.begin()
    ahead = ReadAhead(transaction, quoted(*ids))
    ahead.prepare()
    transaction.patch(ids[1], {"body": "new"})
    assert ids_after(ahead, ids[0]) == []


def test_arguments_and_rows_are_looked_through_up_to_a_bound():
    database, ids = seeded(2)
    filler = b'"%b",' % (b"x" * SEARCHED_BYTES_MAX)
    ahead = ReadAhead(opened(database), filler + quoted(*ids))
    assert ids_after(ahead, ids[0]) == []
    ahead.note_rows([b'{"author":"%b"}' % each.encode() for each in ids] + [filler])
    assert ids_after(ahead, ids[0]) == []


def test_no_more_comes_than_the_function_may_read():
    database, ids = seeded(8)
    database.limits = Limits(documents_read_max=3)
    transaction = opened(database)
    transaction.get(ids[0])
    ahead = ReadAhead(transaction, quoted(*ids))
    assert ids_after(ahead, ids[0]) == ids[1:3]


def test_nothing_is_noted_before_it_is_read():
    database, ids = seeded(3)
    transaction = opened(database)
    ahead = ReadAhead(transaction, quoted(*ids))
    transaction.get(ids[0])
    read, intervals = transaction.usage.documents_read, transaction.intervals()
    assert ids_after(ahead, ids[0]) == ids[1:]
    assert (transaction.usage.documents_read, transaction.intervals()) == (read, intervals)


def test_who_follows_something_else_is_left_alone():
    database, ids = seeded(4)
    ahead = ReadAhead(opened(database), b"{}")
    ahead.note_rows([b'{"author":"%b"}' % each.encode() for each in ids[:2]])
    for _ in range(2):
        assert ids_after(ahead, ids[3]) == []
    assert ids_after(ahead, ids[0]) == [], "after two in vain nobody looks"


# ---------------------------------------------------------------- what functions see of it


def test_following_references_gives_what_single_reads_do(server: Server):
    server.mutation("following:post", count=40, authors=3)
    assert server.query("following:authors") == [f"author {n % 3}" for n in range(40)]


def test_only_what_was_read_counts(server: Server):
    ids = server.mutation("following:post", count=0, authors=5)
    for count in (0, 1, 3, 5):
        found = server.query("following:firstOf", ids=ids, count=count)
        assert found == {"found": [f"author {n}" for n in range(count)], "read": count}


def test_only_what_was_read_wakes_a_live_query(server: Server):
    ids = server.mutation("following:post", count=0, authors=3)

    async def story():
        client = Client(server)
        live = client.subscribe("following:firstOf", ids=ids, count=2)
        await client.until(lambda: live in client.values)
        for number in (2, 1, 0):  # the last one came along, and was not read
            await server.ask("mutation", "following:patch", {"id": ids[number]})
        await client.until(lambda: client.values[live][-1]["found"][0] == "patched within")
        client.leave()
        return [value["found"] for value in client.values[live]]

    before, patched = ["author 0", "author 1"], "patched within"
    assert server.run(story()) == [before, ["author 0", patched], [patched, patched]]


def test_a_mutation_sees_what_it_wrote_and_not_what_came_before(server: Server):
    ids = server.mutation("following:post", count=0, authors=3)
    assert server.mutation("following:changed", ids=ids) == ["patched", "deleted", "patched within"]


def test_the_table_that_is_named_is_looked_at(server: Server):
    ids = server.mutation("following:post", count=0, authors=2)
    assert 'expected to be an Id<"others">' in server.query("following:fromOther", ids=ids)


def test_a_document_that_is_read_again_and_again_counts_each_time(code, tmp_path):
    server = Server(code, tmp_path / "data.sqlite3", limits=Limits(documents_read_max=100))
    [author] = server.mutation("following:post", count=0, authors=1)
    assert server.query("following:again", id=author, times=100) == 100
    assert "Too many documents read" in server.failure(
        "query", "following:again", id=author, times=101
    )
    assert server.query("following:again", id=author, times=2) == 2
    server.close()


def test_what_a_function_leaves_does_not_reach_the_next(server: Server):
    ids = server.mutation("following:post", count=0, authors=4)
    for number in range(4):
        others = ids[number:] + ids[:number]  # never what was asked before
        assert server.query("following:ignoring", ids=others) == 4
        found = server.query("following:firstOf", ids=others, count=1)["found"]
        assert found == [f"author {number}"]


def test_functions_that_call_each_other_get_what_is_theirs(server: Server):
    ids = server.mutation("following:post", count=0, authors=3)
    assert server.query("following:afterOthers", ids=ids) == [3, "author 0", "author 1", "author 2"]
