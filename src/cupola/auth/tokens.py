"""Users' tokens: JSON Web Tokens, checked against the providers an app has declared.

    text ── read, unverified ── first provider of its issuer and audience ── that provider's keys
         ── signature (joserfc) ── issuer, audience, time ── Identity, remembered until it expires

Follows the HTTP API, sections 8.2 and 8.3. The keys may have to be fetched first, so `verify`
answers through a callback; with keys at hand it does so before it returns.
"""

from __future__ import annotations

import asyncio
import binascii
import collections
import dataclasses
import hashlib
import warnings
from base64 import urlsafe_b64decode
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson

from cupola.auth.claims import jwt_attributes, oidc_attributes
from cupola.auth.fetching import Fetch, fetch, on_a_thread
from cupola.auth.identity import Identity
from cupola.auth.key_sets import InBackground, Key, KeySet, KeySource
from cupola.auth.providers import JwtProvider, OidcProvider, Provider, is_same_issuer
from cupola.auth.session_tokens import API_KEY_PREFIX, SessionTokens
from cupola.clock import Clock
from cupola.errors import CupolaError, InvalidValueError, OverloadedError, UnauthenticatedError
from cupola.limits import Limits

ExchangeApiKey = Callable[[str, Callable[["str | CupolaError"], None]], None]
Identified = Callable[["Identity | CupolaError"], None]

_OIDC_ALGORITHMS = ("RS256", "ES256", "EdDSA")
_JWT_LEEWAY_S = 5.0
_NOT_BEFORE_LEEWAY_S = 5.0
_FETCHES = 2  # discovery and key set
_SCHEDULING_S = 1.0
_TIME_MAX_S = 1e11  # beyond any clock; what is larger is no time in seconds
_HEADER_BYTES_MAX = 8192


@dataclasses.dataclass(frozen=True, slots=True)
class ReadToken:
    """A token's header and claims, as somebody has written them: nothing is verified."""

    text: str
    algorithm: str
    kid: str | None
    claims: dict[str, Any]

    @property
    def issuer(self) -> str:
        return str(self.claims["iss"])

    @property
    def audiences(self) -> list[Any]:
        audience = self.claims.get("aud")
        return audience if isinstance(audience, list) else [audience]


