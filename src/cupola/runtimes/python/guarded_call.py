"""What one query or mutation sees of the world outside the database."""

from collections.abc import Callable, Mapping
from random import Random
from typing import ClassVar, Literal

from cupola.runtimes.python.budget import Budget

LogLevel = Literal["LOG", "DEBUG", "INFO", "WARN", "ERROR"]
LogSink = Callable[[LogLevel, str], None]


class GuardedCall:
    """A stopped clock, generators that start from a seed, an environment, and where log lines go.

    `kind` is "query" or "mutation". `now_ns` is the wall clock, ns since the Unix epoch; every
    clock answers with it. `seed` decides all randomness. `observed_time` and `observed_randomness`
    tell afterwards whether the call looked.
    """

    __slots__ = (
        "_entropy",
        "_random",
        "environment",
        "kind",
        "log",
        "now_ns",
        "observed_randomness",
        "observed_time",
        "outer",
        "seed",
        "uuid_ticks",
    )

    budget: ClassVar[Budget | None] = None  # paused while a log line is taken

    def __init__(
        self,
        now_ns: int,
        seed: bytes,
        kind: str,
        environment: Mapping[str, str],
        log: LogSink,
    ) -> None:
        self.now_ns = now_ns
        self.seed = seed
        self.kind = kind
        self.environment = environment
        self.log = log
        self.outer: GuardedCall | None = None
        self.observed_time = False
        self.observed_randomness = False
        self.uuid_ticks = 0
        self._random: Random | None = None
        self._entropy: Random | None = None

    def clock_ns(self) -> int:
        self.observed_time = True
        return self.now_ns

    def clock_s(self) -> float:
        self.observed_time = True
        return self.now_ns / 1e9

    @property
    def random(self) -> Random:
        """Behind the functions of the `random` module, `random.seed` included."""
        generator = self._random
        if generator is None:
            self.observed_randomness = True
            generator = self._random = Random(int.from_bytes(self.seed, "big"))
        return generator

    @property
    def entropy(self) -> Random:
        """Behind `os.urandom`, `secrets` and `uuid4`: apart from `random`, so that `random.seed(1)`
        in a function does not give every call the same ids."""
        generator = self._entropy
        if generator is None:
            self.observed_randomness = True
            generator = self._entropy = Random(int.from_bytes(self.seed + b"entropy", "big"))
        return generator

    def emit(self, level: LogLevel, text: str) -> None:
        """Hand over a log line. The sink is the engine's: no time-out lands in it."""
        budget = self.budget
        if budget is None:
            self.log(level, text)
            return
        budget.pause()
        try:
            self.log(level, text)
        finally:
            budget.resume()
