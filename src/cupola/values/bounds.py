"""The limits of values and names that this process keeps to.

One process serves one deployment, so they are the process's: whoever sets it up, a Backend or a
worker, calls `use_limits` once. The hottest loops of all read them as constants of their modules;
`follow` keeps those up to date. What is not so hot reads `in_force()`.
"""

from collections.abc import Callable

from cupola.errors import ConfigurationError
from cupola.limits import DEFAULT_LIMITS, Limits

NESTING_POSSIBLE_MAX = 200
"""Levels of a value that the JSON library and Python's stack bear with room to spare."""

_in_force = DEFAULT_LIMITS
_followers: list[Callable[[Limits], None]] = []


def in_force() -> Limits:
    """The limits this process keeps to: the defaults until `use_limits` is called."""
    return _in_force


def use_limits(limits: Limits) -> None:
    """Keep to these limits from now on. What is stored already stays readable.

    Raises:
        ConfigurationError: A limit that this program cannot keep its promises with.
    """
    global _in_force
    for name in ("value_nesting_max", "document_nesting_max"):
        if getattr(limits, name) > NESTING_POSSIBLE_MAX:
            raise ConfigurationError(
                f"{name} can be {NESTING_POSSIBLE_MAX} at most, not {getattr(limits, name)}."
            )
    if limits == _in_force:
        return
    _in_force = limits
    for follower in _followers:
        follower(limits)


def follow(follower: Callable[[Limits], None]) -> Callable[[Limits], None]:
    """Call the decorated function now, and whenever other limits are in force."""
    follower(_in_force)
    _followers.append(follower)
    return follower
