"""Positions in bundled JavaScript to positions in the developer's sources (source map, revision 3;
ECMA-426).
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from cupola.functions.bundles import Module

_DIGITS = {
    character: number
    for number, character in enumerate(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    )
}
_FRAME = re.compile(
    r"^\s+at (?:(?P<name>.*?) \()?convex:/(?P<path>[^\s)]+?):(?P<line>\d+):(?P<column>\d+)\)?$"
)
_FRAMES_MAX = 20
_NOT_THEIRS = re.compile(r"convex/(?:src|dist)/.*(?:server|values)/")


class Source(NamedTuple):
    """A place in a source file; line and column start at 1."""

    path: str
    line: int
    column: int


class _Map(msgspec.Struct):
    sources: list[str | None] = []
    mappings: str = ""
    sourceRoot: str | None = None


class SourceMap:
    """One module's map. A text that is no map maps nothing."""

    def __init__(self, text: str) -> None:
        try:
            decoded = msgspec.json.decode(text, type=_Map)
        except (msgspec.DecodeError, msgspec.ValidationError):
            decoded = _Map()
        root = f"{decoded.sourceRoot.rstrip('/')}/" if decoded.sourceRoot else ""
        self.sources = [f"{root}{source or ''}" for source in decoded.sources]
        self._lines = _segments(decoded.mappings)

    def find(self, line: int, column: int) -> Source | None:
        """Where generated code comes from; `line` and `column` start at 1."""
        if not 0 < line <= len(self._lines):
            return None
        segments = self._lines[line - 1]
        at = bisect.bisect_right(segments, (column - 1, 1 << 30, 0, 0)) - 1
        if at < 0:
            return None
        _, source, source_line, source_column = segments[at]
        if not 0 <= source < len(self.sources):
            return None
        return Source(self.sources[source], source_line + 1, source_column + 1)


def _segments(mappings: str) -> list[list[tuple[int, int, int, int]]]:
    """Per generated line: (column, source, line, column), all from 0, sorted by column."""
    lines: list[list[tuple[int, int, int, int]]] = []
    source = line = column = 0
    for text in mappings.split(";"):
        generated = 0
        segments = []
        for part in text.split(","):
            numbers = _numbers(part)
            if not numbers:
                continue
            generated += numbers[0]
            if len(numbers) >= 4:
                source += numbers[1]
                line += numbers[2]
                column += numbers[3]
                segments.append((generated, source, line, column))
        segments.sort()
        lines.append(segments)
    return lines


def _numbers(text: str) -> list[int]:
    """Base64 VLQ: five bits a digit, the lowest first; the lowest bit of the number is its sign."""
    numbers = []
    value = shift = 0
    for character in text:
        digit = _DIGITS.get(character)
        if digit is None:
            return []
        value |= (digit & 31) << shift
        if digit & 32:
            shift += 5
            continue
        numbers.append(-(value >> 1) if value & 1 else value >> 1)
        value = shift = 0
    return numbers


class SourceMaps:
    """The maps of a bundle, parsed when first needed."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self._modules = modules
        self._maps: dict[str, SourceMap | None] = {}

    def of(self, path: str) -> SourceMap | None:
        if path not in self._maps:
            module = self._modules.get(path)
            text = module.source_map if module is not None else None
            self._maps[path] = SourceMap(text) if text else None
        return self._maps[path]

    def frames(self, stack: str) -> list[str]:
        """The frames of a V8 stack that lie in pushed code, mapped, as `    at name (file:1:2)`."""
        frames = []
        for text in stack.split("\n"):
            found = _FRAME.match(text)
            if found is None:
                continue
            path, line, column = found["path"], int(found["line"]), int(found["column"])
            source_map = self.of(path)
            source = source_map.find(line, column) if source_map is not None else None
            if source is None:
                source = Source(path, line, column)
            if _NOT_THEIRS.search(source.path):
                continue
            name = found["name"] or "<anonymous>"
            frames.append(f"    at {name} ({source.path}:{source.line}:{source.column})")
        return frames[:_FRAMES_MAX]
