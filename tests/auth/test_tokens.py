"""Tokens of users: which are accepted, which are not, and how often their keys are fetched."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cupola.auth import JwtProvider, OidcProvider
from cupola.errors import OperatorError
from cupola.limits import Limits

from ..identity_provider import SigningKey
from .conftest import Verifying

_KEY = SigningKey("signs")
DISCOVERY = "/.well-known/openid-configuration"


def b64(tree) -> str:
    return base64.urlsafe_b64encode(json.dumps(tree).encode()).rstrip(b"=").decode()


@pytest.fixture
def oidc(verifying, identity_provider):
    """A verifier that trusts the provider by discovery."""
    verifying.verifier.use([OidcProvider(identity_provider.issuer, "web-client")])
    return verifying


@pytest.fixture
def token(oidc, identity_provider):
    """`token(**claims)`, signed by the provider's newest key, at the time of the test's clock."""
    return lambda subject="ada", **more: identity_provider.token(subject, oidc.now_s, **more)


# ----------------------------------------------------------------------------------- what is good


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_token_of_a_discovered_provider_proves_who_calls(
    oidc, identity_provider, token, algorithm
):
    identity_provider.rotate(algorithm)
    identity = oidc.identity(token(name="Ada", email="ada@example.com", email_verified=True))
    assert identity.kind == "user"
    assert identity.attributes == {
        "tokenIdentifier": f"{identity_provider.issuer}|ada",
        "issuer": identity_provider.issuer,
        "subject": "ada",
        "name": "Ada",
        "email": "ada@example.com",
        "emailVerified": True,
    }
    assert identity.expires_ns == (int(oidc.now_s) + 3600) * 10**9
    assert not identity.may_call_internal


def test_keys_are_fetched_once_and_a_token_verified_once(oidc, identity_provider, token):
    first = oidc.identity(token())
    assert oidc.identity(token()) == first
    assert oidc.identity(token("bob")) != first
    assert identity_provider.requests == [DISCOVERY, "/jwks.json"]


def test_tokens_that_differ_in_volatile_claims_only_share_cached_results(oidc, token):
    one = oidc.identity(token(jti="1", role="admin"))
    oidc.clock.advance(5)
    two = oidc.identity(token(jti="2", role="admin", nbf=int(oidc.now_s)))
    other = oidc.identity(token(jti="2", role="guest"))
    assert one.cache_key == two.cache_key != other.cache_key


def test_a_key_without_kid_will_do_if_it_is_the_only_one(oidc, identity_provider, token):
    claims = identity_provider.claims("ada", oidc.now_s)
    assert oidc.identity(identity_provider.key.sign(claims, kid=None)).kind == "user"
    identity_provider.keys.append(SigningKey("second"))
    oidc.clock.advance(3600)
    claims = identity_provider.claims("ada", oidc.now_s)
    assert "needs a `kid`" in oidc.error(identity_provider.key.sign(claims, kid=None)).message


# ------------------------------------------------------------------------------------ what is not


@pytest.mark.parametrize(
    "claims, code",
    [
        ({"aud": "another-app"}, "NoAuthProvider"),
        ({"aud": None}, "NoAuthProvider"),
        ({"iss": "https://somebody.example"}, "NoAuthProvider"),
        ({"aud": ["web-client", "another-app"]}, "Unauthenticated"),
        ({"exp": 1_600_000_000}, "Unauthenticated"),
        ({"exp": None}, "InvalidAuthHeader"),
        ({"exp": "tomorrow"}, "InvalidAuthHeader"),
        ({"exp": 1e30}, "InvalidAuthHeader"),
        ({"nbf": 1_700_003_000}, "InvalidAuthHeader"),
        ({"sub": None}, "InvalidAuthHeader"),
        ({"iss": None}, "InvalidAuthHeader"),
    ],
)
def test_wrong_claims_are_refused(oidc, token, claims, code):
    error = oidc.error(token(**claims))
    assert error.code == code
    assert error.http_status == 401


@pytest.mark.parametrize(
    "text", ["", "a.b", "a.b.c", "....", f"{b64([])}.{b64({})}.x", f"{b64({})}.{b64({})}.", "é.é.é"]
)
def test_what_is_no_token_at_all_is_refused(oidc, text):
    assert oidc.error(text).code == "InvalidAuthHeader"


def test_a_token_larger_than_the_limit_is_not_even_read(oidc, token):
    error = oidc.error(token(filler="x" * oidc.limits.token_bytes_max))
    assert "token_bytes_max" in error.message


def test_a_signature_by_another_key_is_refused(oidc, identity_provider):
    """The same kid, the same claims, another private key."""
    forger = SigningKey(identity_provider.key.kid)
    forged = forger.sign(identity_provider.claims("ada", oidc.now_s))
    assert oidc.error(forged).code == "InvalidAuthHeader"


def test_no_signature_and_no_symmetric_one_is_accepted(oidc, identity_provider, token):
    """The classic two: `none`, and the public key used as the secret of an HMAC."""
    _, claims, signature = token().split(".")
    for algorithm in ("none", "HS256"):
        header = b64({"alg": algorithm, "kid": identity_provider.key.kid})
        for end in ("", signature):
            assert oidc.error(f"{header}.{claims}.{end}").code == "InvalidAuthHeader"
    assert identity_provider.requests == []


def test_changed_claims_break_the_signature(oidc, identity_provider, token):
    header, _, signature = token().split(".")
    claims = b64(identity_provider.claims("root", oidc.now_s))
    assert "signature" in oidc.error(f"{header}.{claims}.{signature}").message


def test_an_issuer_that_discovery_does_not_confirm_is_refused(oidc, identity_provider, token):
    identity_provider.discovered_issuer = "https://somebody.example"
    assert oidc.error(token()).code == "Unauthenticated"


def test_without_a_provider_every_token_is_refused(verifying, identity_provider):
    error = verifying.error(identity_provider.token("ada", verifying.now_s))
    assert error.code == "NoAuthProvider"
    assert identity_provider.issuer in error.message


def test_a_remembered_token_expires_all_the_same(oidc, token):
    text = token(exp=int(oidc.now_s) + 60)
    assert oidc.identity(text).kind == "user"
    oidc.clock.advance(60)
    assert oidc.error(text).code == "Unauthenticated"


# ----------------------------------------------------------------------------------- custom JWTs


@pytest.fixture
def custom(verifying, identity_provider):
    """A verifier that trusts whoever signs with the keys at a URL, for any audience."""
    identity_provider.rotate("ES256")
    provider = JwtProvider(identity_provider.issuer, identity_provider.jwks_url, "ES256")
    verifying.verifier.use([provider])
    return verifying


def test_a_custom_jwt_shows_its_claims_under_their_own_names(custom, identity_provider):
    claims = {"email": "ada@example.com", "given_name": "Ada", "a": {"b": 1, "c": {"d": [2]}}}
    identity = custom.identity(identity_provider.token("ada", custom.now_s, **claims))
    assert identity.attributes == {
        "tokenIdentifier": f"{identity_provider.issuer}|ada",
        "issuer": identity_provider.issuer,
        "subject": "ada",
        "email": "ada@example.com",
        "given_name": "Ada",
        "a.b": 1.0,
        "a.c.d": [2.0],
    }
    assert identity_provider.requests == ["/jwks.json"]


def test_a_custom_jwt_needs_its_algorithm_and_a_kid(custom, identity_provider):
    claims = identity_provider.claims("ada", custom.now_s)
    assert "algorithm" in custom.error(SigningKey("k", "RS256").sign(claims)).message
    assert "kid" in custom.error(identity_provider.key.sign(claims, kid=None)).message
    assert "no such key" in custom.error(SigningKey("k", "ES256").sign(claims)).message


def test_a_custom_jwt_has_five_seconds_of_leeway(custom, identity_provider):
    now_s = int(custom.now_s)
    assert custom.identity(identity_provider.token("ada", now_s, exp=now_s - 4)).kind == "user"
    assert custom.error(identity_provider.token("ada", now_s, exp=now_s - 6)).code
    assert custom.identity(identity_provider.token("bob", now_s, nbf=now_s + 4)).kind == "user"


def test_an_application_id_must_be_among_the_audiences_of_a_custom_jwt(
    verifying, identity_provider
):
    keys = f"data:text/plain;charset=utf-8;base64,{b64(identity_provider.key_set())}"
    verifying.verifier.use([JwtProvider(identity_provider.issuer, keys, "RS256", "web")])

    def token(**claims):
        return identity_provider.token("ada", verifying.now_s, **claims)

    assert verifying.identity(token(aud=["other", "web"])).kind == "user"
    assert verifying.error(token(aud="other")).code == "NoAuthProvider"
    assert verifying.error(token(aud=None)).code == "NoAuthProvider"
    assert identity_provider.requests == []  # the keys stood in the declaration


@pytest.mark.parametrize("keys", ["data:;base64,%%%", "data:,[]", "data:,{}", "data:nonsense"])
def test_keys_that_make_no_sense_refuse_every_token(verifying, identity_provider, keys):
    verifying.verifier.use([JwtProvider(identity_provider.issuer, keys, "RS256")])
    error = verifying.error(identity_provider.token("ada", verifying.now_s))
    assert error.code == "InvalidAuthHeader"
    assert "keys make no sense" in error.message


def test_keys_come_with_the_media_type_of_keys(custom, identity_provider):
    identity_provider.media_type = "text/html"
    error = custom.error(identity_provider.token("ada", custom.now_s))
    assert "text/html" in error.message


# --------------------------------------------------------------------------- rotation and outages


def test_a_rotated_key_is_fetched_when_it_is_first_met(oidc, identity_provider, token):
    oidc.identity(token())
    oidc.clock.advance(oidc.limits.key_set_refetch_s)
    old_key = identity_provider.key
    identity_provider.rotate()

    assert oidc.identity(token("bob")).kind == "user"
    assert len(identity_provider.requests) == 4

    retired = old_key.sign(identity_provider.claims("eve", oidc.now_s))
    assert "no such key" in oidc.error(retired).message


def test_unknown_keys_cause_one_fetch_in_a_while(oidc, identity_provider, token):
    """A stranger with a heap of made-up tokens does not make us a flood for the provider."""
    oidc.identity(token())
    oidc.clock.advance(oidc.limits.key_set_refetch_s)
    claims = identity_provider.claims("ada", oidc.now_s)
    stranger = SigningKey("nobody's")
    for number in range(20):
        forged = stranger.sign({**claims, "n": number})
        assert oidc.error(forged).code == "InvalidAuthHeader"
    assert len(identity_provider.requests) == 4


def test_many_who_need_the_keys_wait_for_one_refresh(oidc, identity_provider, token):
    oidc.holds = True
    answers = [oidc.ask(token(f"user {number}")) for number in range(10)]
    assert answers == [[]] * 10
    (fetch,) = oidc.waiting
    fetch()
    assert [answer[0].attributes["subject"] for answer in answers] == [
        f"user {number}" for number in range(10)
    ]
    assert len(identity_provider.requests) == 2


def test_a_provider_that_is_down_logs_nobody_out(oidc, identity_provider, token):
    """Past their freshness keys are fetched again; if that fails they serve on, for a day."""
    oidc.identity(token())
    identity_provider.status = 503
    oidc.clock.advance(oidc.limits.key_set_fresh_s)
    assert oidc.identity(token()).kind == "user"
    oidc.clock.advance(oidc.limits.key_set_stale_s)
    assert isinstance(oidc.error(token()), OperatorError)
    identity_provider.status = 200
    oidc.clock.advance(oidc.limits.key_set_refetch_s)
    assert oidc.identity(token()).kind == "user"


def test_a_failure_is_not_tried_again_at_once(oidc, identity_provider, token):
    identity_provider.status = 500
    for _ in range(5):
        error = oidc.error(token())
        assert error.code == "AuthProviderDiscoveryFailed"
        assert isinstance(error, OperatorError)
    assert identity_provider.requests == [DISCOVERY]
    identity_provider.status = 404
    oidc.clock.advance(oidc.limits.key_set_refetch_s)
    assert oidc.error(token()).http_status == 400


def test_how_long_keys_stay_fresh_is_the_providers_to_say(oidc, identity_provider, token):
    identity_provider.cache_control = "public, max-age=120, must-revalidate"
    oidc.identity(token("one"))
    oidc.clock.advance(119)
    oidc.identity(token("two"))
    assert len(identity_provider.requests) == 2
    oidc.clock.advance(1)
    oidc.identity(token("three"))
    assert len(identity_provider.requests) == 4


def test_a_provider_that_never_answers_is_given_up(identity_provider):
    verifying = Verifying(Limits(key_set_fetch_s=0.1))
    verifying.verifier.use([OidcProvider(identity_provider.issuer, "web-client")])
    identity_provider.gate.clear()
    error = verifying.error(identity_provider.token("ada", verifying.now_s))
    assert isinstance(error, OperatorError)


def test_a_document_beyond_the_limit_is_not_read(verifying, identity_provider):
    large = f"{identity_provider.issuer}/large.json"
    verifying.verifier.use([JwtProvider(identity_provider.issuer, large, "RS256")])
    error = verifying.error(identity_provider.token("ada", verifying.now_s))
    assert "key_set_bytes_max" in error.message


# ------------------------------------------------------------------------- the rest of a verifier


def test_other_providers_leave_the_keys_of_those_that_stay(oidc, identity_provider, token):
    text = token()
    oidc.identity(text)
    provider = OidcProvider(identity_provider.issuer, "web-client")
    oidc.verifier.use([OidcProvider("https://other.example", "web"), provider])
    assert oidc.identity(text).kind == "user"
    assert len(identity_provider.requests) == 2
    oidc.verifier.use([])
    assert oidc.error(text).code == "NoAuthProvider"


def test_remembered_tokens_are_bounded(identity_provider):
    verifying = Verifying(Limits(tokens_remembered_max=3))
    verifying.verifier.use([OidcProvider(identity_provider.issuer, "web-client")])
    for number in range(10):
        verifying.identity(identity_provider.token(f"user {number}", verifying.now_s))
    assert len(verifying.verifier._verified) == 3


def test_tokens_of_the_deployment_need_no_provider(verifying):
    now_ns = verifying.clock.now_ns()
    text = verifying.session_tokens.issue("ada", {"name": "Ada", "role": "admin"}, 60, now_ns)
    identity = verifying.identity(text)
    assert identity.attributes == {
        "tokenIdentifier": "cupola|ada",
        "issuer": "cupola",
        "subject": "ada",
        "name": "Ada",
        "role": "admin",
    }
    verifying.clock.advance(60)
    assert verifying.error(text).code == "Unauthenticated"


def test_a_token_of_another_deployment_is_refused(verifying):
    from cupola.auth import SessionTokens

    stranger = SessionTokens(b"x" * 32)
    text = stranger.issue("ada", {}, 60, verifying.clock.now_ns())
    assert verifying.error(text).code == "InvalidAuthHeader"


# -------------------------------------------------------------------------------------- anything


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(deadline=None)  # other work on the machine makes it slow at times
@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "x"]), _json),
    claims=st.dictionaries(st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "x"]), _json),
    signature=st.text(max_size=8),
)
def test_whatever_somebody_writes_down_is_refused_with_words(header, claims, signature):
    """No made-up token is accepted, and none is more than a client's mistake."""
    verifying = Verifying()
    issuer = "https://issuer.example"
    keys = f"data:,{json.dumps({'keys': [_KEY.public()]})}"
    verifying.verifier.use([JwtProvider(issuer, keys, "RS256"), JwtProvider(issuer, keys, "ES256")])
    claims = {"iss": issuer, "sub": "ada", "exp": 2_000_000_000, **claims}
    header = {"alg": "RS256", "kid": _KEY.kid, **header}
    for more in ({}, {"iss": "cupola"}):
        text = f"{b64(header)}.{b64({**claims, **more})}.{signature}"
        assert verifying.error(text).http_status == 401


@settings(deadline=None)
@given(text=st.text(max_size=200))
def test_no_text_is_a_token(text):
    assert Verifying().error(text).code in ("InvalidAuthHeader", "NoAuthProvider")


@settings(deadline=None)
@given(position=st.integers(0, 10_000), character=st.sampled_from("AZaz09-_.="))
def test_no_changed_character_goes_unnoticed(position, character):
    """In a signed token, any other character makes it another token, which nobody has signed."""
    verifying = Verifying()
    keys = f"data:,{json.dumps({'keys': [_KEY.public()]})}"
    verifying.verifier.use([JwtProvider("https://issuer.example", keys, "RS256")])
    claims = {"iss": "https://issuer.example", "sub": "ada", "exp": 2_000_000_000}
    text = _KEY.sign(claims)
    assert verifying.identity(text).kind == "user"
    position %= len(text) - 1  # the last character has bits that say nothing
    changed = text[:position] + character + text[position + 1 :]
    if changed != text:
        assert verifying.error(changed).http_status == 401
