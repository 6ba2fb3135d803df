"""The determinism guard: queries and mutations in the server's own process see a world that stands
still.

A query is cached, shared and recomputed; a mutation is retried and replayed. So while one runs,
clocks answer its start, randomness comes from its seed, the environment is the deployment's, and
whatever would reach outside fails with an error that says what to do instead. This is no jail: it
makes mistakes impossible to miss, it does not stop an attacker. Outside calls, and in other
threads, everything behaves as always.

How, cheapest first:

- Module functions (`time.time`, `random.choice`, `os.urandom`…) are replaced once; a replacement
  looks at one global and passes on. Built-in functions do not bind as methods (`class A: clock =
  time.time`), so what replaces them is a `staticmethod`, which does not either.
- `datetime` and `date` keep their identity, since pydantic, msgspec and everyone's `isinstance`
  know them: `now`, `utcnow` and `today` are replaced in the types' own dicts, found through the
  garbage collector.
- `os.environ` keeps its identity too and gets a subclass.
- One audit hook (PEP 578) sees files, sockets, processes and threads, however they are reached.
- A module imported inside a call loads as if outside: it loads once, so what it does must not
  depend on the call, nor draw from its generator. `_find_and_load` runs only for modules that are
  not loaded yet.

`install` must come before the app's modules are imported: `from time import time` keeps what it
found. Tried and dropped: a restricted copy of the modules per app (libraries see the real ones),
replacing the `datetime` class (breaks `isinstance`), walking the stack to see whether an import is
under way (slow).
"""

import builtins
import copyreg
import datetime
import functools
import gc
import importlib
import logging
import os
import random
import sys
import time
import types
import uuid
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any

from cupola.errors import DeterminismError
from cupola.runtimes.python import answers, refusals
from cupola.runtimes.python.budget import Budget
from cupola.runtimes.python.guarded_call import GuardedCall

__all__ = ["GuardedCall", "enter", "install", "leave", "restore", "suspend"]

_active: GuardedCall | None = None
_owner = 0  # the thread whose calls are guarded
_unguarded: list[str] | None = None


def enter(call: GuardedCall) -> None:
    """User code starts. Nests: a call made by a call has its own clock, seed and log."""
    global _active
    call.outer = _active
    _active = call


def leave() -> None:
    """User code has ended; the call around it, if any, goes on."""
    global _active
    assert _active is not None
    _active = _active.outer


def suspend() -> GuardedCall | None:
    """Let the engine see the real world while it works for user code; give the answer to
    `restore`."""
    global _active
    call = _active
    _active = None
    return call


def restore(call: GuardedCall | None) -> None:
    global _active
    _active = call


def install(budget: Budget | None = None) -> list[str]:
    """Guard this process, for calls made in this thread: the one that asked last. The rest is done
    once; later calls return the same list.

    `budget` is paused while a log line is delivered or a module imported inside a call.

    Returns: names of what could not be guarded on this interpreter and machine, for `cupola
    doctor`.
    """
    global _owner, _unguarded
    if budget is not None:
        GuardedCall.budget = budget
    _owner = get_ident()
    if _unguarded is not None:
        return list(_unguarded)
    os.register_at_fork(after_in_child=_own_this_thread)
    copyreg.pickle(staticmethod, lambda function: function.__name__)
    failures: list[str] = []
    for step in (
        _install_time,
        _install_datetime,
        _install_randomness,
        _install_environment,
        _install_logs,
        _install_refusals,
        _install_imports,
    ):
        try:
            step()
        except (AttributeError, TypeError, ImportError, LookupError) as error:
            # Another interpreter than those tested: say so, and serve.
            failures.append(f"{step.__name__.removeprefix('_install_')} ({error})")
    _unguarded = failures + _self_check()
    return list(_unguarded)


def _own_this_thread() -> None:
    global _owner
    _owner = get_ident()


# ------------------------------------------------------------------------------------- replacing


def _replace(holder: Any, name: str, answer: answers.Answer) -> None:
    """Let `answer(call, original, *args)` stand in for `holder.name` while a call is active in its
    thread."""
    original = getattr(holder, name, None)
    if original is None:
        return  # not on this platform

    def replacement(*args: Any, **kwargs: Any) -> Any:
        call = _active
        if call is None or get_ident() != _owner:
            return original(*args, **kwargs)
        return answer(call, original, *args, **kwargs)

    functools.update_wrapper(replacement, original)
    binds = isinstance(original, types.FunctionType)
    setattr(holder, name, replacement if binds else staticmethod(replacement))


