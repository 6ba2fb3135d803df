"""The signature of a server function as validators and codecs."""

import inspect
import types
from collections.abc import Callable
from typing import Any

from cupola.errors import SchemaError
from cupola.schema.codecs import Codec, within
from cupola.schema.hints import check_field_name, codec_of, field_codec_of
from cupola.schema.scalars import ANY
from cupola.schema.shapes import own_annotations, resolved_hints
from cupola.schema.validators import Field, ObjectValidator, Validator
from cupola.values import UNSET


class ParameterCodec:
    """From the arguments object of a call to the keywords of a Python function.

    A parameter with a default is an optional field; the function's own default stands in when it
    is absent. `**args` takes any object at all.
    """

    def __init__(self, function: Callable[..., Any], where: str) -> None:
        """Read the parameters after the first, which is `ctx`.

        `where` names the function in errors, such as "messages:send".

        Raises:
            SchemaError: The signature or a type hint cannot be called from the wire.
        """
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters or parameters[0].kind not in _POSITIONAL:
            raise SchemaError(
                f"`{where}` must take the context as its first parameter: `def f(ctx, ...)`.",
                code="InvalidFunctionSignature",
            )
        parameters = parameters[1:]
        hints = hints_of(function, [each.name for each in parameters], where)
        fields: dict[str, Field] = {}
        self._converted: list[tuple[str, Callable[[Any], Any]]] = []
        self._absent: list[str] = []
        self.is_open = False
        for each in parameters:
            here = f"`{where}`, parameter `{each.name}`"
            hint = hints.get(each.name, Any)
            if each.kind is each.VAR_KEYWORD and len(parameters) == 1 and hint is Any:
                self.is_open = True
                break
            if each.kind not in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                raise SchemaError(
                    f"{here}: arguments have names, so use plain parameters, "
                    "or nothing but `**args: Any` for any arguments.",
                    code="InvalidFunctionSignature",
                )
            check_field_name(each.name, here)
            codec, absent = field_codec_of(hint, here)
            has_default = each.default is not each.empty
            fields[each.name] = Field(codec.validator, absent or has_default)
            if not codec.identity:
                self._converted.append((each.name, codec.to_python))
            if absent and not has_default:
                self._absent.append(each.name)
        self.validator: Validator = ANY if self.is_open else ObjectValidator(fields)

    def bind(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The keywords for arguments that match `validator`.

        Raises:
            ValidationError: A number that must be whole is not, and the like.
        """
        if not self._converted and not self._absent:
            return arguments
        keywords = dict(arguments)
        for name, to_python in self._converted:
            if name in keywords:
                keywords[name] = within(name, to_python, keywords[name])
        for name in self._absent:
            keywords.setdefault(name, UNSET)
        return keywords


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def return_codec_of(function: Callable[..., Any], where: str) -> Codec | None:
    """The codec of a function's return annotation; None if it has none."""
    hints = hints_of(function, ["return"], where)
    return codec_of(hints["return"], f"`{where}`, return value") if "return" in hints else None


def hints_of(function: Callable[..., Any], names: list[str], where: str) -> dict[str, Any]:
    """The resolved type hints of some parameters. Others, such as ctx, need not resolve."""
    hints = {k: v for k, v in own_annotations(function).items() if k in names}
    names_there = getattr(inspect.unwrap(function), "__globals__", {})
    holder = types.SimpleNamespace(__annotations__=hints, __globals__=names_there)
    return resolved_hints(holder, f"`{where}`")
