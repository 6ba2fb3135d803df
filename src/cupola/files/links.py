"""URLs of files, and URLs for uploading them.

A file is served under a UUID that cannot be guessed and that nothing has to store: the 16 bytes of
its document id, enciphered (AES, one block) under a key of the deployment. A document id therefore
is no URL, and a URL says nothing about ids. Another instance secret makes other URLs.

An upload URL holds a sealed token (AES-GCM-SIV, RFC 8452) with the moment at which it expires, and
the component whose file it will be.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import uuid
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from cupola.errors import UnauthenticatedError
from cupola.values import decode_id, encode_id

DEFAULT_ORIGIN: Final = "http://127.0.0.1:3210"
FILES_PATH: Final = "/api/storage/"
UPLOAD_PATH: Final = "/api/storage/upload"

_NONCE: Final = bytes(12)  # equal moments may give equal tokens, which that mode allows
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class FileLinks:
    """Makes and reads the URLs of one deployment. `origin`: where clients find its API."""

    def __init__(self, secret: bytes, table: int, origin: str = "") -> None:
        self.origin = origin
        self._table = table
        key = hashlib.sha256(b"cupola file" + secret).digest()[:16]
        self._block = Cipher(algorithms.AES(key), modes.ECB())  # one block: no mode is needed
        self._sealer = AESGCMSIV(hashlib.sha256(b"cupola upload" + secret).digest()[:16])

    def file_url(self, document_id: str) -> str:
        _, internal = decode_id(document_id)
        encryptor = self._block.encryptor()
        name = uuid.UUID(bytes=encryptor.update(internal) + encryptor.finalize())
        return f"{self.origin or DEFAULT_ORIGIN}{FILES_PATH}{name}"

    def document_id(self, name: str) -> str | None:
        """The id behind the last part of a file's URL; None if the text is no UUID. Any UUID gives
        an id: whether there is such a document shows whether it was made here.
        """
        if not _UUID.fullmatch(name):
            return None
        decryptor = self._block.decryptor()
        internal = decryptor.update(uuid.UUID(name).bytes) + decryptor.finalize()
        return encode_id(self._table, internal)

    def upload_url(self, expires_ns: int, component: str = "") -> str:
        said = expires_ns.to_bytes(8, "big") + component.encode()
        sealed = self._sealer.encrypt(_NONCE, said, None)
        token = base64.urlsafe_b64encode(sealed).decode().rstrip("=")
        return f"{self.origin or DEFAULT_ORIGIN}{UPLOAD_PATH}?token={token}"

    def check_upload_token(self, token: str, now_ns: int) -> str:
        """Whose file is uploaded with it: a component's, or the app's ("").

        Raises:
        UnauthenticatedError: Not made here (InvalidStorageToken), or too old
        (StorageTokenExpired).
        """
        try:
            padded = token + "=" * (-len(token) % 4)
            sealed = base64.b64decode(padded, altchars=b"-_", validate=True)
            opened = self._sealer.decrypt(_NONCE, sealed, None)
        except (InvalidTag, binascii.Error, ValueError):
            raise UnauthenticatedError(
                "This upload URL was not made here; get one from `storage.generate_upload_url()`.",
                code="InvalidStorageToken",
            ) from None
        if int.from_bytes(opened[:8], "big") < now_ns:
            raise UnauthenticatedError(
                "This upload URL has expired; get another one.", code="StorageTokenExpired"
            )
        return opened[8:].decode()
