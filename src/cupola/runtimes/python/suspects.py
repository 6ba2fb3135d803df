"""Which functions may run long inside one call into C, where no signal interrupts them.

The in-process budget stops Python code, because the interpreter looks for signals between its
instructions. `sum(range(n))` is one instruction. So before a function may run in the server's
process its source is searched for such calls, and functions of the same app that it refers to
likewise; a function with a finding always runs in a worker, which can be killed. A finding costs
some microseconds per call, a miss costs every client's time, and ordinary code must pass:

- Consuming an iterator that C drives (`range`, `itertools`, `map`, `zip`…) with a consumer in C is
  a finding when its length is unknown. With a Python function or expression per step it is
  interruptible and fine, as are loops, comprehensions, generators, and whatever consumes documents
  or other values in memory.
- Numbers that may grow huge: `**`, `<<`, `math.factorial`… with an exponent that is not constant.
- Repetition of a sequence display or string literal by a number that is not constant.
- Regular expressions that are not constant, `eval`, slow hashes, decompression, numeric libraries.

Names are looked up where the function would: in its variables, closure, module and the builtins.
What a variable holds is known if it is assigned once, from an expression like those above.
"""

import ast
import builtins
import functools
import importlib
import linecache
import math
import sys
import types
from collections.abc import Callable
from typing import Any

from cupola.runtimes.python.suspect_names import (
    ADAPTERS,
    CONSUMERS,
    CONSUMING_METHODS,
    ENDLESS,
    GROWING,
    PER_STEP,
    REGEX,
    SHORTEST,
    SKIPPING,
    SLOW,
    SLOW_LIBRARIES,
)

LENGTH_MAX = 100_000
BITS_MAX = 1_000_000

_UNKNOWN = object()


def suspects(function: Callable[..., Any]) -> list[str]:
    """Search a function, and what it refers to in its app, for calls that cannot be interrupted.

    Returns: reasons like "messages.py:12: `sum(range(n))` …", empty if the function may run in
    process.
    """
    start = _plain(function)
    if start is None:
        return [f"{function!r} is not a Python function"]
    reasons: list[str] = []
    visited: set[types.CodeType] = set()
    waiting = [start]
    while waiting:
        current = waiting.pop()
        if current.__code__ in visited:
            continue
        visited.add(current.__code__)
        nodes = _source_of(current)
        if not nodes:
            if current is start:
                reasons.append(f"the source of `{current.__qualname__}` is not available")
            continue  # generated code, as of a dataclass
        for node in nodes:
            search = _Search(current, node)
            reasons += search.reasons()
            waiting += search.referred
    return sorted(set(reasons))


def _plain(function: Any) -> types.FunctionType | None:
    """The function behind decorators that follow `functools.wraps`, bound methods and partials."""
    for _ in range(20):
        if isinstance(function, types.FunctionType) and not hasattr(function, "__wrapped__"):
            return function
        inner = getattr(function, "__wrapped__", None) or getattr(function, "__func__", None)
        if isinstance(function, functools.partial):
            inner = function.func
        if inner is None:
            return function if isinstance(function, types.FunctionType) else None
        function = inner
    return None


# ----------------------------------------------------------------------------------------- sources

_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def _source_of(function: types.FunctionType) -> list[_FunctionNode]:
    """The syntax tree of a function; several if lambdas share its line; none if there is no
    source."""
    code = function.__code__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines:
        return []
    found = _functions_by_line("".join(lines)).get(code.co_firstlineno, [])
    is_lambda = code.co_name == "<lambda>"
    return [
        node
        for node in found
        if (is_lambda if isinstance(node, ast.Lambda) else node.name == code.co_name)
    ]


@functools.lru_cache(maxsize=64)
def _functions_by_line(source: str) -> dict[int, list[_FunctionNode]]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}
    by_line: dict[int, list[_FunctionNode]] = {}
    for node in ast.walk(tree):
        if isinstance(node, _FunctionNode):
            decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
            first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
            by_line.setdefault(first, []).append(node)
    return by_line


