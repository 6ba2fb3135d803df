"""Which client is calling: the `Convex-Client` header and the version in a sync URL."""

import dataclasses
import re
from functools import lru_cache

from cupola.errors import BadRequestError

# https://semver.org, section "Is there a suggested regular expression".
_SEMVER = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})"
    r"(-(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)
_LENGTH_MAX = 256
_CHUNKED_SINCE = (1, 28, 0)
_ENCODED_BY_DEFAULT_BEFORE = {
    "npm": (1, 4, 1),
    "npm-cli": (1, 4, 1),
    "actions": (1, 4, 1),
    "python": (0, 5, 0),
}

# Major, minor, patch, and whether it is a release: a pre-release comes before it.
Release = tuple[int, int, int, bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Client:
    """Name and version as sent; `release` is None where the version is no semantic one."""

    name: str
    version: str
    release: Release | None

    @property
    def understands_chunks(self) -> bool:
        """Whether `TransitionChunk` may be sent: any other client breaks on an unknown message."""
        return self.name == "npm" and self._is_at_least(_CHUNKED_SINCE)

    @property
    def expects_encoded(self) -> bool:
        """Whether an answer without a wanted format is encoded JSON, as in the early days."""
        limit = _ENCODED_BY_DEFAULT_BEFORE.get(self.name)
        return limit is not None and not self._is_at_least(limit)

    def _is_at_least(self, release: tuple[int, int, int]) -> bool:
        return self.release is None or self.release >= (*release, True)


UNKNOWN_CLIENT = Client("unknown", "unknown", None)


@lru_cache(maxsize=256)
def parse_client(header: str) -> Client:
    """`<name>-<version>`: the name ends before the longest suffix that is a semantic version.

    Raises:
        BadRequestError (InvalidClientVersion): No `-` at all, or too long.
    """
    if "-" not in header or len(header) > _LENGTH_MAX:
        raise _bad_version(header)
    position = header.find("-")
    while position >= 0:
        if match := _SEMVER.fullmatch(header, position + 1):
            return Client(header[:position], header[position + 1 :], _release(match))
        position = header.find("-", position + 1)
    name, _, version = header.rpartition("-")
    return Client(name, version, None)


@lru_cache(maxsize=256)
def client_of_sync_version(version: str) -> Client:
    """The client behind `/api/<version>/sync`, which only the npm package calls.

    Raises:
        BadRequestError (InvalidClientVersion): No semantic version.
    """
    match = _SEMVER.fullmatch(version) if len(version) <= _LENGTH_MAX else None
    if match is None:
        raise _bad_version(version)
    return Client("npm", version, _release(match))


def _release(match: re.Match[str]) -> Release:
    major, minor, patch, pre_release = match.groups()
    return (int(major), int(minor), int(patch), pre_release is None)


def _bad_version(text: str) -> BadRequestError:
    return BadRequestError(
        f"{text[:80]!r} names no client version; send `<client name>-<semantic version>`.",
        code="InvalidClientVersion",
    )
