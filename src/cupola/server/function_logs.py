"""Log streams: what functions did and said lately, for those who watch (spec: deploy API, 12)."""

import asyncio
import collections
import uuid
from collections.abc import Mapping
from typing import Any

from cupola.backend import Backend
from cupola.backend.node import ExecutionLog, request_id_of
from cupola.errors import BadRequestError
from cupola.functions.near_limits import code_of
from cupola.system.registry import PREFIX

_KEPT_MAX = 1000
_KEPT_LINES_MAX = 20_000
_KEPT_CHARACTERS_MAX = 32 * 2**20
_HOLD_S = 60.0
_LOOK_EVERY_S = 0.5
_CURSOR_STEP_MS = 0.01
_AUDIT = "info:auditLog"
_OF_THE_SYSTEM = ("[WARN", "[ERROR", "[INFO")

Entry = dict[str, Any]

_USAGE = (
    "databaseReadBytes",
    "databaseWriteBytes",
    "databaseIoReadBytes",
    "databaseIoWriteBytes",
    "databaseReadDocuments",
    "databaseWriteDocuments",
    "storageReadBytes",
    "storageWriteBytes",
    "vectorIndexReadBytes",
    "vectorIndexWriteBytes",
    "textIndexQueryBytes",
    "textIndexWriteQueryBytes",
    "vectorIndexReadQueryBytes",
    "vectorIndexWriteQueryBytes",
    "networkEgressBytes",
    "memoryUsedMb",
)


class FunctionLogs:
    """The newest executions of a deployment. A cursor is a time in milliseconds, made unique."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        # By cursor. They become entries only when somebody reads them.
        self._kept: collections.deque[tuple[float, float, ExecutionLog]] = collections.deque()
        self._lines = 0
        self._characters = 0
        self._news = asyncio.Event()
        self._cursor = 0.0
        self._is_watching = False
        self._readers = 0

    def watch(self) -> None:
        """Keep what happens from now on. Costs a little per call, so nobody does it unasked."""
        if not self._is_watching:
            self._is_watching = True
            self._backend.node.watchers.append(self._add)

    async def after(self, cursor: float, *, structured: bool, wanted: str | None = None) -> Entry:
        """Executions behind a cursor; waits for one, but no longer than a minute. Cursor 0 asks for
        what is there, and is answered at once. `wanted`: only those of this request.
        """
        self.watch()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _HOLD_S
        while not (found := self._behind(cursor, wanted)) and cursor > 0 and loop.time() < deadline:
            if self._backend.state == "draining":
                break
            await self._wait_news()
        newest = found[-1][0] if found else cursor or self._now_ms()
        entries = [_entry(log, now_ms) for _, now_ms, log in found]
        if not structured:
            entries = [_with_texts(entry) for entry in entries]
        return {"entries": entries, "newCursor": newest}

    async def _wait_news(self) -> None:
        """Until something happens, or for half a second."""
        self._readers += 1
        try:
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._news.wait()
        except TimeoutError:
            return
        finally:
            self._readers -= 1

    def _behind(self, cursor: float, wanted: str | None) -> list[tuple[float, float, ExecutionLog]]:
        if cursor >= self._cursor:
            return []
        return [
            kept for kept in self._kept if kept[0] > cursor and wanted in (None, kept[2].request_id)
        ]

    def _now_ms(self) -> float:
        return max(self._backend.clock.now_ns() / 1e6, self._cursor)

    def _add(self, log: ExecutionLog) -> None:
        if log.path.startswith(PREFIX):
            return
        now_ms = self._backend.clock.now_ns() / 1e6
        self._cursor = max(now_ms, self._cursor + _CURSOR_STEP_MS)
        self._kept.append((self._cursor, now_ms, log))
        self._count(log, 1)
        while (
            len(self._kept) > _KEPT_MAX
            or self._lines > _KEPT_LINES_MAX
            or self._characters > _KEPT_CHARACTERS_MAX
        ):
            _, _, dropped = self._kept.popleft()
            self._count(dropped, -1)
        if self._readers:
            news, self._news = self._news, asyncio.Event()
            news.set()

    def _count(self, log: ExecutionLog, sign: int) -> None:
        self._lines += sign * (len(log.log_lines) + len(log.audits))
        size = sum(map(len, log.log_lines)) + sum(map(len, log.audits))
        self._characters += sign * (size + len(log.error_message or ""))


def wanted_request(query: Mapping[str, str]) -> str | None:
    """The request that a URL asks for, by its session and number.

    Raises:
        BadRequestError: They are none.
    """
    session, number = query.get("sessionId"), query.get("clientRequestCounter")
    if session is None and number is None:
        return None
    try:
        return request_id_of(uuid.UUID(session or "").bytes, int(number or ""))
    except ValueError:
        raise BadRequestError(
            "`sessionId` is a UUID, and `clientRequestCounter` a whole number.",
            code="BadQueryArgs",
        ) from None


def _entry(log: ExecutionLog, now_ms: float) -> Entry:
    """One execution as tools read it. Times of lines are in ms, of executions in s."""
    return {
        "kind": "Completion",
        "udfType": log.kind[:1].upper() + log.kind[1:],
        "componentPath": None,
        "identifier": log.path.removesuffix(":default"),
        "logLines": [_line(line, now_ms) for line in log.all_lines],
        "timestamp": now_ms / 1000,
        "cachedResult": log.is_cached,
        "executionTime": log.duration_s,
        "userExecutionTime": log.duration_s,
        "success": None,
        "error": log.error_message,
        "requestId": log.request_id,
        "executionId": log.request_id,
        "parentExecutionId": None,
        "caller": log.caller,
        "environment": "isolate",
        "identityType": log.identity,
        "usageStats": dict.fromkeys(_USAGE, 0),
        "returnBytes": None,
        "occInfo": None,
        "willRetry": False,
        "executionTimestamp": now_ms / 1000 - log.duration_s,
    }


def _line(text: str, now_ms: float) -> Entry:
    level, _, message = text.partition("] ")
    is_audit = level == "[AUDIT"
    code = _AUDIT if is_audit else code_of(message) if level in _OF_THE_SYSTEM else None
    return {
        "messages": [message],
        "isTruncated": message.endswith(" (truncated due to length)"),
        "timestamp": now_ms,
        "level": "INFO" if is_audit else level.removeprefix("["),
        "systemMetadata": None if code is None else {"code": code},
    }


def _with_texts(entry: Entry) -> Entry:
    """The same with log lines as older tools read them."""
    return {**entry, "logLines": [_text(line) for line in entry["logLines"]]}


def _text(line: Entry) -> str:
    is_audit = (line["systemMetadata"] or {}).get("code") == _AUDIT
    return f"[{'AUDIT' if is_audit else line['level']}] {line['messages'][0]}"
