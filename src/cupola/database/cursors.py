"""Pagination cursors and journals: sealed positions in an index.

A cursor is deterministic (the same position gives the same text, so results cache), tamper-evident,
and bound to the shape of its query by a fingerprint. Sealing is AES-GCM-SIV (RFC 8452) with a fixed
nonce, which that mode allows where equal plaintexts may give equal texts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from cupola.errors import InvalidCursorError

_NONCE: Final = bytes(12)
_FINGERPRINT_BYTES: Final = 16

END: Final = b""
"""The position behind the last document: no index key is empty."""


def fingerprint(*parts: bytes | str) -> bytes:
    """What a query plan looks like, in 16 bytes: everything but where it starts and ends."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.digest()[:_FINGERPRINT_BYTES]


class CursorSealer:
    """Turns positions into texts and back, for one deployment."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCMSIV(hashlib.sha256(b"cupola cursor" + secret).digest()[:16])

    def seal(self, position: bytes, plan: bytes) -> str:
        """`position`: the index key a page ended at, or END."""
        sealed = self._cipher.encrypt(_NONCE, plan + position, None)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, text: str, plan: bytes) -> bytes:
        """The position behind a cursor or journal.

        Raises:
            InvalidCursorError: Not made here, changed, or made by another query.
        """
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            opened = self._cipher.decrypt(_NONCE, sealed, None)
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise InvalidCursorError(
                f"InvalidCursor: Failed to parse cursor {text[:40]!r}; start again from null."
            ) from error
        if opened[:_FINGERPRINT_BYTES] != plan:
            raise InvalidCursorError(
                "InvalidCursor: the cursor is of another query: its table, index, range, order "
                "or filter differ. Start again from null."
            )
        return opened[_FINGERPRINT_BYTES:]
