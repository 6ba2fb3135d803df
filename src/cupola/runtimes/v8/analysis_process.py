"""The Deno process that evaluates pushed modules: one for all questions of a push, and of the next.

Each question gets a context of its own, as calls do. What stays is the process, which takes a
twentieth of a second to start, and what V8 has kept of modules that it has compiled. A process that
was hurt, or has grown, is replaced; one that nobody asks for a while ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec

from cupola.functions.bundles import AnalysisError, Bundle, Module
from cupola.runtimes.v8.deno import Deno, ProcessEnded, TookTooLong
from cupola.runtimes.v8.failures import from_javascript
from cupola.runtimes.v8.runtime import blank_process, bundle_frame, cannot_start
from cupola.runtimes.v8.source_maps import SourceMaps

MODULE_S = 4.0
_START_S = 30.0
_TIRED_BYTES = 200 * 2**20
_LINES_MAX = 100


class _Failure(msgspec.Struct):
    message: str
    stack: str = ""
    unset: str | None = None


class AnalysisProcess:
    """Belongs to one thread."""

    def __init__(self) -> None:
        self._deno: Deno | None = None
        self._is_ready = False
        self._loaded = b""  # the bundle it has

    def start(self) -> None:
        """Have the process ready soon, without waiting for it."""
        self._running()

    def end(self) -> None:
        """Nobody needs it for now."""
        deno, self._deno, self._loaded, self._is_ready = self._deno, None, b"", False
        if deno is not None:
            deno.kill()

    @contextlib.contextmanager
    def session(self, bundle: Bundle) -> Iterator[Session]:
        """Questions about the modules of one bundle. Raises OperatorError: no process starts."""
        deno = self._running()
        session = Session(deno, bundle)
        try:
            self._load(deno, bundle_frame(bundle))
            yield session
        except (ProcessEnded, TookTooLong) as ended:
            session.is_hurt = True
            raise cannot_start() from ended
        finally:
            if session.is_hurt or deno.figures.resident_bytes() > _TIRED_BYTES:
                self.end()

    def _running(self) -> Deno:
        if self._deno is not None and self._deno.has_ended:
            self.end()
        if self._deno is None:
            self._deno = blank_process()
        return self._deno

    def _load(self, deno: Deno, frame: bytes) -> None:
        """Have it know a bundle, once its memory is bound."""
        if not self._is_ready:
            deno.receive(_START_S)
            deno.bound_memory()
            self._is_ready = True
        if frame != self._loaded:
            self._loaded = frame
            deno.send(b"B", frame)


class Session:
    """One bundle in the process."""

    def __init__(self, deno: Deno, bundle: Bundle) -> None:
        self._deno = deno
        self.maps = SourceMaps({module.path: module for module in bundle.modules})
        self._lines: list[str] = []
        self.is_hurt = False
        """Whether the process is in the middle of something that it will not end."""

    def ask(self, look: str, module: Module, options: dict[str, Any], code: str) -> bytes:
        """What a look of `host/exports.js` finds in a module, as JSON.

        Raises:
            AnalysisError: With `code`, unless a variable is not set.
        """
        question = {"look": look, "path": module.path, "options": options}
        self._lines, self.is_hurt = [], True
        try:
            self._deno.send(b"A", msgspec.json.encode(question))
            return self._answer(module, code)
        except TookTooLong:
            text = f"it did not end within {MODULE_S:g} s"
        except ProcessEnded:
            text = "it ended its process; most likely it used more memory than 64 MB"
        raise AnalysisError(
            f"Failed to analyze {module.path}: {text}.", code=code, module=module.path
        )

    def _answer(self, module: Module, code: str) -> bytes:
        while True:
            kind, body = self._deno.receive(MODULE_S)
            if kind == b"L":
                self._lines = [*self._lines[1 - _LINES_MAX :], body.decode("utf-8", "replace")]
            elif kind in b"VE":
                self.is_hurt = False
                if kind == b"V":
                    return body
                raise self._error(module, from_javascript(body, _Failure), code)

    def _error(self, module: Module, failure: _Failure, code: str) -> AnalysisError:
        frames = "\n".join(self.maps.frames(failure.stack))
        if failure.unset is not None:
            return AnalysisError(
                f"Environment variable {failure.unset} is used in auth config file but its value "
                "was not set.",
                code="AuthConfigMissingEnvironmentVariable",
                module=module.path,
                stack=frames,
            )
        parts = [f"Failed to analyze {module.path}: {failure.message}", frames]
        if self._lines:
            parts += ["", "Logs:", *self._lines]
        message = "\n".join(part for part in parts if part or self._lines).strip()
        return AnalysisError(message, code=code, module=module.path, stack=frames)
