"""Who a call runs as, and what the app may see of them."""

import dataclasses
import hashlib
from typing import Any, Literal

import orjson

from cupola.errors import BadRequestError, InvalidValueError
from cupola.values import Value, encode

Kind = Literal["anonymous", "user", "admin"]

# The standard attributes of a user (the HTTP API, section 8.4); every other key is a custom claim.
_TEXTS = frozenset(
    {
        *("tokenIdentifier", "subject", "issuer", "name", "givenName", "familyName", "nickname"),
        *("preferredUsername", "profileUrl", "pictureUrl", "websiteUrl", "email", "gender"),
        *("birthday", "timezone", "language", "phoneNumber", "address", "updatedAt"),
    }
)
_FLAGS = frozenset({"emailVerified", "phoneNumberVerified"})
_NESTING_MAX = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where a call came from: the client's address, what its `User-Agent` says, and the token that
    proved the user. None: there is none, or nobody knows.
    """

    ip: str | None = None
    user_agent: str | None = None
    token: str | None = dataclasses.field(default=None, repr=False)


NOWHERE = Origin()
"""Of what the deployment does by itself: scheduled functions, cron jobs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """The caller of a function.

    `attributes` is what `ctx.auth.get_user_identity()` returns; an admin has some only while acting
    as a user. `key` is the admin key as it was given, so that a long session can verify it again.
    `expires_ns` (since the Unix epoch) is when the token that proved it stops to.
    `cache_key` is equal for equal identities, whatever token proved them; b"" for nobody.
    `origin` is no part of who it is: equal identities come from anywhere.
    """

    kind: Kind
    attributes: dict[str, Value] | None = None
    read_only: bool = False
    key: str | None = dataclasses.field(default=None, compare=False, repr=False)
    cache_key: bytes = dataclasses.field(default=b"", compare=False, repr=False)
    expires_ns: int | None = dataclasses.field(default=None, compare=False, repr=False)
    origin: Origin = dataclasses.field(default=NOWHERE, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind != "anonymous" and not self.cache_key:
            object.__setattr__(self, "cache_key", self._digest())

    @property
    def may_call_internal(self) -> bool:
        return self.kind == "admin"

    def seen_from(self, origin: Origin) -> "Identity":
        """The same caller, as it came from there."""
        attributes, cache_key = self.attributes, self.cache_key  # `replace` takes thrice as long
        return Identity(
            self.kind, attributes, self.read_only, self.key, cache_key, self.expires_ns, origin
        )

    def without_user(self) -> "Identity":
        """Nobody, from the same place: how components see the app's users."""
        return ANONYMOUS if self.origin is NOWHERE else ANONYMOUS.seen_from(self.origin)

    def _digest(self) -> bytes:
        kind = f"{self.kind} {'read-only' if self.read_only else 'full'} ".encode()
        return hashlib.sha256(kind + encode(self.attributes)).digest()


ANONYMOUS = Identity("anonymous")


def acting_as(admin: Identity, attributes_json: bytes) -> Identity:
    """The admin, seen by the app as the user that `attributes_json` describes.

    The JSON object has the shape of the HTTP API, section 8.4: standard attributes with their
    types, anything else a custom claim; `tokenIdentifier` follows from `issuer` and `subject`.

    Raises:
        BadRequestError (InvalidUserIdentity): No such object.
    """
    if admin.kind != "admin":
        raise _bad_attributes("only an admin may act as a user")
    try:
        tree = orjson.loads(attributes_json)
    except orjson.JSONDecodeError as error:
        raise _bad_attributes(f"they are no JSON: {error}") from None
    if not isinstance(tree, dict):
        raise _bad_attributes("they are no JSON object")
    try:
        attributes = {name: _value(name, item) for name, item in tree.items() if item is not None}
    except InvalidValueError as error:
        raise _bad_attributes(error.message) from None
    if "tokenIdentifier" not in attributes:
        match attributes:
            case {"issuer": str(issuer), "subject": str(subject)}:
                attributes["tokenIdentifier"] = f"{issuer}|{subject}"
            case _:
                raise _bad_attributes("give `tokenIdentifier`, or both `issuer` and `subject`")
    try:
        return Identity("admin", attributes, admin.read_only, admin.key)
    except InvalidValueError as error:
        raise _bad_attributes(error.message) from None


def _value(name: str, item: Any) -> Value:
    if name in _TEXTS and not isinstance(item, str):
        raise _bad_attributes(f"`{name}` is no string")
    if name in _FLAGS and not isinstance(item, bool):
        raise _bad_attributes(f"`{name}` is neither true nor false")
    return with_floats(item)


def with_floats(item: Any, depth: int = 0) -> Value:
    """Plain JSON as values: every number of JavaScript is a float64.

    Raises:
        InvalidValueError: It is nested far deeper than any value.
    """
    if depth > _NESTING_MAX:
        raise InvalidValueError(f"there are more than {_NESTING_MAX} levels of nesting")
    match item:
        case bool() | None | str() | float():
            return item
        case int():
            return float(item)
        case list():
            return [with_floats(element, depth + 1) for element in item]
        case _:
            return {name: with_floats(element, depth + 1) for name, element in item.items()}


def _bad_attributes(reason: str) -> BadRequestError:
    return BadRequestError(
        f"The attributes of the user to act as make no sense: {reason}.", code="InvalidUserIdentity"
    )
