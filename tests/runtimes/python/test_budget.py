"""A function that runs too long is interrupted, wherever it is, except inside the engine."""

import asyncio
import gc
import re
import signal
import threading
import time
import types

import pytest

from cupola.runtimes.python.budget import Budget, CallTooLong, never_interrupt

try:
    import uvloop
except ImportError:
    uvloop = None

BUDGET_S = 0.05
#: the deadline, a tick, and a machine shared with other work
STOPPED_AFTER_S = 0.08
PATIENCE_S = 1.0


def now():
    """Seconds, without what this thread waited for a processor: as the budget counts them, so that
    other work on the machine makes no test fail."""
    try:
        with open("/proc/thread-self/schedstat") as figures:
            waited_ns = int(figures.read().split()[1])
    except OSError:
        waited_ns = 0
    return time.perf_counter() - waited_ns / 1e9


@pytest.fixture
def budget():
    budget = Budget()
    yield budget
    budget.end_turn()


def run(budget, function, *args, budget_s=BUDGET_S):
    """One call as the runner makes it. Returns: (what happened, seconds it took)."""
    started = now()
    outcome = None
    try:
        budget.enter(budget.deadline_after(budget_s))
        outcome = function(*args)
    except CallTooLong:
        outcome = CallTooLong
    finally:
        too_long = budget.leave()
    return ("too long" if too_long else outcome), now() - started


never_interrupt(run)  # as the runner's own frames: no tick between `finally` and `leave`


def in_a_turn(budget, function, *args, **options):
    budget.start_turn()
    try:
        return run(budget, function, *args, **options)
    finally:
        budget.end_turn()


def give_up(started):
    """Ends a test whose subject was not stopped."""
    if now() - started > PATIENCE_S:
        pytest.fail("still running")


def plain_loop():
    while True:
        pass


def loop_that_swallows_everything():
    started = now()
    while now() - started < 0.055:
        try:
            while True:
                pass
        except:  # noqa: E722
            pass
    return "a value that counts for nothing"


def generator_loop():
    def forever():
        while True:
            yield 1

    return sum(forever())


def finally_loop():
    try:
        while True:
            pass
    finally:
        while True:
            pass


def recursion():
    def down(n):
        return 0 if n == 0 else down(n - 1) + down(n - 1)

    return down(60)


def comprehension():
    return [i for i in iter(lambda: 1, 2) if not i]


def regex_bomb():
    return re.match(r"(a+)+$", "a" * 40 + "b")


def blocked_on_a_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def sleeping():
    time.sleep(10)


def sorting_with_a_key():
    return sorted([0] * 10**6, key=lambda item: sum(i for i in range(1000)))


@pytest.mark.parametrize(
    "function",
    [
        plain_loop,
        loop_that_swallows_everything,
        generator_loop,
        finally_loop,
        recursion,
        comprehension,
        regex_bomb,
        blocked_on_a_lock,
        sleeping,
        sorting_with_a_key,
    ],
    ids=lambda function: function.__name__,
)
def test_a_runaway_function_is_stopped(budget, function):
    """Everyone else waits meanwhile."""
    started = time.perf_counter()
    outcome, elapsed_s = in_a_turn(budget, function)

    assert outcome == "too long"
    assert time.perf_counter() - started >= BUDGET_S
    # One exception per loop that the function starts anew in `finally` or `except`; and a machine
    # shared with others may do everything several times slower.
    assert elapsed_s < PATIENCE_S


def test_a_function_that_is_quick_enough_is_left_alone(budget):
    def quick():
        ended = now() + 0.035
        while now() < ended:
            pass
        return 42

    outcome, _ = in_a_turn(budget, quick)

    assert outcome == 42


def test_the_turn_itself_may_take_longer_than_a_call(budget):
    """The timer runs on for a whole turn; only user code has a deadline."""
    budget.start_turn()
    outcomes = [run(budget, lambda: sum(i for i in range(10_000)))[0] for _ in range(200)]
    ended = now() + 2 * BUDGET_S
    while now() < ended:
        pass
    budget.end_turn()

    assert set(outcomes) == {sum(range(10_000))}


def test_nothing_is_raised_between_pause_and_resume(budget):
    """The engine's own work for a function is finished before the function is stopped."""
    engine: list[str] = []

    def reads_for_long():
        budget.pause()
        try:
            budget.pause()
            budget.resume()
            started = now()
            while not budget._pending:  # until a tick has found it too late
                give_up(started)
            engine.append("finished")
        finally:
            budget.resume()
        engine.append("unreachable")

    outcome, _ = in_a_turn(budget, reads_for_long)

    assert outcome == "too long"
    assert engine == ["finished"]