def _refusal(what: str, name: str, instead: str | None) -> answers.Answer:
    def answer(call: GuardedCall, original: Any, *args: Any, **kwargs: Any) -> Any:
        raise DeterminismError(refusals.message(call.kind, what, name, instead))

    return answer


def _install_time() -> None:
    for name, answer in answers.TIME.items():
        _replace(time, name, answer)


def _install_datetime() -> None:
    _replace_class_method(datetime.datetime, "now", answers.datetime_now)
    _replace_class_method(datetime.datetime, "utcnow", answers.datetime_utcnow)
    _replace_class_method(datetime.date, "today", answers.date_today)


def _replace_class_method(cls: type, name: str, answer: Callable[..., Any]) -> None:
    """Write into the dict of a built-in type, which has no `setattr`, and tell the interpreter's
    caches."""
    import ctypes

    (namespace,) = gc.get_referents(cls.__dict__)
    descriptor = namespace[name]

    def replacement(cls: type, *args: Any, **kwargs: Any) -> Any:
        call = _active
        if call is None or get_ident() != _owner:
            return descriptor.__get__(None, cls)(*args, **kwargs)
        return answer(call, cls, *args, **kwargs)

    replacement.__name__ = name
    replacement.__qualname__ = f"{cls.__qualname__}.{name}"
    replacement.__module__ = cls.__module__
    replacement.__doc__ = descriptor.__doc__
    namespace[name] = classmethod(replacement)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))


def _install_randomness() -> None:
    source = random._inst
    for name in random.__all__:
        if getattr(getattr(random, name), "__self__", None) is source:
            _replace(random, name, answers.random_function(name))
    _replace(random.Random, "seed", answers.random_seed)
    _replace(os, "urandom", answers.urandom)
    _replace(os, "getrandom", answers.urandom)
    random._urandom = os.urandom  # type: ignore[attr-defined]  # behind SystemRandom and so `secrets`
    _replace(uuid, "uuid1", answers.uuid1)  # uuid4 asks os.urandom


class _GuardedEnvironment(os._Environ):  # type: ignore[type-arg]
    """`os.environ` and `os.environb`: the call's environment inside a call, read-only."""

    def __getitem__(self, key: Any) -> Any:
        call = _current()
        if call is None:
            return super().__getitem__(key)
        text = os.fsdecode(key) if isinstance(key, bytes) else key
        if text not in call.environment:
            raise KeyError(key)
        value = call.environment[text]
        return os.fsencode(value) if self._is_bytes() else value

    def __setitem__(self, key: Any, value: Any) -> None:
        self._refuse_change()
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        self._refuse_change()
        super().__delitem__(key)

    def __iter__(self) -> Iterator[Any]:
        call = _current()
        if call is None:
            return super().__iter__()
        return iter([os.fsencode(key) if self._is_bytes() else key for key in call.environment])

    def __len__(self) -> int:
        call = _current()
        return super().__len__() if call is None else len(call.environment)

    def __repr__(self) -> str:
        return super().__repr__() if _current() is None else f"environ({dict(self)!r})"

    def _is_bytes(self) -> bool:
        return self is getattr(os, "environb", None)

    def _refuse_change(self) -> None:
        if call := _current():
            what, instead = refusals.EVENTS["os.putenv"]
            raise DeterminismError(refusals.message(call.kind, what, "os.environ", instead))


def _current() -> GuardedCall | None:
    return _active if _active is not None and get_ident() == _owner else None


def _install_environment() -> None:
    os.environ.__class__ = _GuardedEnvironment
    if hasattr(os, "environb"):
        os.environb.__class__ = _GuardedEnvironment


def _install_logs() -> None:
    _replace(builtins, "print", answers.print_line)
    _replace(logging.Logger, "callHandlers", answers.call_handlers)
    _replace(logging.Logger, "isEnabledFor", answers.is_enabled_for)


def _install_refusals() -> None:
    for module_name, functions in refusals.NAMES.items():
        if module_name == "uvloop" and module_name not in sys.modules:
            continue
        module = importlib.import_module(module_name)
        for name, (what, instead) in functions.items():
            _replace(module, name, _refusal(what, f"{module_name}.{name}", instead))
    for (module_name, class_name, name), (what, instead) in refusals.METHODS.items():
        holder = getattr(importlib.import_module(module_name), class_name)
        shown = f"{class_name}.{name}" if class_name != "Quitter" else "exit"
        _replace(holder, name, _refusal(what, shown, instead))
    for name in refusals.FILE_QUESTIONS:
        _replace_file_question(name)
    sys.addaudithook(_audit)


