"""Admin keys in the reference's own two formats (the HTTP API, section 7.1).

A key reads `<deployment name>|<secret part>`; the secret part is lower-case hex of a version byte,
a nonce and a sealed protobuf message that says for which deployment, when and with which rights it
was issued. Nothing about a key is stored: whoever has the deployment's secret can issue and verify.

    generation   sealed with                              key                          nonce
    current      AES-128-GCM-SIV, version byte bound in   KBKDF-CTR-HMAC-SHA256        12 bytes
    older        NaCl secretbox                           the secret itself            24 bytes

The first is issued; both verify. The derivation is one block with a 32-bit counter in front and the
bare label behind it, so the key is the first half of HMAC-SHA256(secret, 00000001 || label).
"""

import hashlib
import hmac
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from cupola.auth.identity import Identity
from cupola.clock import Clock, SystemClock
from cupola.errors import ConfigurationError, UnauthenticatedError
from cupola.values.ids import leb128

SECRET_BYTES = 32
_VERSION = b"\x01"
_LABEL = b"admin key"
_NONCE_BYTES = 12
_OLDER_NONCE_BYTES = 24
_TAG_BYTES = 16
_SECRET_PART = re.compile(r"(?:[0-9a-f]{2}){17,512}")
_VERIFIED_MAX = 256

# Fields of the sealed message, and the wire types of protobuf.
_INSTANCE_NAME, _ISSUED_S, _MEMBER_ID, _IS_READ_ONLY = 1, 2, 3, 5
_VARINT, _BYTES = 0, 2


class AdminKeys:
    """Issues and verifies the admin keys of one deployment."""

    def __init__(
        self, instance_name: str, instance_secret: bytes, clock: Clock | None = None
    ) -> None:
        if len(instance_secret) != SECRET_BYTES:
            raise ConfigurationError(
                f"The instance secret has {len(instance_secret)} bytes; "
                f"it needs {SECRET_BYTES}, as {2 * SECRET_BYTES} hexadecimal digits."
            )
        if not instance_name or "|" in instance_name:
            raise ConfigurationError(
                f"{instance_name!r} cannot name a deployment: it stands before the `|` of a key."
            )
        self.instance_name = instance_name
        self.secret = instance_secret
        self._clock = clock or SystemClock()
        derived = hmac.digest(instance_secret, b"\x00\x00\x00\x01" + _LABEL, hashlib.sha256)
        self._current = AESGCMSIV(derived[:16])
        self._verified: dict[str, Identity] = {}  # keys never expire, so a good one stays good

    def issue(self, read_only: bool = False) -> str:
        """A new key of the current generation, with the deployment's name in front."""
        message = _message(self.instance_name, self._clock.now_ns() // 10**9, read_only)
        nonce = self._clock.random_bytes(_NONCE_BYTES)
        sealed = self._current.encrypt(nonce, message, _VERSION)
        return f"{self.instance_name}|{(_VERSION + nonce + sealed).hex()}"

    def verify(self, text: str) -> Identity:
        """The identity behind a key, `name|secret part` or the secret part alone.

        Raises:
            UnauthenticatedError (BadAdminKey): Damaged, or sealed for another deployment.
        """
        if (known := self._verified.get(text)) is not None:
            return known
        prefix, separator, secret_part = text.rpartition("|")
        name = _name_in(prefix) if separator else None
        if name not in (None, self.instance_name) or not _SECRET_PART.fullmatch(secret_part):
            raise _bad_key()
        data = bytes.fromhex(secret_part)
        message = self._open(data) if data[:1] == _VERSION else None
        if message is None:
            raise _bad_key()
        identity = Identity("admin", read_only=self._is_read_only(message), key=text)
        if len(self._verified) >= _VERIFIED_MAX:
            self._verified.clear()
        self._verified[text] = identity
        return identity

    def _open(self, data: bytes) -> bytes | None:
        """The sealed message, by whichever generation opens it."""
        try:
            nonce, sealed = data[1 : 1 + _NONCE_BYTES], data[1 + _NONCE_BYTES :]
            if len(sealed) >= _TAG_BYTES:
                return self._current.decrypt(nonce, sealed, _VERSION)
        except InvalidTag:
            pass
        if len(data) <= 1 + _OLDER_NONCE_BYTES + _TAG_BYTES:
            return None
        import nacl.exceptions  # rarely needed, and slow to load
        import nacl.secret

        try:
            return nacl.secret.SecretBox(self.secret).decrypt(data[1:])
        except nacl.exceptions.CryptoError:
            return None

    def _is_read_only(self, message: bytes) -> bool:
        """The rights the message grants, once it is certain that it is meant for us."""
        try:
            fields = _fields(message)
        except (ValueError, IndexError):
            raise _bad_key() from None
        if fields.get(_INSTANCE_NAME, self.instance_name.encode()) != self.instance_name.encode():
            raise _bad_key()
        if not fields.get(_ISSUED_S):
            raise _bad_key()
        return bool(fields.get(_IS_READ_ONLY))


def _bad_key() -> UnauthenticatedError:
    return UnauthenticatedError(
        "The provided admin key was invalid for this instance. "
        "`cupola admin-key` prints a valid one.",
        code="BadAdminKey",
    )


def _name_in(prefix: str) -> str | None:
    """The deployment's name in what stands before the `|`; None where tools put something else.

    They write `prod:name`, `dev:name`, and for keys of no single deployment `preview:team:project`
    or `project:…`.
    """
    kind, separator, rest = prefix.partition(":")
    if not separator:
        return prefix
    return None if kind in ("preview", "project") else rest


def _message(name: str, issued_s: int, read_only: bool) -> bytes:
    encoded = name.encode()
    message = _tag(_INSTANCE_NAME, _BYTES) + leb128(len(encoded)) + encoded
    message += _tag(_ISSUED_S, _VARINT) + leb128(issued_s)
    message += _tag(_MEMBER_ID, _VARINT) + leb128(0)
    if read_only:
        message += _tag(_IS_READ_ONLY, _VARINT) + leb128(1)
    return message


def _fields(message: bytes) -> dict[int, int | bytes]:
    """A protobuf message as {field number: number or bytes}; the last of equal fields wins.

    Raises: ValueError or IndexError for what is no such message.
    """
    fields: dict[int, int | bytes] = {}
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        match tag & 7:
            case 0:
                fields[tag >> 3], position = _read_varint(message, position)
            case 2:
                length, position = _read_varint(message, position)
                fields[tag >> 3] = message[position : position + length]
                position += length
            case 1:
                position += 8
            case 5:
                position += 4
            case unknown:
                raise ValueError(f"wire type {unknown}")
    if position != len(message):
        raise ValueError("the message ends inside a field")
    return fields


def _tag(field: int, wire_type: int) -> bytes:
    return leb128(field << 3 | wire_type)


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise ValueError("a number of more than ten bytes")
