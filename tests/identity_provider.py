"""An identity provider of our own: a real HTTP server, real keys, and what goes wrong with both."""

from __future__ import annotations

import functools
import http.server
import json
import threading
import time
import urllib.parse
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

_KINDS: dict[str, Any] = {
    "RS256": lambda: RSAKey.generate_key(2048),
    "ES256": lambda: ECKey.generate_key("P-256"),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
}


class SigningKey:
    """A private key, and the tokens it signs."""

    def __init__(self, kid: str, algorithm: str = "RS256") -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.key = _KINDS[algorithm]()

    def public(self) -> dict[str, Any]:
        """As it stands in a JWK set."""
        public = self.key.as_dict(private=False)
        return {**public, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        head = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, **header}
        head = {name: value for name, value in head.items() if value is not None}
        registry = jws.JWSRegistry(algorithms=[self.algorithm], strict_check_header=False)
        return jws.serialize_compact(head, json.dumps(claims), self.key, registry=registry)


@functools.cache
def _first_key() -> SigningKey:
    """Making one takes a while, and it is the same in every test that does not rotate."""
    return SigningKey("first")


class IdentityProvider:
    """OpenID Connect's discovery and key set on a port of this machine; and, for programs that want
    one, a good token as JSON text at `/token?subject=ada&lifetime=3600`, further claims after that.

    `status` and `media_type` are what it answers with; `requests` are the paths it was asked for;
    while `gate` is clear, it lets callers wait.
    """

    def __init__(self, audience: str = "web-client") -> None:
        self.audience = audience
        self.keys = [_first_key()]
        self.status = 200
        self.media_type = "application/json"
        self.cache_control: str | None = None
        self.discovered_issuer: str | None = None
        self.requests: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        handler = type("Handler", (_Handler,), {"provider": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def jwks_url(self) -> str:
        return f"{self.issuer}/jwks.json"

    @property
    def key(self) -> SigningKey:
        """The one that signs now: the newest."""
        return self.keys[-1]

    def key_set(self) -> dict[str, Any]:
        return {"keys": [key.public() for key in self.keys]}

    def rotate(self, algorithm: str = "RS256") -> SigningKey:
        """Sign with a new key from now on; the old ones are gone."""
        self.keys = [SigningKey(f"key {time.monotonic_ns()}", algorithm)]
        return self.key

    def claims(
        self, subject: str = "ada", now_s: float | None = None, **more: Any
    ) -> dict[str, Any]:
        """Those of a good token; a claim given as None is left out."""
        now_s = time.time() if now_s is None else now_s
        claims = {
            "iss": self.issuer,
            "sub": subject,
            "aud": self.audience,
            "iat": int(now_s),
            "exp": int(now_s) + 3600,
            **more,
        }
        return {name: claim for name, claim in claims.items() if claim is not None}

    def token(self, subject: str = "ada", now_s: float | None = None, **more: Any) -> str:
        return self.key.sign(self.claims(subject, now_s, **more))

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    provider: IdentityProvider

    def do_GET(self) -> None:
        provider = self.provider
        provider.requests.append(self.path)
        provider.gate.wait(30)
        match self.path:
            case "/.well-known/openid-configuration":
                issuer = provider.discovered_issuer or provider.issuer
                answer: Any = {"issuer": issuer, "jwks_uri": provider.jwks_url}
            case "/jwks.json":
                answer = provider.key_set()
            case path if path.startswith("/token?"):
                wants = dict(urllib.parse.parse_qsl(path.partition("?")[2]))
                lifetime_s = int(wants.pop("lifetime", "3600"))
                expires_s = int(time.time()) + lifetime_s
                answer = provider.token(exp=expires_s, jti=str(time.monotonic_ns()), **wants)
            case "/large.json":
                answer = {"keys": [], "more": "x" * 2_000_000}
            case _:
                self.send_error(404)
                return
        body = json.dumps(answer).encode()
        self.send_response(provider.status)
        self.send_header("Content-Type", provider.media_type)
        self.send_header("Content-Length", str(len(body)))
        if provider.cache_control is not None:
            self.send_header("Cache-Control", provider.cache_control)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
