"""The outcome of one query execution, in the form in which sessions send it.

An outcome is made once per execution and shared by every session that shows it; so everything that
does not depend on the session is encoded here, once: a session adds its query id and the two
versions. The value is never copied but into the frame itself.
"""

import hashlib
import re
from typing import Final

from cupola.sync.messages import encode_text, error_data_field

_REQUEST_ID: Final = re.compile(r"\A\[Request ID: [^\]]*\] ?")

_DIGEST_BYTES: Final = 32
_UPDATED: Final = b'{"type":"QueryUpdated","queryId":'
_FAILED: Final = b'{"type":"QueryFailed","queryId":'


def redacted_text(message: str) -> str:
    """The first line of a failure's text: `[Request ID: …] Server Error`."""
    return message.partition("\n")[0]


class QueryOutcome:
    """A query's value or failure. Make one with `success` or `failure`; it never changes.

    Attributes:
        ok: Whether the query returned.
        body: Encoded JSON: the value, or the error message as a JSON string.
        error_message: The error text, None for a value.
        error_data: Encoded JSON of an application error's data, else None.
        log_lines: Encoded JSON array of strings.
        journal: What the next execution of this query must be given, opaque.
        digest: Equal for outcomes that a client need not be told apart (the sync protocol, rule
            5.5): value or error, error data and log lines count; the request id inside an error
            text does not, nor does the journal.
        redacted: The outcome as a redacting deployment shows it (the sync protocol, section 8):
            without log lines and without the text of an error, but with its data.
        opening, middle, closing: A modification is opening + query id + middle + body + closing.
    """

    __slots__ = (
        "_digest",
        "_redacted",
        "body",
        "closing",
        "error_data",
        "error_message",
        "journal",
        "log_lines",
        "middle",
        "ok",
        "opening",
    )

    def __init__(
        self,
        *,
        ok: bool,
        body: bytes,
        error_message: str | None,
        error_data: bytes | None,
        log_lines: bytes,
        journal: str | None,
    ) -> None:
        self.ok = ok
        self.body = body
        self.error_message = error_message
        self.error_data = error_data
        self.log_lines = log_lines
        self.journal = journal
        self.opening = _UPDATED if ok else _FAILED
        self.middle = b',"value":' if ok else b',"errorMessage":'
        self.closing = b',"logLines":%b,"journal":%b%b}' % (
            log_lines,
            b"null" if journal is None else encode_text(journal),
            error_data_field(error_data),
        )
        self._digest: bytes | None = None
        self._redacted: QueryOutcome | None = None

    @classmethod
    def success(
        cls, value: bytes, *, log_lines: bytes = b"[]", journal: str | None = None
    ) -> "QueryOutcome":
        """`value` and `log_lines` are encoded JSON; `journal` is what the execution left behind."""
        return cls(
            ok=True,
            body=value,
            error_message=None,
            error_data=None,
            log_lines=log_lines,
            journal=journal,
        )

    @classmethod
    def failure(
        cls,
        error_message: str,
        *,
        error_data: bytes | None = None,
        log_lines: bytes = b"[]",
        journal: str | None = None,
    ) -> "QueryOutcome":
        """`error_data` (encoded JSON) only for application errors: clients go by its presence."""
        return cls(
            ok=False,
            body=encode_text(error_message),
            error_message=error_message,
            error_data=error_data,
            log_lines=log_lines,
            journal=journal,
        )

    @property
    def digest(self) -> bytes:
        """Computed when somebody compares: what is asked once is compared with nothing."""
        if self._digest is None:
            if self.error_message is None:
                compared = hashlib.sha256(self.body)
            else:
                text = _REQUEST_ID.sub("", self.error_message, count=1)
                compared = hashlib.sha256(encode_text(text))
            # Encoded JSON holds no NUL, so the parts cannot run into each other.
            rest = (self.opening, self.log_lines, self.error_data or b"")
            compared.update(b"\0%b\0%b\0%b" % rest)
            self._digest = compared.digest()
        return self._digest

    @property
    def redacted(self) -> "QueryOutcome":
        if self.ok and self.log_lines == b"[]":
            return self
        if self._redacted is None:
            if self.error_message is None:
                self._redacted = QueryOutcome.success(self.body, journal=self.journal)
            else:
                self._redacted = QueryOutcome.failure(
                    redacted_text(self.error_message),
                    error_data=self.error_data,
                    journal=self.journal,
                )
        return self._redacted

    @property
    def value(self) -> bytes | None:
        """The value as encoded JSON, None for a failure."""
        return self.body if self.ok else None

    @property
    def size_bytes(self) -> int:
        """What the outcome holds in memory, but for the objects around the bytes."""
        return len(self.body) + len(self.closing) + len(self.log_lines) + _DIGEST_BYTES

    def modification(self, query_id: int) -> bytes:
        """The modification of a Transition that shows this outcome."""
        return b"".join((self.opening, b"%d" % query_id, self.middle, self.body, self.closing))

    def __repr__(self) -> str:
        shown = self.body if len(self.body) <= 60 else self.body[:57] + b"..."
        return (
            f"QueryOutcome({'updated' if self.ok else 'failed'}, {shown.decode(errors='replace')})"
        )
