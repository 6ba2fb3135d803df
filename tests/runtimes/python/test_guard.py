"""A query or mutation sees a world that stands still, and outside it nothing has changed."""

# ruff: noqa: SIM115 (a file that must not open needs no closing)
import asyncio
import concurrent.futures
import contextlib
import datetime
import io
import logging
import os
import pickle
import random
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
import uuid
from multiprocessing import Process
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from cupola.errors import DeterminismError
from cupola.runtimes.python import guard
from cupola.runtimes.python.guard import GuardedCall

NOW_NS = 1_700_000_000_123_456_789
MOMENT = datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=datetime.UTC)


@pytest.fixture(autouse=True)
def installed():
    return guard.install()


class Lines(list):
    def __call__(self, level, text):
        self.append((level, text))


def call(function, *args, seed=b"seed", kind="mutation", environment=None, log=None, now_ns=NOW_NS):
    guarded = GuardedCall(now_ns, seed, kind, environment or {}, Lines() if log is None else log)
    guard.enter(guarded)
    try:
        return function(*args)
    finally:
        guard.leave()


# ------------------------------------------------------------------------------------------ clocks


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, NOW_NS / 1e9) for name in ("time", "monotonic", "perf_counter", "process_time")),
        *((f"{name}_ns", NOW_NS) for name in ("time", "monotonic", "perf_counter", "process_time")),
        ("gmtime", time.gmtime(NOW_NS / 1e9)),
        ("localtime", time.localtime(NOW_NS / 1e9)),
        ("ctime", time.ctime(NOW_NS / 1e9)),
        ("asctime", time.asctime(time.localtime(NOW_NS / 1e9))),
    ],
)
def test_the_functions_of_time_answer_the_start_of_the_call(name, expected):
    assert call(lambda: getattr(time, name)()) == expected


def test_functions_of_time_with_an_argument_convert_it_as_ever():
    assert call(lambda: time.strftime("%Y", time.gmtime(0))) == "1970"
    assert call(lambda: time.strftime("%Y")) == "2023"
    assert call(lambda: time.gmtime(86400).tm_mday) == 2
    assert call(lambda: time.clock_gettime(time.CLOCK_REALTIME)) == NOW_NS / 1e9


def test_dates_answer_the_start_of_the_call_and_keep_their_types():
    assert call(lambda: datetime.datetime.now(datetime.UTC)) == MOMENT
    assert call(lambda: datetime.datetime.now(tz=ZoneInfo("Asia/Tokyo"))) == MOMENT
    assert call(lambda: datetime.datetime.utcnow()) == MOMENT.replace(tzinfo=None)
    assert call(lambda: datetime.datetime.now()) == MOMENT.astimezone().replace(tzinfo=None)
    assert call(lambda: datetime.datetime.today()) == MOMENT.astimezone().replace(tzinfo=None)
    assert call(lambda: datetime.date.today()) == MOMENT.astimezone().date()
    assert type(call(lambda: datetime.date.today())) is datetime.date
    assert type(call(lambda: datetime.datetime.now())) is datetime.datetime


def test_subclasses_of_datetime_answer_too():
    class Moment(datetime.datetime):
        pass

    assert type(call(lambda: Moment.now())) is Moment
    assert type(call(lambda: Moment.utcnow())) is Moment
    assert call(lambda: Moment.utcnow()) == MOMENT.replace(tzinfo=None)


def test_libraries_that_know_the_type_of_datetime_still_do():
    msgspec = pytest.importorskip("msgspec")
    pydantic = pytest.importorskip("pydantic")

    class Event(pydantic.BaseModel):
        at: datetime.datetime
        day: datetime.date

    class Struct(msgspec.Struct):
        at: datetime.datetime

    def body():
        now = datetime.datetime.now(datetime.UTC)
        event = Event(at=now, day=datetime.date.today())
        assert Event.model_validate_json(event.model_dump_json()) == event
        assert msgspec.json.decode(msgspec.json.encode(Struct(now)), type=Struct) == Struct(now)
        assert isinstance(now, datetime.datetime)
        return pickle.loads(pickle.dumps(now))

    assert call(body) == MOMENT


def test_a_specialized_call_site_sees_the_change_from_outside_to_inside():
    """The interpreter caches attribute look-ups of types; the cache must know."""

    def year():
        return datetime.datetime.now(datetime.UTC).year

    outside = [year() for _ in range(100)]
    assert [call(year, now_ns=0) for _ in range(100)] == [1970] * 100
    assert set(outside) <= {year(), year() - 1}


# -------------------------------------------------------------------------------------- randomness

