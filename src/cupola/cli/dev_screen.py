"""What `cupola dev` shows: where the server is, what functions do, and why code was refused."""

from __future__ import annotations

import datetime
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.text import Text
from rich.traceback import Traceback

from cupola import __version__
from cupola.backend import Backend, ExecutionLog
from cupola.cli.settings import Settings
from cupola.clock import Clock
from cupola.errors import CupolaError
from cupola.functions.app import App
from cupola.functions.javascript import JavaScriptFunction
from cupola.server.serve import Server

EXECUTIONS_PER_SECOND_MAX = 100
_LEVEL_STYLES = {"DEBUG": "dim", "WARN": "yellow", "ERROR": "red"}
_KIND_STYLES = {"query": "cyan", "mutation": "magenta", "action": "blue"}


class Screen:
    """Prints, and nothing else. Colours and rules appear on a terminal only."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._zone = local_zone()
        self._second = 0
        self._shown = 0
        self._repeats: dict[tuple[str, str], int] = {}  # of (kind, path), in this second

    # ---------------------------------------------------------------- the server

    def started(self, server: Server, backend: Backend, settings: Settings) -> None:
        has_page = (settings.app / "public" / "index.html").is_file()
        self._print(Text.assemble("\n  ", ("Cupola", "bold"), f" {__version__}\n"))
        self._fact("Page" if has_page else "Server", server.url, "bold cyan")
        if server.site_url:
            self._fact("HTTP actions", server.site_url)
        self._fact("Admin key", backend.admin_keys.issue())
        self._fact("Data", str(settings.data))
        functions = settings.app / "functions"
        if functions.is_dir():
            self._fact("Watching", str(functions))
        else:
            self._fact("Code", "whatever `npx convex dev` pushes")
        self._print(Text("\n  Ctrl-C stops.\n", "dim"))

    def stopped(self) -> None:
        self._print(Text("Stopped.", "dim"))

    def note(self, text: str) -> None:
        self._line(Text(text, "yellow"))

    def _fact(self, name: str, value: str, style: str = "") -> None:
        self._print(Text.assemble((f"  {name:<14}", "dim"), (value, style)))

    # ---------------------------------------------------------------- code

    def reloaded(self, app: App, seconds: float) -> None:
        count = len(app.functions)
        functions = "1 function" if count == 1 else f"{count} functions"
        text = Text.assemble(("Reloaded", "bold green"), f" {functions} in {seconds * 1000:.0f} ms")
        self._line(text)

    def pushed(self, app: App) -> None:
        """Code of the published command line serves."""
        count = sum(isinstance(each, JavaScriptFunction) for each in app.functions.values())
        functions = "1 function" if count == 1 else f"{count} functions"
        self._line(Text.assemble(("Pushed", "bold green"), f" {functions} in TypeScript"))

    def refused(self, error: CupolaError, *, serving: bool) -> None:
        """Code that cannot be used. An exception of the app's own is shown with its lines."""
        self._line(Text("This code cannot be used.", "bold red"))
        cause = error.__cause__
        own = None if cause is None else self._own_frames(cause.__traceback__)
        if cause is not None and (own is not None or isinstance(cause, SyntaxError)):
            self._print_exception(cause, own)
        else:
            self._print(Text(_indented(error.message)))
        rest = "The code from before goes on serving." if serving else "Nothing is served yet."
        self._print(Text(f"  {rest} Save again to try again.", "dim"))

    def _own_frames(self, trace: TracebackType | None) -> TracebackType | None:
        """The part of a traceback that begins in the app's folder."""
        root = str(self._folder)
        while trace is not None and not trace.tb_frame.f_code.co_filename.startswith(root):
            trace = trace.tb_next
        return trace

    def _print_exception(self, error: BaseException, own: TracebackType | None) -> None:
        if self._console.is_terminal:
            shown = Traceback.from_exception(type(error), error, own, show_locals=False)
            self._console.print(shown, soft_wrap=False)
        else:
            text = "".join(traceback.format_exception(type(error), error, own, chain=False))
            self._print(Text(_indented(text.rstrip())))

    # ---------------------------------------------------------------- functions

    def executed(self, log: ExecutionLog) -> None:
        """An execution. Queries that have nothing to say are not shown: each save re-runs many."""
        if log.kind == "query" and not log.all_lines and log.error_message is None:
            return
        self._begin_second()
        is_plain = not log.all_lines and log.error_message is None
        if is_plain and self._is_repeat(log):
            return
        if not self._has_room():
            return
        text = Text.assemble(
            (f"{log.kind:<9}", _KIND_STYLES.get(log.kind, "")),
            f"{log.path} ",
            (f"{log.duration_s * 1000:.1f} ms", "dim"),
        )
        if log.error_message is not None:
            text.append(" failed", "bold red")
        self._line(text)
        for line in log.all_lines:
            level = line[1:].partition("]")[0]
            self._print(Text(_indented(line, 11), _LEVEL_STYLES.get(level, "")))
        if log.error_message is not None:
            self._print(Text(_indented(log.error_message, 11), "red"))

    def _begin_second(self) -> None:
        """In another second than before, say what was folded in that one."""
        second = self._clock.monotonic_ns() // 10**9
        if second == self._second:
            return
        hidden = self._shown - EXECUTIONS_PER_SECOND_MAX
        repeats, self._repeats = self._repeats, {}
        self._second, self._shown = second, 0
        for (kind, path), count in repeats.items():
            if count:
                style = _KIND_STYLES.get(kind, "")
                more = (f"{count} more times in that second", "dim")
                self._line(Text.assemble((f"{kind:<9}", style), f"{path} ", more))
        if hidden > 0:
            self._line(Text(f"… {hidden} more executions in that second", "dim"))

    def _is_repeat(self, log: ExecutionLog) -> bool:
        """Heartbeats and the like: of those that say nothing, one a second is shown."""
        name = (log.kind, log.path)
        seen = name in self._repeats
        self._repeats[name] = self._repeats.get(name, -1) + 1
        return seen

    def _has_room(self) -> bool:
        """A terminal is slow, and everything waits for it: past a bound, executions are counted."""
        self._shown += 1
        return self._shown <= EXECUTIONS_PER_SECOND_MAX

    # ---------------------------------------------------------------- printing

    def _line(self, text: Text) -> None:
        at = datetime.datetime.fromtimestamp(self._clock.now_ns() / 1e9, self._zone)
        now = at.strftime("%H:%M:%S")
        self._print(Text.assemble((now + "  ", "dim"), text))

    def _print(self, text: Text) -> None:
        self._console.print(text)


def local_zone(environment: Mapping[str, str] = os.environ) -> datetime.tzinfo:
    """The zone of who started this process, which itself keeps to UTC; UTC if nothing tells."""
    name = environment.get("CUPOLA_LOCAL_TZ")
    if name is None:
        return datetime.UTC
    try:
        if name:
            return ZoneInfo(name.removeprefix(":"))
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, KeyError):  # no such zone, or a rule such as `CET-1CEST`
        return datetime.UTC


def _indented(text: str, width: int = 2) -> str:
    margin = " " * width
    return margin + text.replace("\n", "\n" + margin)
