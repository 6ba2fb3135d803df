"""The keys that providers sign with: fetched when needed, kept while good, one refresh at a time.

    state of a source        a token with a known key       a token with another key, or none
    no keys yet              wait for a refresh             wait for a refresh
    fresh                    at once                        wait for a refresh, if the last is
                                                            `key_set_refetch_s` ago; else refused
    past its freshness       wait for a refresh; should it fail, the keys go on serving until
                             `key_set_stale_s` after they were fetched: a provider that is down
                             logs nobody out

Whoever needs a refresh while one runs joins it. After a failure the next comes no sooner than
`key_set_refetch_s` later, so neither strangers' tokens nor an outage make us a flood.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import logging
import urllib.parse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import orjson

from cupola.auth.fetching import Answer, Fetch, Fetched
from cupola.auth.providers import JwtProvider, OidcProvider, Provider
from cupola.clock import Clock
from cupola.errors import BadRequestError, CupolaError, UnauthenticatedError
from cupola.limits import Limits

_LOG = logging.getLogger("cupola")
_KEYS_MAX = 100
_FRESH_S_MAX = 24 * 3600.0
_JWKS_MEDIA_TYPES = ("application/json", "application/jwk-set+json")


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """A public key. `algorithm` is the only one it may be used with, where its set says so."""

    kid: str | None
    algorithm: str | None
    kind: str
    key: Any


@dataclasses.dataclass(frozen=True, slots=True)
class KeySet:
    """`issuer`: as the provider's discovery document says; None where there is none."""

    keys: tuple[Key, ...]
    issuer: str | None = None
    max_age_s: float | None = None

    def fitting(self, algorithm: str, kid: str | None) -> list[Key]:
        """The keys that may have made a signature; at most one unless `kid` is None."""
        kind = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}.get(algorithm)
        return [
            key
            for key in self.keys
            if key.kind == kind
            and key.algorithm in (None, algorithm)
            and (kid is None or key.kid == kid)
        ]


Found = Callable[["KeySet | CupolaError"], None]


class InBackground(Protocol):
    """Runs what may wait somewhere else, and answers on the caller's thread."""

    def __call__(self, work: Callable[[], KeySet], answer: Answer[KeySet], /) -> None: ...


