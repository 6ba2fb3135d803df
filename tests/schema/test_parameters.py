"""The signature of a function is its validator."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from cupola.errors import SchemaError
from cupola.schema import Id, ParameterCodec, Table, ValidationError, return_codec_of
from cupola.values import UNSET, UnsetType

if TYPE_CHECKING:
    from somewhere import QueryCtx  # type: ignore[import-not-found]


class Message(Table, name="messages"):
    body: str


def send(
    ctx: "QueryCtx", channel: str, count: int = 1, reply_to: Id[Message] | UnsetType = UNSET
) -> Id[Message]:
    raise NotImplementedError


def test_parameters_after_the_context_are_the_arguments_object() -> None:
    """A default makes a field optional; `ctx` need not have a type that can be resolved."""
    parameters = ParameterCodec(send, "messages:send")
    assert parameters.validator.describe() == (
        "v.object({channel: v.string(), count: v.optional(v.float64()), "
        'reply_to: v.optional(v.id("messages"))})'
    )
    assert return_codec_of(send, "messages:send").validator.describe() == 'v.id("messages")'  # type: ignore[union-attr]


def test_arguments_are_bound_as_keywords() -> None:
    parameters = ParameterCodec(send, "messages:send")
    assert parameters.bind({"channel": "a", "count": 2.0}) == {"channel": "a", "count": 2}
    assert parameters.bind({"channel": "a"}) == {"channel": "a"}
    with pytest.raises(ValidationError) as caught:
        parameters.bind({"channel": "a", "count": 2.5})
    assert caught.value.path == ".count"


def test_arguments_that_need_no_conversion_are_passed_on_as_they_are() -> None:
    def read(ctx: Any, channel: str, limit: float = 5.0) -> None: ...

    arguments = {"channel": "a"}
    assert ParameterCodec(read, "m:read").bind(arguments) is arguments


def test_a_parameter_that_may_be_unset_is_unset_when_absent() -> None:
    def change(ctx: Any, body: str | UnsetType) -> None: ...

    parameters = ParameterCodec(change, "m:change")
    assert parameters.bind({}) == {"body": UNSET}
    assert parameters.validator.describe() == "v.object({body: v.optional(v.string())})"


def test_a_parameter_without_a_hint_takes_anything() -> None:
    def loose(ctx, value): ...  # type: ignore[no-untyped-def]

    assert ParameterCodec(loose, "m:loose").validator.describe() == "v.object({value: v.any()})"
    assert return_codec_of(loose, "m:loose") is None


def test_a_function_can_take_any_arguments() -> None:
    def anything(ctx: Any, **args: Any) -> None: ...

    parameters = ParameterCodec(anything, "m:anything")
    assert parameters.is_open
    assert parameters.validator.to_json() == {"type": "any"}
    assert parameters.bind({"a": 1.0}) == {"a": 1.0}


def test_a_function_without_parameters_takes_no_arguments() -> None:
    def nothing(ctx: Any) -> Sequence[Message]:
        return []

    validator = ParameterCodec(nothing, "m:nothing").validator
    validator.check({})
    assert not validator.accepts({"a": 1.0})


def no_context() -> None: ...
def only_keyword(*, ctx: Any) -> None: ...
def positional_only(ctx: Any, body: str, /) -> None: ...
def many(ctx: Any, *bodies: str) -> None: ...
def named_and_open(ctx: Any, body: str, **rest: Any) -> None: ...
def open_with_type(ctx: Any, **rest: int) -> None: ...


@pytest.mark.parametrize(
    "function",
    [no_context, only_keyword, positional_only, many, named_and_open, open_with_type],
)
def test_a_signature_that_arguments_cannot_reach_is_refused(function: Any) -> None:
    with pytest.raises(SchemaError, match="m:f") as caught:
        ParameterCodec(function, "m:f")
    assert caught.value.code == "InvalidFunctionSignature"


def test_a_bad_hint_names_the_function_and_the_parameter() -> None:
    def tagged(ctx: Any, tags: set[str]) -> None: ...

    with pytest.raises(SchemaError, match=r"`m:tagged`, parameter `tags`.*list"):
        ParameterCodec(tagged, "m:tagged")

    def odd(ctx: Any) -> complex:
        return 1j

    with pytest.raises(SchemaError, match="`m:odd`, return value"):
        return_codec_of(odd, "m:odd")

    def lost(ctx: Any, body: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(SchemaError, match=r"`m:lost`.*`Nowhere`"):
        ParameterCodec(lost, "m:lost")


def test_parameter_names_are_field_names() -> None:
    def foreign(ctx: Any, größe: float) -> None: ...

    with pytest.raises(SchemaError, match="größe"):
        ParameterCodec(foreign, "m:foreign")