def test_a_call_made_by_a_call_keeps_the_deadline_of_the_outer(budget):
    def outer():
        budget.pause()
        try:
            inner, _ = run(budget, plain_loop, budget_s=10)
        finally:
            budget.resume()
        return inner

    outcome, elapsed_s = in_a_turn(budget, outer)

    assert outcome == "too long"
    assert elapsed_s < STOPPED_AFTER_S + 0.1


def test_a_call_after_an_interrupted_one_starts_afresh(budget):
    assert in_a_turn(budget, plain_loop)[0] == "too long"
    assert in_a_turn(budget, lambda: 1)[0] == 1
    assert budget.leave() is False


@pytest.mark.parametrize("handler", [Budget._tick, Budget._delay_ns])
def test_a_tick_within_a_tick_raises_nothing(budget, handler):
    """As on a machine so busy that a tick takes as long as the time to the next. What is handled
    may have come in the engine, and raising from there would land in it."""
    budget.enter(budget.deadline_after(-60))
    try:
        budget._tick(signal.SIGALRM, types.SimpleNamespace(f_code=handler.__code__))
        with pytest.raises(CallTooLong):
            budget._tick(signal.SIGALRM, None)
    finally:
        assert budget.leave()


def test_a_callback_of_the_collector_swallows_an_interruption_without_a_word(budget, capsys):
    """Nobody could do anything about it; the next tick ends the call."""

    def slow_callback(phase, info):
        ended = time.perf_counter() + 2 * BUDGET_S
        while time.perf_counter() < ended:
            pass

    def collects():
        gc.collect()
        while True:
            pass

    gc.callbacks.append(slow_callback)
    try:
        outcome, _ = in_a_turn(budget, collects)
    finally:
        gc.callbacks.remove(slow_callback)
    gc.collect()

    assert outcome == "too long"
    assert "CallTooLong" not in capsys.readouterr().err


def test_thousands_of_interruptions_never_land_in_the_engine(budget, monkeypatch):
    """The hammer: a tick every 0.2 ms, a deadline that has always passed, and an engine that would
    notice."""
    monkeypatch.setattr("cupola.runtimes.python.budget.TICK_S", 0.0002)
    interrupted_engine = balance = interruptions = 0

    def engine_work():
        nonlocal interrupted_engine, balance
        budget.pause()
        try:
            balance += 1
            try:
                for _ in range(20):
                    str(balance)
            except CallTooLong:
                interrupted_engine += 1
            balance -= 1
        finally:
            budget.resume()

    def user_code():
        while True:
            engine_work()

    budget.start_turn()
    try:
        for _ in range(2000):
            outcome, _ = run(budget, user_code, budget_s=0)
            interruptions += outcome == "too long"
            assert budget._outer == []
    finally:
        budget.end_turn()

    assert interruptions == 2000
    assert interrupted_engine == 0
    assert balance == 0


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_it_works_while_an_event_loop_runs(kind):
    """Ticks end with the turn, and leave the loop's timers and sockets as they are."""
    if kind == "uvloop" and uvloop is None:
        pytest.skip("uvloop is not installed")
    outcomes = []

    async def server():
        budget = Budget()
        for _ in range(3):
            outcomes.append(in_a_turn(budget, plain_loop))
            await asyncio.sleep(0.02)
        reader, writer = asyncio.StreamReader(), None
        del reader, writer
        echo = await asyncio.start_server(_echo, "127.0.0.1", 0)
        async with echo:
            port = echo.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            budget.start_turn()  # a turn that lasts: ticks arrive while the loop waits
            writer.write(b"hello\n")
            line = await reader.readline()
            await asyncio.sleep(0.05)
            budget.end_turn()
            writer.close()
        return line

    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop if kind == "uvloop" else None)
    with runner:
        assert runner.run(server()) == b"hello\n"

    assert [outcome for outcome, _ in outcomes] == ["too long"] * 3
    assert all(elapsed_s < STOPPED_AFTER_S + 0.1 for _, elapsed_s in outcomes)


async def _echo(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()


def test_in_another_thread_it_does_nothing():
    seen = []

    def other():
        budget = Budget()

        def short():
            ended = now() + 0.03
            while now() < ended:
                pass
            return "undisturbed"

        seen.append((budget.is_live, in_a_turn(budget, short, budget_s=0)[0]))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()

    assert seen == [(False, "undisturbed")]


def test_someone_elses_timer_is_put_back(budget):
    """pytest-timeout uses the same signal; a turn of ours must neither fire it nor lose it."""
    fired = []
    before = signal.signal(signal.SIGALRM, lambda *_: fired.append(1))
    timer = signal.setitimer(signal.ITIMER_REAL, 0.15)
    try:
        assert in_a_turn(budget, plain_loop)[0] == "too long"
        assert fired == []
        started = now()
        while not fired:
            give_up(started)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)