class TokenVerifier:
    """Says whose a token is. Belongs to the thread of its backend."""

    def __init__(
        self,
        clock: Clock,
        limits: Limits,
        session_tokens: SessionTokens,
        *,
        fetch_document: Fetch | None = None,
        in_background: InBackground | None = None,
    ) -> None:
        """`session_tokens`: those of the deployment itself, good without any provider."""
        self._clock = clock
        self._limits = limits
        self._session_tokens = session_tokens
        self._fetch = fetch_document or partial(
            fetch, timeout_s=limits.key_set_fetch_s, size_bytes_max=limits.key_set_bytes_max
        )
        self._in_background = in_background or partial(
            on_a_thread, timeout_s=_FETCHES * limits.key_set_fetch_s + _SCHEDULING_S
        )
        self._sources: dict[Provider, KeySource] = {}
        self._verified: collections.OrderedDict[bytes, Identity] = collections.OrderedDict()
        self._running = 0
        self.exchange_api_key: ExchangeApiKey | None = None
        """Set by whoever knows the app's API keys."""

    @property
    def providers(self) -> list[Provider]:
        return list(self._sources)

    def use(self, providers: Sequence[Provider]) -> None:
        """Accept the tokens of these providers from now on; of those known already, keep the keys.

        Identities proven before stay with the connections that proved them.
        """
        if list(self._sources) == list(dict.fromkeys(providers)):
            return
        if providers:
            import joserfc.jws  # noqa: F401  takes 0.1 s: now, and not while somebody waits
            from joserfc.errors import SecurityWarning

            warnings.filterwarnings("ignore", category=SecurityWarning)  # the name `EdDSA`
        known = self._sources
        self._sources = {
            provider: known.get(provider)
            or KeySource(provider, self._clock, self._limits, self._fetch, self._in_background)
            for provider in providers
        }
        self._verified.clear()

    def verify(self, text: str, identified: Identified) -> None:
        """Call `identified` once, with the user's identity or the reason why it is none.

        The reasons: UnauthenticatedError with the codes InvalidAuthHeader, Unauthenticated and
        NoAuthProvider; BadRequestError and OperatorError (AuthProviderDiscoveryFailed), the second
        if the same token may well be good a little later.
        """
        is_short = len(text) <= self._limits.token_bytes_max
        if is_short and text.startswith(API_KEY_PREFIX) and self.exchange_api_key is not None:
            self._verify_api_key(text, identified)
            return
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        try:
            known = self._remembered(digest)
            if known is not None:
                identified(known)
                return
            token = read_token(text, self._limits.token_bytes_max)
            if self._session_tokens.issued(token.issuer):
                identity = self._session_tokens.verify(text, self._clock.now_ns())
                self._remember(digest, identity)
                identified(identity)
                return
            provider = self._provider_of(token)
            _require_usable(token, provider)
        except CupolaError as error:
            identified(error)
            return
        self._verify_with_keys(digest, token, provider, identified)

    async def identify(self, text: str) -> Identity:
        """`verify` for those who can wait. Raises: the reason why nobody is identified."""
        waiting: asyncio.Future[Identity | CupolaError] | None = None
        results: list[Identity | CupolaError] = []

        def identified(result: Identity | CupolaError) -> None:
            results.append(result)
            if waiting is not None and not waiting.done():
                waiting.set_result(result)

        self.verify(text, identified)
        if not results:
            waiting = asyncio.get_running_loop().create_future()
            await waiting
        result = results[0]
        if isinstance(result, CupolaError):
            raise result
        return result

    # ---------------------------------------------------------------- inside

    def _verify_api_key(self, key: str, identified: Identified) -> None:
        def exchanged(token: str | CupolaError) -> None:
            if isinstance(token, CupolaError):
                identified(token)
            else:
                self.verify(token, identified)

        assert self.exchange_api_key is not None
        self.exchange_api_key(key, exchanged)

    def _remembered(self, digest: bytes) -> Identity | None:
        identity = self._verified.get(digest)
        if identity is None:
            return None
        if is_expired(identity, self._clock.now_ns()):
            del self._verified[digest]
            return None
        self._verified.move_to_end(digest)
        return identity

    def _remember(self, digest: bytes, identity: Identity) -> None:
        self._verified[digest] = identity
        if len(self._verified) > self._limits.tokens_remembered_max:
            self._verified.popitem(last=False)

    def _provider_of(self, token: ReadToken) -> Provider:
        """The first of the token's issuer and audience."""
        for provider in self._sources:
            audience = provider.audience
            if (audience is None or audience in token.audiences) and is_same_issuer(
                provider.issuer, token.issuer
            ):
                return provider
        configured = ", ".join(
            f"{each.issuer} (audience {each.audience or 'any'})" for each in self._sources
        )
        raise UnauthenticatedError(
            "No auth provider found matching the given token: its issuer is "
            f"{token.issuer[:200]!r}, its audience {token.claims.get('aud')!r:.200}. "
            + (f"Configured: {configured}." if configured else "This deployment has none."),
            code="NoAuthProvider",
        )

    def _verify_with_keys(
        self, digest: bytes, token: ReadToken, provider: Provider, identified: Identified
    ) -> None:
        if self._running >= self._limits.tokens_remembered_max:
            identified(
                OverloadedError(
                    f"{self._running} tokens wait for an auth provider's keys already.",
                    code="TooManyConcurrentRequests",
                )
            )
            return

        def found(keys: KeySet | CupolaError) -> None:
            self._running -= 1
            try:
                if isinstance(keys, CupolaError):
                    raise keys
                identity = verified(token, provider, keys, self._clock.now_ns())
            except CupolaError as error:
                identified(error)
                return
            if provider in self._sources:
                self._remember(digest, identity)
            identified(identity)

        self._running += 1
        self._sources[provider].find(token.algorithm, token.kid, found)


def is_expired(identity: Identity, now_ns: int) -> bool:
    return identity.expires_ns is not None and now_ns >= identity.expires_ns


# ------------------------------------------------------------------------------------- one token


