"""Passwords and tokens: what is kept of them is enough to recognize them, and for nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# RFC 9106's choice for limited memory: 64 MiB and about 50 ms for each. Two at a time, so that a
# crowd that signs in waits instead of filling the memory.
_HASHER = PasswordHasher()
_CONCURRENT_MAX = 2
_running: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}


async def hash_of_password(password: str) -> str:
    """The text to keep, with a salt of its own."""
    async with _turn():
        return await asyncio.to_thread(_HASHER.hash, password)


async def is_password(password: str, stored: str | None) -> bool:
    """Whether this is the password. Takes as long if there is none, to tell nobody who exists."""
    async with _turn():
        if stored is None:
            await asyncio.to_thread(_HASHER.hash, password)
            return False
        try:
            return await asyncio.to_thread(_HASHER.verify, stored, password)
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    """Whether it was made with weaker parameters than those of today."""
    return _HASHER.check_needs_rehash(stored)


def new_secret(prefix: str) -> str:
    """A refresh token or an API key: 256 random bits."""
    return prefix + secrets.token_urlsafe(32)


def hash_of_secret(secret: str) -> str:
    """Long and random as it is, a plain hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _turn() -> asyncio.Semaphore:
    loop = asyncio.get_running_loop()
    for other in [each for each in _running if each.is_closed()]:
        del _running[other]
    return _running.setdefault(loop, asyncio.Semaphore(_CONCURRENT_MAX))
