"""The index of answered requests stays as large as its limits say, whatever the load."""

from cupola.limits import Limits
from cupola.persistence.sqlite import requests


def test_old_requests_go_as_fast_as_new_ones_come(open_log, notes_of, monkeypatch):
    """Upkeep is asked for once a second; at some load there is always something to be indexed."""
    monkeypatch.setattr(requests, "SLICE_REQUESTS", 5)
    log = open_log(Limits(request_retention_s=1e-6))  # 1000 of the notes' nanoseconds
    notes = notes_of(log)
    for second in range(60):
        with notes.group():
            for number in range(20):
                session = bytes([second, number]) * 8
                notes.put("a", "general", session=session, request=1, result=b"1")
        notes.now += 100
        log.maintain()
    known = log.statistics()["requests_not_indexed"]
    known += log._connection.execute("SELECT count(*) FROM requests").get
    assert known < 500