def read_token(text: str, size_bytes_max: int) -> ReadToken:
    """Take a token apart.

    Raises:
        UnauthenticatedError (InvalidAuthHeader): It is no JWT, or says not whose it is.
    """
    if len(text) > size_bytes_max:
        raise _invalid(f"it has more than {size_bytes_max} bytes (the limit token_bytes_max)")
    parts = text.split(".")
    if len(parts) != 3:
        raise _invalid("a JWT has three parts")
    header, claims = _json_object(parts[0]), _json_object(parts[1])
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise _invalid("its header names no algorithm")
    if "crit" in header:  # RFC 7515, 4.1.11: extensions that must be understood; we know none
        raise _invalid("its header needs extensions that are not known here")
    for name in ("iss", "sub"):
        if not isinstance(claims.get(name), str):
            raise _invalid(f"it has no text as `{name}`")
    return ReadToken(text, algorithm, kid if isinstance(kid, str) else None, claims)


def _json_object(part: str) -> dict[str, Any]:
    try:
        decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
        tree = orjson.loads(decoded)
    except (binascii.Error, ValueError):
        raise _invalid("its parts are no base64 of JSON") from None
    if not isinstance(tree, dict):
        raise _invalid("its parts are no JSON objects")
    return tree


def _require_usable(token: ReadToken, provider: Provider) -> None:
    """Refuse without any key what no key could make good."""
    match provider:
        case OidcProvider():
            if token.algorithm not in _OIDC_ALGORITHMS:
                raise _invalid(f"its algorithm is none of {', '.join(_OIDC_ALGORITHMS)}")
        case JwtProvider():
            if token.algorithm != provider.algorithm:
                raise _invalid(f"its algorithm is not {provider.algorithm}")
            if token.kid is None:
                raise _invalid("its header has no `kid`")


def verified(token: ReadToken, provider: Provider, keys: KeySet, now_ns: int) -> Identity:
    """The identity that a token proves, now.

    Raises:
        UnauthenticatedError: Its signature, issuer, audience or time is wrong.
    """
    _check_signature(token, keys)
    leeway_s = 0.0
    if isinstance(provider, OidcProvider):
        if token.issuer != keys.issuer:
            raise _unverified(f"its issuer is not {keys.issuer}")
        if len(token.audiences) != 1:
            raise _unverified("it is meant for several audiences")
    else:
        leeway_s = _JWT_LEEWAY_S
    expires_ns = _expiry(token, leeway_s)
    if now_ns >= expires_ns:
        text = "it has expired"
        raise _unverified(text) if isinstance(provider, OidcProvider) else _invalid(text)
    not_before = _time(token, "nbf")
    if not_before is not None and now_ns < (not_before - _NOT_BEFORE_LEEWAY_S) * 1e9:
        raise _invalid("it is not valid yet")
    map_claims = oidc_attributes if isinstance(provider, OidcProvider) else jwt_attributes
    try:
        return Identity("user", map_claims(token.claims), expires_ns=expires_ns)
    except InvalidValueError as error:
        raise _invalid(f"its claims are no value: {error.message}") from None


def _check_signature(token: ReadToken, keys: KeySet) -> None:
    from joserfc import jws
    from joserfc.errors import JoseError

    candidates: list[Key] = keys.fitting(token.algorithm, token.kid)
    if len(candidates) != 1:
        raise _invalid("its provider has no such key" if not candidates else "it needs a `kid`")
    registry = jws.JWSRegistry(algorithms=[token.algorithm], strict_check_header=False)
    registry.max_header_length = _HEADER_BYTES_MAX
    try:
        jws.deserialize_compact(token.text, candidates[0].key, registry=registry)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):  # the header is anybody's
        raise _invalid("its signature is wrong") from None


def _expiry(token: ReadToken, leeway_s: float) -> int:
    expires_s = _time(token, "exp")
    if expires_s is None:
        raise _invalid("it has no `exp`")
    return int((expires_s + leeway_s) * 1e9)


def _time(token: ReadToken, name: str) -> float | None:
    """Seconds since 1970, or None where the token says none."""
    value = token.claims.get(name)
    if value is None:
        return None
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value < _TIME_MAX_S
    ):
        raise _invalid(f"its `{name}` is no time in seconds")
    return value


def _invalid(why: str) -> UnauthenticatedError:
    return UnauthenticatedError(f"Could not parse the token: {why}.", code="InvalidAuthHeader")


def _unverified(why: str) -> UnauthenticatedError:
    return UnauthenticatedError(
        f"Could not verify OIDC token claim: {why}.", code="Unauthenticated"
    )