def _replace_file_question(name: str) -> None:
    original = getattr(os, name, None)

    def answer(call: GuardedCall, original: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(path, int) or refusals.is_code(path):
            return original(path, *args, **kwargs)
        raise DeterminismError(
            refusals.message(call.kind, "look at a file", f"os.{name} {os.fsdecode(path)!r}")
        )

    _replace(os, name, answer)
    # `shutil` and others ask whether os.stat is in os.supports_fd.
    for family in (
        os.supports_fd,
        os.supports_dir_fd,
        os.supports_follow_symlinks,
        os.supports_effective_ids,
    ):
        if original in family:
            family.add(getattr(os, name))


def _audit(event: str, args: tuple[Any, ...]) -> None:
    call = _active
    if call is None or get_ident() != _owner:
        return
    if refused := refusals.refused_event(event, args):
        what, name, instead = refused
        raise DeterminismError(refusals.message(call.kind, what, name, instead))


def _install_imports() -> None:
    bootstrap: Any = importlib._bootstrap
    original = bootstrap._find_and_load

    def _find_and_load(name: str, import_: Any) -> Any:
        global _active
        call = _active
        if call is None or get_ident() != _owner:
            return original(name, import_)
        budget = GuardedCall.budget
        if budget is not None:
            budget.pause()
        _active = None
        try:
            return original(name, import_)
        finally:
            _active = call
            if budget is not None:
                budget.resume()

    # The interpreter drops frames of this file from tracebacks of failed imports.
    _find_and_load.__code__ = _find_and_load.__code__.replace(
        co_filename=original.__code__.co_filename
    )
    bootstrap._find_and_load = _find_and_load


# ------------------------------------------------------------------------------------ self-check

_CHECK_NS = 1_234_567_890_123_456_789


def _self_check() -> list[str]:
    """Try each kind of thing inside a call, and name what still answers from outside."""
    lines: list[str] = []
    names = {name: getattr(random, name) for name in ("random", "SystemRandom")}
    checks: dict[str, Callable[[], bool]] = {
        "time.time": lambda: time.time_ns() == _CHECK_NS and time.time() == _CHECK_NS / 1e9,
        "datetime.datetime.now": lambda: (
            datetime.datetime.now(datetime.UTC).timestamp() == _CHECK_NS // 1000 / 1e6
        ),
        "datetime.date.today": lambda: datetime.date.today().year == 2009,
        "random": lambda: names["random"]() == random.Random(0x77).random(),
        "random.SystemRandom": lambda: (
            names["SystemRandom"]().getrandbits(64)
            == _again(lambda: names["SystemRandom"]().getrandbits(64))
        ),
        "os.urandom": lambda: os.urandom(8) == _again(lambda: os.urandom(8)),
        "uuid.uuid4": lambda: uuid.uuid4() == _again(uuid.uuid4),
        "os.environ": lambda: dict(os.environ) == {"CHECK": "1"} and os.getenv("CHECK") == "1",
        "print": lambda: (print("x"), lines == ["'x'"])[1],
        "open": lambda: _is_refused(lambda: open(os.devnull)),  # noqa: SIM115
        "time.sleep": lambda: _is_refused(lambda: time.sleep(0)),
        "os.stat": lambda: _is_refused(lambda: os.stat(os.devnull)),
    }
    unguarded = []
    for name, check in checks.items():
        enter(_check_call(lines))
        try:
            passed = check()
        finally:
            leave()
        if not passed:
            unguarded.append(name)
    if os.environ.get("PYTHONHASHSEED") != "0":
        unguarded.append("order of sets (PYTHONHASHSEED is not 0)")
    if time.timezone or time.daylight:
        unguarded.append("local time (TZ is not UTC)")
    return unguarded


def _check_call(lines: list[str]) -> GuardedCall:
    return GuardedCall(
        _CHECK_NS, b"\x77", "query", {"CHECK": "1"}, lambda level, text: lines.append(text)
    )


def _again(function: Callable[[], Any]) -> Any:
    enter(_check_call([]))
    try:
        return function()
    finally:
        leave()


def _is_refused(function: Callable[[], Any]) -> bool:
    try:
        function()
    except DeterminismError:
        return True
    return False
