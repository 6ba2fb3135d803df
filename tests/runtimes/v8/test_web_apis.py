"""Web APIs in queries, mutations and actions: the matrix of section 10 of the runtime's spec.

`app/web.ts` has a check for each thing; a row here names the globals of an area and their checks.
"""

from typing import NamedTuple

import pytest

pytestmark = pytest.mark.node


class Area(NamedTuple):
    globals: tuple[str, ...]
    checks: tuple[str, ...]


AREAS = {
    "core": Area(
        ("self", "process", "Convex", "console", "structuredClone", "WeakRef"),
        ("self", "clone", "noClone", "weakRef", "waits"),
    ),
    "time": Area(
        (
            *("Date", "setTimeout", "setInterval", "clearTimeout", "clearInterval"),
            *("Performance", "PerformanceEntry", "PerformanceMark", "PerformanceMeasure"),
            "performance",
        ),
        ("measures",),
    ),
    "URL": Area(
        ("URL", "URLSearchParams"), ("url", "urlParts", "badUrl", "params", "parsedParams")
    ),
    "crypto": Area(
        ("crypto", "Crypto", "SubtleCrypto", "CryptoKey"),
        (
            *("digest", "hmac", "pbkdf2", "hkdf", "keysHaveOnePurpose", "noRsaKey", "aes"),
            *("aesModes", "ed25519", "ecdsaIsVerified", "x25519", "deriveKey", "jwkOfASecret"),
            *("secretsStay", "unknownAlgorithm", "randomValues", "wrapKey", "wrapsJwk"),
        ),
    ),
    "DOM": Area(
        ("DOMException", "Event", "EventTarget", "AbortController", "AbortSignal"),
        ("domException", "events", "customEvents", "abort", "anySignal"),
    ),
    "async context": Area(("AsyncLocalStorage", "AsyncResource"), ("asyncStorage",)),
    "streams": Area(
        (
            *("ReadableStream", "ReadableStreamBYOBReader", "ReadableStreamDefaultReader"),
            *("TransformStream", "WritableStream", "WritableStreamDefaultWriter"),
            *("TextDecoderStream", "TextEncoderStream"),
        ),
        (
            *("streamIsRead", "streamFails", "streamIsCanceled", "streamIsIterated"),
            *("streamIsSplit", "bytesIntoAView", "streamIsWritten", "writingFails"),
            *("streamsArePiped", "pipesEnd", "textStreams"),
        ),
    ),
    "encoding": Area(
        ("TextEncoder", "TextDecoder", "atob", "btoa"),
        ("text", "textStream", "fatal", "encodings", "base64", "badBase64"),
    ),
    "files": Area(
        ("Blob", "File", "FormData"),
        ("blob", "file", "form", "formBody", "formInResponse", "urlEncodedForm", "noForm"),
    ),
    "fetch": Area(
        ("Headers", "Request", "Response", "fetch"),
        (
            *("headers", "badHeader", "request", "response", "badStatus", "responseError"),
            *("redirect", "bodiesAreStreams", "aBodyIsReadOnce"),
        ),
    ),
    "absent": Area((), ("absent",)),
}
KINDS = {"query": "", "mutation": "InMutation", "action": "InAction"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_global_is_there(server, kind):
    names = [name for area in AREAS.values() for name in area.globals]
    assert server.value(kind, f"web:absent{KINDS[kind]}", names=names) == []


@pytest.mark.parametrize("kind", KINDS)
def test_everything_does_what_it_should(server, kind):
    """Each check is true, or says what was wrong."""
    seen = server.value(kind, f"web:apis{KINDS[kind]}")
    assert {name: outcome for name, outcome in seen.items() if outcome is not True} == {}


def test_every_check_has_its_row(server):
    checks = [name for area in AREAS.values() for name in area.checks]
    assert sorted(checks) == sorted(server.query("web:apis"))


def test_what_would_need_true_randomness_is_refused(server):
    """Making keys, and signatures that take randomness."""
    assert "Can't use cryptographic randomness" in server.failure("query", "messages:generatesKey")


def test_a_multipart_form_is_read_in_actions_alone(server):
    """The reference parses it outside JavaScript, and only for actions."""
    assert server.action("web:formInAction") == ["1", "f.txt", "text/plain", "xyz"]
    for kind in ("query", "mutation"):
        failure = server.failure(kind, f"web:form{KINDS[kind]}")
        assert "Can't use formData() in queries and mutations" in failure