DRAWS = {
    "random": lambda: random.random(),
    "randint": lambda: random.randint(0, 2**60),
    "choice": lambda: random.choice(range(2**40)),
    "shuffle": lambda: (xs := list(range(50)), random.shuffle(xs), xs)[-1],
    "gauss": lambda: random.gauss(0, 1),
    "Random": lambda: random.Random().random(),
    "SystemRandom": lambda: random.SystemRandom().random(),
    "uuid1": lambda: uuid.uuid1(),
    "uuid4": lambda: uuid.uuid4(),
    "token_hex": lambda: secrets.token_hex(),
    "randbelow": lambda: secrets.randbelow(2**60),
    "secrets.choice": lambda: secrets.choice(range(2**40)),
    "urandom": lambda: os.urandom(16),
    "getrandom": lambda: os.getrandom(16) if hasattr(os, "getrandom") else os.urandom(16),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_randomness_comes_from_the_seed(draw):
    def both():
        return draw(), draw()

    first = call(both)
    assert first == call(both)
    assert first != call(both, seed=b"another")
    assert first[0] != first[1]
    assert draw() != draw()


def test_seeding_random_in_a_function_does_not_repeat_its_ids():
    def body():
        random.seed(1)
        return uuid.uuid4()

    assert call(body) != call(body, seed=b"another")


def test_a_call_inside_a_call_has_its_own_world_and_gives_the_outer_back():
    def outer():
        before = random.random()
        inner = call(lambda: (time.time_ns(), random.random()), now_ns=5, seed=b"inner")
        return before, inner, time.time_ns(), random.random()

    before, inner, now_ns, after = call(outer)
    expected = random.Random(int.from_bytes(b"seed", "big"))
    assert (before, after) == (expected.random(), expected.random())
    assert inner == (5, random.Random(int.from_bytes(b"inner", "big")).random())
    assert now_ns == NOW_NS


def test_the_call_tells_whether_it_looked():
    seen = []
    for body in (lambda: 1, time.time, random.random, uuid.uuid4):
        guarded = GuardedCall(NOW_NS, b"s", "query", {}, Lines())
        guard.enter(guarded)
        body()
        guard.leave()
        seen.append((guarded.observed_time, guarded.observed_randomness))

    assert seen == [(False, False), (True, False), (False, True), (False, True)]


# ------------------------------------------------------------------------------------- environment


def test_the_environment_is_the_deployments():
    environment = {"API_URL": "https://example.org"}

    def body():
        assert os.environ["API_URL"] == os.getenv("API_URL") == "https://example.org"
        assert os.environb[b"API_URL"] == b"https://example.org"
        assert "PATH" not in os.environ and os.environ.get("PATH") is None
        assert list(os.environ) == ["API_URL"] and len(os.environ) == 1
        assert "example.org" in repr(os.environ)
        with pytest.raises(KeyError):
            os.environ["PATH"]
        return dict(os.environ)

    assert call(body, environment=environment) == environment
    assert "PATH" in os.environ


# ------------------------------------------------------------------------------------------- logs


def test_prints_are_log_lines():
    lines = Lines()

    def body():
        print("hi", 1, None, ["a"], "it's", "both ' and \"", "line\nbreak", sep=" ")
        print()
        print("a", "b", sep="-")
        print("oh", file=sys.stderr)
        stream = io.StringIO()
        print("kept", file=stream)
        return stream.getvalue()

    assert call(body, log=lines) == "kept\n"
    assert lines == [
        ("LOG", "'hi' 1 None ['a'] 'it\\'s' 'both \\' and \"' 'line\\nbreak'"),
        ("LOG", ""),
        ("LOG", "'a'-'b'"),
        ("ERROR", "'oh'"),
    ]


def test_logging_is_captured_with_its_level_whatever_the_servers_root_shows(caplog):
    lines = Lines()
    logger = logging.getLogger("app.messages")

    def body():
        logger.debug("d %s", 1)
        logging.info("i")
        logger.warning("w")
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("e")

    call(body, log=lines)

    assert [level for level, _ in lines] == ["DEBUG", "INFO", "WARN", "ERROR"]
    assert [text for _, text in lines[:3]] == ["d 1", "i", "w"]
    assert lines[3][1].startswith("e\nTraceback") and lines[3][1].endswith("ValueError: broken")
    assert caplog.records == []
    logger.warning("outside")
    assert [record.getMessage() for record in caplog.records] == ["outside"]


def test_a_logger_told_to_be_quiet_is_quiet():
    lines = Lines()
    logger = logging.getLogger("noisy")
    logger.setLevel(logging.ERROR)

    call(lambda: (logger.warning("no"), logging.getLogger("noisy.child").info("no")), log=lines)

    assert lines == []


# ------------------------------------------------------------------------------------------ refused


def run_coroutine():
    async def nothing():
        pass

    coroutine = nothing()
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


POOL = concurrent.futures.ThreadPoolExecutor(1)
HERE = os.path.dirname(__file__)

REFUSED = {
    "time.sleep": (lambda: time.sleep(1), "wait"),
    "open": (lambda: open("/etc/hosts"), "open a file"),
    "open for writing": (lambda: open(__file__, "a"), "open a file"),
    "io.open": (lambda: io.open("/etc/hosts"), "open a file"),  # noqa: UP020
    "os.open": (lambda: os.open("/etc/hosts", os.O_RDONLY), "open a file"),
    "Path.read_text": (lambda: Path("/etc/hosts").read_text(), "open a file"),
    "Path.write_text": (lambda: Path("/tmp/x").write_text("x"), "open a file"),
    "tempfile": (lambda: tempfile.TemporaryFile(dir="/tmp"), "file"),
    "os.path.exists": (lambda: os.path.exists("/etc/hosts"), "look at a file"),
    "os.listdir": (lambda: os.listdir("/etc"), "list a folder"),
    "os.scandir": (lambda: os.scandir("/etc"), "list a folder"),
    "os.remove": (lambda: os.remove("/nonexistent"), "change files"),
    "os.mkdir": (lambda: os.mkdir("/nonexistent/x"), "change files"),
    "shutil.rmtree": (lambda: shutil.rmtree("/nonexistent"), "change files"),
    "socket.socket": (lambda: socket.socket(), "open a socket"),
    "socket.create_connection": (
        lambda: socket.create_connection(("127.0.0.1", 9)),
        "open a socket",
    ),
    "socket.getaddrinfo": (lambda: socket.getaddrinfo("localhost", 80), "open a socket"),
    "urllib": (lambda: urllib.request.urlopen("http://127.0.0.1:9/"), "make an HTTP request"),
    "sqlite3": (lambda: sqlite3.connect(":memory:"), "open another database"),
    "subprocess.run": (lambda: subprocess.run(["true"]), "start a process"),
    "os.system": (lambda: os.system("true"), "start a process"),
    "os.popen": (lambda: os.popen("true"), "start a process"),
    "os.fork": (lambda: os.fork(), "start a process"),
    "os.execv": (lambda: os.execv("/bin/true", ["true"]), "start a process"),
    "os.posix_spawn": (lambda: os.posix_spawn("/bin/true", ["true"], {}), "start a process"),
    "multiprocessing": (lambda: Process(target=print).start(), "process|pipe|file"),
    "Thread": (lambda: threading.Thread(target=print).start(), "start a thread"),
    "Timer": (lambda: threading.Timer(1, print).start(), "start a thread"),
    "ThreadPoolExecutor": (lambda: POOL.submit(print), "use a thread"),
    "asyncio.run": (run_coroutine, "run an event loop"),
    "asyncio.new_event_loop": (lambda: asyncio.new_event_loop(), "run an event loop"),
    "asyncio.get_running_loop": (lambda: asyncio.get_running_loop(), "run an event loop"),
    "asyncio.create_task": (lambda: asyncio.create_task(None), "start a task"),
    "signal.signal": (lambda: signal.signal(signal.SIGUSR1, print), "handle signals"),
    "signal.alarm": (lambda: signal.alarm(1), "handle signals"),
    "os.kill": (lambda: os.kill(os.getpid(), 0), "send a signal"),
    "sys.exit": (lambda: sys.exit(0), "end the process"),
    "os._exit": (lambda: os._exit(0), "end the process"),
    "os.abort": (lambda: os.abort(), "end the process"),
    "input": (lambda: input(), "ask at the terminal"),
    "os.environ[...] =": (lambda: os.environ.__setitem__("A", "b"), "change the environment"),
    "del os.environ": (
        lambda: os.environ.pop("PATH", None) or os.environ.__delitem__("PATH"),
        "change the environment",
    ),
    "os.putenv": (lambda: os.putenv("A", "b"), "change the environment"),
    "os.chdir": (lambda: os.chdir("/"), "change files"),
}


@pytest.mark.parametrize(("function", "what"), REFUSED.values(), ids=REFUSED.keys())
def test_what_reaches_outside_fails_with_an_error_that_says_what_to_do(function, what):
    with pytest.raises(
        DeterminismError, match=f"may run more than once, so it cannot .*({what})"
    ) as info:
        call(function)

    assert info.value.message.startswith("A mutation may run more than once, so it cannot ")
    assert "(" in info.value.message and "; " in info.value.message
    assert info.value.code == "NotDeterministic"


def test_the_message_names_the_call_and_the_next_step():
    with pytest.raises(DeterminismError) as info:
        call(lambda: socket.socket())
    assert info.value.message == (
        "A mutation may run more than once, so it cannot open a socket (socket.__new__); "
        "do this in an action and pass the result in."
    )
    with pytest.raises(DeterminismError) as info:
        call(lambda: open("/etc/hosts"), kind="query")
    assert info.value.message == (
        "A query may run more than once, so it cannot open a file (open '/etc/hosts'); "
        "do this in an action and store the result for the query to read."
    )


# ------------------------------------------------------------------------------------------ allowed


def test_a_module_imported_inside_a_function_loads_as_outside(tmp_path, monkeypatch):
    """It loads once, so what it does while loading must not depend on the call."""
    (tmp_path / "loaded_late.py").write_text(
        "import os, random, time\n"
        "LOADED_NS = time.time_ns()\n"
        "DRAWN = random.random()\n"
        "SOURCE = open(__file__).read()\n"
        "print('loading')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    lines = Lines()

    def body():
        import loaded_late

        return loaded_late, random.random(), time.time_ns()

    module, first, now_ns = call(body, log=lines)
    assert module.LOADED_NS != NOW_NS and now_ns == NOW_NS
    assert module.SOURCE
    assert lines == []
    assert call(body)[1] == first


def test_a_failed_import_inside_a_function_is_an_ordinary_import_error():
    def body():
        try:
            import there_is_no_such_module  # noqa: F401
        except ModuleNotFoundError:
            return traceback.format_exc()

    text = call(body)
    assert "there_is_no_such_module" in text
    assert "python/guard.py" not in text


def test_tracebacks_zones_and_installed_files_are_part_of_the_code():
    def body():
        try:
            raise ValueError("seen")
        except ValueError:
            text = traceback.format_exc()
        return text, ZoneInfo.no_cache("Europe/Berlin").key

    text, key = call(body)
    assert 'raise ValueError("seen")' in text
    assert key == "Europe/Berlin"


def test_nothing_changes_outside_calls(tmp_path):
    assert abs(time.time() - datetime.datetime.now().timestamp()) < 5
    assert abs(
        datetime.datetime.utcnow() - datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    ) < (datetime.timedelta(seconds=5))
    assert time.monotonic() <= time.monotonic() <= time.monotonic()
    assert datetime.date.today() == datetime.datetime.today().date()
    (tmp_path / "file").write_text("x")
    assert os.listdir(tmp_path) == ["file"] and os.path.exists(tmp_path / "file")
    shutil.rmtree(tmp_path / "nothing", ignore_errors=True)
    assert subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True).stdout == b"1\n"
    with socket.socket():
        pass
    with pytest.raises(SystemExit):
        sys.exit(3)
    assert asyncio.run(asyncio.sleep(0, "slept")) == "slept"
    assert random.Random(5).random() == random.Random(5).random()
    random.seed(5)
    assert random.random() == random.Random(5).random()
    os.environ["CUPOLA_TEST_GUARD"] = "1"
    assert os.environ.pop("CUPOLA_TEST_GUARD") == "1"
    assert pickle.loads(pickle.dumps(time.sleep)) is time.sleep
    assert len(uuid.uuid1().bytes) == 16


def test_replaced_functions_are_not_methods_when_a_class_holds_them():
    class Timer:
        clock = time.time
        stamp = datetime.datetime.now
        draw = random.random

    assert Timer().clock() > 0 and Timer().stamp() and 0 <= Timer().draw() < 1


def test_other_threads_live_in_the_real_world_during_a_call():
    """The threads that sync and checkpoint the log work while functions run."""
    start, done = threading.Event(), threading.Event()
    seen = []

    def other():
        start.wait()
        with contextlib.suppress(DeterminismError), open("/etc/hosts"):
            seen.append(time.time_ns() != NOW_NS)
        done.set()

    thread = threading.Thread(target=other)
    thread.start()

    def body():
        start.set()
        done.wait(5)

    call(body)
    thread.join()
    assert seen == [True]


def test_the_engine_can_step_outside():
    def body():
        held = guard.suspend()
        try:
            outside = time.time_ns()
        finally:
            guard.restore(held)
        return outside, time.time_ns()

    outside, inside = call(body)
    assert outside != NOW_NS and inside == NOW_NS


def test_everything_could_be_guarded_on_this_interpreter(installed):
    assert [name for name in installed if "PYTHONHASHSEED" not in name and "TZ" not in name] == []


def test_entering_and_leaving_costs_next_to_nothing():
    """Every call pays it; generous here, since tests share a machine (measured: 0.18 µs for
    both)."""
    guarded = GuardedCall(NOW_NS, b"s", "query", {}, Lines())
    best_ns = 10**9
    for _ in range(5):
        started = time.perf_counter_ns()
        for _ in range(10_000):
            guard.enter(guarded)
            guard.leave()
        best_ns = min(best_ns, time.perf_counter_ns() - started)

    assert best_ns / 10_000 < 1_000