# ------------------------------------------------------------------------------------------ search


class _Search:
    """One pass over one function."""

    def __init__(self, function: types.FunctionType, node: _FunctionNode) -> None:
        self._function = function
        self._node = node
        self._file = function.__code__.co_filename.rpartition("/")[2]
        self._found: list[str] = []
        self.referred: list[types.FunctionType] = []
        self._locals: set[str] = set()
        self._assigned: dict[str, list[ast.expr | None]] = {}
        self._imported: dict[str, str] = {}
        self._functions: set[str] = set()
        self._closure = dict(
            zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
        )
        self._collect_names()

    def reasons(self) -> list[str]:
        body = [self._node.body] if isinstance(self._node, ast.Lambda) else self._node.body
        for statement in body:
            for node in ast.walk(statement):
                self._visit(node)
        return self._found

    def _collect_names(self) -> None:
        for node in ast.walk(self._node):
            match node:
                case ast.arg(arg=name):
                    self._locals.add(name)
                    self._assigned.setdefault(name, []).append(None)
                case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                    self._locals.add(name)
                    self._assigned.setdefault(name, [])
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if (
                    node is not self._node
                ):
                    self._functions.add(name)
                case ast.Import(names=names):
                    for alias in names:
                        top = alias.name.partition(".")[0]
                        self._imported[alias.asname or top] = alias.name if alias.asname else top
                case ast.ImportFrom(names=names, module=module, level=level):
                    package = self._function.__globals__.get("__package__") or ""
                    base = ".".join(package.split(".")[: len(package.split(".")) - level + 1])
                    source = (f"{base}.{module or ''}".strip(".")) if level else module or ""
                    for alias in names:
                        self._imported[alias.asname or alias.name] = f"{source}.{alias.name}"
                case _:
                    pass
        for node in ast.walk(self._node):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self._assigned[name].append(value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self._assigned[name].append(value)
                case ast.NamedExpr(target=ast.Name(id=name), value=value):
                    self._assigned[name].append(value)
                case (
                    ast.For(target=target)
                    | ast.AsyncFor(target=target)
                    | ast.comprehension(target=target)
                    | ast.AugAssign(target=target)
                ):
                    for inner in ast.walk(target):
                        if isinstance(inner, ast.Name) and inner.id in self._assigned:
                            self._assigned[inner.id].append(None)
                case _:
                    pass

    # ------------------------------------------------------------------ what names mean

    def _object(self, node: ast.expr) -> Any:
        """What a name or dotted name stands for, or _UNKNOWN."""
        if isinstance(node, ast.Attribute):
            owner = self._object(node.value)
            if isinstance(owner, (types.ModuleType, type)):
                return getattr(owner, node.attr, _UNKNOWN)
            return _UNKNOWN
        if not isinstance(node, ast.Name):
            return _UNKNOWN
        name = node.id
        if name in self._imported:
            return _loaded(self._imported[name])
        if name in self._locals or name in self._functions:
            return _UNKNOWN
        if name in self._closure:
            try:
                return self._closure[name].cell_contents
            except ValueError:
                return _UNKNOWN
        return self._function.__globals__.get(name, getattr(builtins, name, _UNKNOWN))

    def _name(self, node: ast.expr) -> str:
        """The full name of what is called, as `sum` or `itertools.chain.from_iterable`; "" if
        unknown."""
        found = self._object(node)
        if found is _UNKNOWN:
            if isinstance(node, ast.Name) and node.id in self._imported:
                return self._imported[node.id]
            return ""
        module = getattr(found, "__module__", None)
        name = getattr(found, "__qualname__", None)
        if isinstance(node, ast.Attribute) and getattr(found, "__self__", None) is not None:
            owner = found.__self__
            if isinstance(owner, type):
                module, name = owner.__module__, f"{owner.__qualname__}.{node.attr}"
        if not isinstance(name, str):
            return ""
        return name if module in (None, "builtins") else f"{module}.{name}"

    def _variable(self, node: ast.expr) -> ast.expr | None:
        """The one expression a local variable is assigned from, else None."""
        if isinstance(node, ast.Name) and node.id in self._locals:
            values = self._assigned.get(node.id, [])
            if len(values) == 1:
                return values[0]
        return None

    def _constant(self, node: ast.expr, depth: int = 0) -> Any:
        """The value of an expression of constants, module constants included, or _UNKNOWN."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value = self._constant(operand, depth)
                return -value if isinstance(value, (int, float)) else _UNKNOWN
            case ast.BinOp(left=left, op=op, right=right):
                return _computed(op, self._constant(left, depth), self._constant(right, depth))
            case ast.Name() if depth < 5 and (assigned := self._variable(node)) is not None:
                return self._constant(assigned, depth + 1)
            case ast.Name() | ast.Attribute():
                found = self._object(node)
                return found if type(found) in (int, float, str, bytes) else _UNKNOWN
            case _:
                return _UNKNOWN

    def _is_small(self, node: ast.expr, bound: int) -> bool:
        """Whether a number is constant and within the bound, or the length of something in
        memory."""
        match node:
            case ast.Call(func=ast.Name(id="len")):
                return True
            case ast.BinOp(
                left=left, op=ast.Add() | ast.Sub() | ast.FloorDiv() | ast.Mod(), right=right
            ):
                if self._is_small(left, bound) and self._is_small(right, bound):
                    return True
            case ast.Call(func=function, args=args) if self._name(function) == "min":
                if any(self._is_small(arg, bound) for arg in args):
                    return True
        value = self._constant(node)
        return isinstance(value, (int, float)) and abs(value) <= bound

    def _is_python(self, node: ast.expr) -> bool:
        """Whether calling it runs Python instructions, between which signals are seen."""
        if isinstance(node, ast.Lambda):
            return True
        if isinstance(node, ast.Name) and node.id in self._functions:
            return True
        return isinstance(self._object(node), types.FunctionType)

    # ------------------------------------------------------------------ iterators driven by C

    def _is_long(self, node: ast.expr, depth: int = 0) -> bool:
        """Whether stepping through it may take long without a Python instruction in between."""
        if depth > 8:
            return False
        if isinstance(node, ast.Name):
            assigned = self._variable(node)
            return assigned is not None and self._is_long(assigned, depth + 1)
        if isinstance(node, ast.Starred):
            return self._is_long(node.value, depth + 1)
        if not isinstance(node, ast.Call):
            return False
        name, args = self._name(node.func), node.args
        if name == "range":
            return not all(self._is_small(arg, LENGTH_MAX) for arg in args)
        if name in ENDLESS:
            times = [*args[1:], *(keyword.value for keyword in node.keywords)]
            if name == "itertools.repeat" and times:
                return not self._is_small(times[0], LENGTH_MAX)
            return True
        if name not in ADAPTERS:
            return False
        return self._adapter_is_long(name, args, depth)

    def _adapter_is_long(self, name: str, args: list[ast.expr], depth: int) -> bool:
        position = PER_STEP.get(name)
        if position is not None and position < len(args):
            if self._is_python(args[position]):
                return False
            args = args[:position] + args[position + 1 :]
        if name == "iter" and len(args) == 2:
            return not self._is_python(args[0])
        if name == "itertools.islice":
            if all(self._is_small(arg, LENGTH_MAX) for arg in args[1:]):
                return False
            args = args[:1]
        longs = [self._is_long(arg, depth + 1) for arg in args]
        return bool(longs) and (all(longs) if name in SHORTEST else any(longs))

    # ------------------------------------------------------------------ findings

    def _visit(self, node: ast.AST) -> None:
        match node:
            case ast.Call():
                self._visit_call(node)
            case ast.BinOp(left=left, op=op, right=right):
                self._visit_operator(node, left, op, right)
            case ast.AugAssign(target=target, op=op, value=value):
                if isinstance(op, ast.Add) and self._is_long(value):
                    self._add(node, "runs through an iterator of unknown length in one step")
                elif isinstance(target, (ast.Name, ast.Attribute, ast.Subscript)):
                    self._visit_operator(node, target, op, value)
            case (
                ast.List(elts=items, ctx=ast.Load())
                | ast.Tuple(elts=items, ctx=ast.Load())
                | ast.Set(elts=items)
            ):
                if any(isinstance(item, ast.Starred) and self._is_long(item) for item in items):
                    self._add(node, "runs through an iterator of unknown length in one step")
            case ast.Assign(targets=targets, value=value):
                unpacks = any(
                    isinstance(target, (ast.Tuple, ast.List, ast.Subscript)) for target in targets
                )
                if (
                    unpacks
                    and any(_has_star_or_slice(target) for target in targets)
                    and self._is_long(value)
                ):
                    self._add(node, "runs through an iterator of unknown length in one step")
            case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[where]):
                if self._is_long(where) and not self._is_range(where):
                    self._add(node, "runs through an iterator of unknown length in one step")
            case ast.For(iter=source) | ast.comprehension(iter=source):
                if self._skips(source):
                    self._add(source, "may skip over any number of items in one step")
            case ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load()):
                self._follow(self._object(node))
            case _:
                pass

    def _visit_call(self, node: ast.Call) -> None:
        name = self._name(node.func)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if slow := SLOW.get(name):
            self._add(node, slow)
        elif (library := name.partition(".")[0]) in SLOW_LIBRARIES:
            self._add(node, f"may compute for long inside {library}")
        elif name in REGEX:
            pattern = node.args[0] if node.args else _keyword(node, "pattern")
            if pattern is not None and not self._is_pattern(pattern):
                self._add(node, "uses a regular expression that is not constant")
        elif name in GROWING or (name == "pow" and len(node.args) == 2):
            if not all(self._is_small(arg, 10_000) for arg in node.args[-1:]):
                self._add(node, "may compute a huge number")
        elif (
            name in ("bytes", "bytearray")
            and len(node.args) == 1
            and (isinstance(size := self._constant(node.args[0]), int) and size > 10**8)
        ):
            self._add(node, "makes a huge value")
        elif any(isinstance(arg, ast.Starred) and self._is_long(arg) for arg in node.args):
            self._add(node, "runs through an iterator of unknown length in one step")
        elif (
            name in CONSUMERS
            or (not name and method in CONSUMING_METHODS)
            or name.endswith(".join")
        ):
            self._visit_consumer(node, name)
        elif name == "next" and node.args and self._skips(node.args[0]):
            self._add(node, "may skip over any number of items in one step")

    def _visit_consumer(self, node: ast.Call, name: str) -> None:
        key = _keyword(node, "key")
        position = PER_STEP.get(name)
        if key is not None and self._is_python(key):
            return
        if (
            position is not None
            and len(node.args) > position
            and self._is_python(node.args[position])
        ):
            return
        if any(self._is_long(arg) for arg in node.args):
            self._add(node, "runs through an iterator of unknown length in one step")

    def _visit_operator(
        self, node: ast.AST, left: ast.expr, op: ast.operator, right: ast.expr
    ) -> None:
        if isinstance(op, ast.Pow):
            base, exponent = self._constant(left), self._constant(right)
            if isinstance(base, float) or isinstance(exponent, float):
                return
            if isinstance(exponent, int) and exponent <= 64:
                return
            if (
                not isinstance(base, int)
                or not isinstance(exponent, int)
                or _is_huge(base, exponent)
            ):
                self._add(node, "may compute a huge number")
        elif isinstance(op, ast.LShift):
            if not self._is_small(right, BITS_MAX):
                self._add(node, "may compute a huge number")
        elif isinstance(op, ast.Mult):
            for sequence, count in ((left, right), (right, left)):
                if self._is_display(sequence) and not self._is_small(count, 10**7):
                    self._add(node, "may make a huge value")
                    return

    def _is_display(self, node: ast.expr) -> bool:
        if isinstance(node, ast.List | ast.Tuple | ast.ListComp | ast.JoinedStr):
            return True
        return isinstance(self._constant(node), (str, bytes))

    def _is_range(self, node: ast.expr) -> bool:
        node = self._variable(node) or node
        return isinstance(node, ast.Call) and self._name(node.func) == "range"

    def _skips(self, node: ast.expr) -> bool:
        node = self._variable(node) or node
        return (
            isinstance(node, ast.Call) and self._name(node.func) in SKIPPING and self._is_long(node)
        )

    def _is_pattern(self, node: ast.expr, depth: int = 0) -> bool:
        """A constant, a compiled pattern of the module, or those put together with
        `re.escape(…)`."""
        match node:
            case ast.JoinedStr(values=parts):
                return all(self._is_pattern(part, depth) for part in parts)
            case ast.FormattedValue(value=value):
                return self._is_pattern(value, depth)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._is_pattern(left, depth) and self._is_pattern(right, depth)
            case ast.Call(func=function):
                return self._name(function) == "re.escape"
            case ast.Name() if depth < 5 and (assigned := self._variable(node)) is not None:
                return self._is_pattern(assigned, depth + 1)
        found = self._constant(node)
        if found is _UNKNOWN:
            found = self._object(node)
        return isinstance(found, (str, bytes)) or type(found).__name__ == "Pattern"

    def _follow(self, found: Any) -> None:
        """Search functions, and the methods of classes, of the same app as well."""
        if isinstance(found, type):
            if self._is_ours(found):
                for member in vars(found).values():
                    if isinstance(member, (staticmethod, classmethod)):
                        member = member.__func__
                    elif isinstance(member, property):
                        member = member.fget
                    if (function := _plain(member)) is not None and self._is_ours(function):
                        self.referred.append(function)
            return
        if found is _UNKNOWN or isinstance(found, types.ModuleType):
            return
        if isinstance(found, types.FunctionType) or callable(found):
            function = _plain(found)
            if function is not None and self._is_ours(function):
                self.referred.append(function)

    def _is_ours(self, found: Any) -> bool:
        mine, other = self._function.__module__, getattr(found, "__module__", None)
        return isinstance(other, str) and other.partition(".")[0] == (mine or "").partition(".")[0]

    def _add(self, node: ast.AST, why: str) -> None:
        text = ast.unparse(node).partition("\n")[0]
        if len(text) > 60:
            text = text[:59] + "…"
        self._found.append(f"{self._file}:{getattr(node, 'lineno', 0)}: `{text}` {why}")


def _loaded(path: str) -> Any:
    """What a dotted path names, without importing anything that is not loaded or part of Python."""
    parts = path.split(".")
    if parts[0] not in sys.modules and parts[0] in sys.stdlib_module_names:
        importlib.import_module(parts[0])
    for count in range(len(parts), 0, -1):
        found: Any = sys.modules.get(".".join(parts[:count]))
        if found is not None:
            for part in parts[count:]:
                found = getattr(found, part, _UNKNOWN)
            return found
    return _UNKNOWN


def _computed(op: ast.operator, left: Any, right: Any) -> Any:
    """A constant operation, unless it is itself too large to try."""
    if isinstance(left, str) and isinstance(right, str) and isinstance(op, ast.Add):
        return left + right
    if type(left) not in (int, float) or type(right) not in (int, float):
        return _UNKNOWN
    try:
        match op:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.FloorDiv():
                return left // right
            case ast.Pow() if not _is_huge(left, right):
                return left**right
            case ast.LShift() if 0 <= right <= 10_000:
                return left << right
            case _:
                return _UNKNOWN
    except (ArithmeticError, TypeError):
        return _UNKNOWN


def _is_huge(base: float, exponent: float) -> bool:
    return exponent > 0 and math.log2(abs(base) + 1) * exponent > BITS_MAX


def _keyword(node: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in node.keywords if keyword.arg == name), None)


def _has_star_or_slice(target: ast.expr) -> bool:
    return any(isinstance(node, (ast.Starred, ast.Slice)) for node in ast.walk(target))
