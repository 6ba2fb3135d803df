"""What pushed functions return, checked as what Python functions return is."""

from __future__ import annotations

from cupola.errors import DeveloperError, InvalidValueError, LimitError, ReturnsValidationError
from cupola.functions.javascript import JavaScriptFunction
from cupola.limits import Limits
from cupola.values import decode, encode


def checked_result(
    function: JavaScriptFunction, data: bytes, limits: Limits, *, unresolved: bool = False
) -> bytes:
    """A function's result in its canonical form. `unresolved`: as in `values.decode`.

    Raises:
        ReturnsValidationError, InvalidValueError, LimitError
    """
    if len(data) > limits.result_size_bytes_max:
        raise LimitError(
            f"Function {function.path} return value is too large (actual: {len(data)} bytes, "
            f"limit: {limits.result_size_bytes_max} bytes). Return less, or paginate.",
            code="ResultTooLarge",
        )
    try:
        value = decode(data, unresolved=unresolved)
        function.check_result(value)
        return encode(value)
    except InvalidValueError as error:
        text = f"`{function.path}` returned something that cannot be sent: {error.message}"
        raise InvalidValueError(text, code=error.code) from None
    except DeveloperError as error:
        raise ReturnsValidationError(f"ReturnsValidationError: {error.message}") from None