class KeySource:
    """The keys of one provider. Belongs to the thread of its backend."""

    def __init__(
        self,
        provider: Provider,
        clock: Clock,
        limits: Limits,
        fetch: Fetch,
        in_background: InBackground,
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._limits = limits
        self._fetch = fetch
        self._in_background = in_background
        self._keys: KeySet | None = None
        self._fetched_ns = 0
        self._fresh_until_ns = 0
        self._tried_ns: int | None = None
        self._failure: CupolaError | None = None
        self._waiting: list[Found] | None = None  # None: no refresh runs
        if isinstance(provider, JwtProvider) and provider.jwks.startswith("data:"):
            self._in_background = _at_once

    def find(self, algorithm: str, kid: str | None, found: Found) -> None:
        """Hand over the key set in which a key should be, at once or after a refresh."""
        keys = self._keys
        is_fresh = self._clock.monotonic_ns() < self._fresh_until_ns
        if keys is not None and is_fresh and keys.fitting(algorithm, kid):
            found(keys)
        elif self._may_refresh():
            self._refresh(found)
        else:
            found(self._fallback())

    def _may_refresh(self) -> bool:
        if self._waiting is not None or self._tried_ns is None:
            return True
        ago_ns = self._clock.monotonic_ns() - self._tried_ns
        return ago_ns >= self._limits.key_set_refetch_s * 1e9

    def _fallback(self) -> KeySet | CupolaError:
        """What serves when no refresh is possible now: the keys unless they are too old."""
        age_ns = self._clock.monotonic_ns() - self._fetched_ns
        if self._keys is not None and (
            self._failure is None or age_ns < self._limits.key_set_stale_s * 1e9
        ):
            return self._keys
        assert self._failure is not None
        return self._failure

    def _refresh(self, found: Found) -> None:
        if self._waiting is not None:
            self._waiting.append(found)
            return
        self._waiting = [found]
        self._tried_ns = self._clock.monotonic_ns()
        try:
            self._in_background(partial(fetch_keys, self._provider, self._fetch), self._refreshed)
        except BaseException:
            self._waiting = None
            raise

    def _refreshed(self, result: KeySet | CupolaError) -> None:
        now_ns = self._clock.monotonic_ns()
        if isinstance(result, KeySet):
            self._keys, self._failure, self._fetched_ns = result, None, now_ns
            max_age_s = result.max_age_s
            fresh_s = self._limits.key_set_fresh_s if max_age_s is None else max_age_s
            fresh_s = min(max(fresh_s, self._limits.key_set_refetch_s), _FRESH_S_MAX)
            self._fresh_until_ns = now_ns + int(fresh_s * 1e9)
        else:
            self._failure = result
            _LOG.warning("%s", result.message)
        waiting, self._waiting = self._waiting or [], None
        answer = self._fallback()
        for found in waiting:
            try:
                found(answer)
            except Exception:  # a bug in what one does with it: the others still have to hear
                _LOG.exception("The answer about a user's token could not be delivered")


def _at_once(work: Callable[[], KeySet], answer: Answer[KeySet]) -> None:
    """For keys that nobody has to wait for."""
    try:
        keys: KeySet | CupolaError = work()
    except CupolaError as error:
        keys = error
    answer(keys)


def fetch_keys(provider: Provider, fetch: Fetch) -> KeySet:
    """A provider's keys, now.

    Raises:
        CupolaError: They cannot be had.
    """
    if isinstance(provider, OidcProvider):
        return _discover(provider, fetch)
    if provider.jwks.startswith("data:"):
        return _key_set(_data_of(provider.jwks), "its `data:` URI")
    fetched = fetch(provider.jwks)
    if fetched.media_type not in _JWKS_MEDIA_TYPES:
        raise _bad_keys(f"{provider.jwks} has the media type {fetched.media_type}")
    return _key_set(fetched.data, provider.jwks, max_age_s=fetched.max_age_s)


def _discover(provider: OidcProvider, fetch: Fetch) -> KeySet:
    url = provider.domain.rstrip("/") + "/.well-known/openid-configuration"
    try:
        document = orjson.loads(fetch(url).data)
    except orjson.JSONDecodeError:
        document = None
    match document:
        case {"issuer": str(issuer), "jwks_uri": str(jwks_uri)}:
            pass
        case _:
            raise _discovery_failed(f"{url} is no object with `issuer` and `jwks_uri`")
    scheme = urllib.parse.urlsplit(jwks_uri).scheme
    if scheme != "https" and (scheme != "http" or provider.domain.startswith("https:")):
        raise _discovery_failed(f"{url} names keys at {jwks_uri[:200]!r}")
    fetched: Fetched = fetch(jwks_uri)
    return _key_set(fetched.data, jwks_uri, issuer, fetched.max_age_s)


def _key_set(
    data: bytes, where: str, issuer: str | None = None, max_age_s: float | None = None
) -> KeySet:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise _bad_keys(f"{where} is no JWK set")
    return KeySet(tuple(_usable(listed[:_KEYS_MAX])), issuer, max_age_s)


def _usable(listed: Sequence[Any]) -> list[Key]:
    """Public keys for signatures; what we do not know, providers may list for others."""
    from joserfc import jwk  # slow to load, and most deployments never need it
    from joserfc.errors import JoseError

    keys = []
    for each in listed:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        if each.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            key = jwk.import_key(each)
            _ = key.public_key
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        kid, algorithm = each.get("kid"), each.get("alg")
        keys.append(
            Key(
                kid if isinstance(kid, str) else None,
                algorithm if isinstance(algorithm, str) else None,
                each["kty"],
                key,
            )
        )
    return keys


def _data_of(uri: str) -> bytes:
    """What a `data:` URI holds, whatever media type it claims."""
    head, _, body = uri.partition(",")
    data = urllib.parse.unquote_to_bytes(body)
    if not head.endswith(";base64"):
        return data
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error:
        raise _bad_keys("its `data:` URI is no base64") from None


def _bad_keys(why: str) -> UnauthenticatedError:
    return UnauthenticatedError(
        f"The auth provider's keys make no sense: {why}.", code="InvalidAuthHeader"
    )


def _discovery_failed(why: str) -> BadRequestError:
    return BadRequestError(
        f"The auth provider cannot be discovered: {why}.", code="AuthProviderDiscoveryFailed"
    )
