"""A deployment's name and secret, made once and kept beside its data."""

import dataclasses
import os
from pathlib import Path

from cupola.auth.admin_keys import SECRET_BYTES, AdminKeys
from cupola.clock import Clock, SystemClock
from cupola.errors import ConfigurationError

DEFAULT_INSTANCE_NAME = "convex-self-hosted"


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """Whoever has these can issue admin keys."""

    instance_name: str
    instance_secret: bytes = dataclasses.field(repr=False)

    def admin_keys(self, clock: Clock | None = None) -> AdminKeys:
        return AdminKeys(self.instance_name, self.instance_secret, clock)


def load_or_create_credentials(
    folder: Path,
    name: str | None = None,
    secret: str | None = None,
    *,
    clock: Clock | None = None,
) -> Credentials:
    """The credentials in `folder/credentials`, as the reference lays them out; made if missing.

    Args:
        name, secret: Explicit values, `secret` in hexadecimal. They replace what is stored, so that
            every command that looks at this folder agrees with the server.

    Raises:
        ConfigurationError: The secret is no 32 bytes in hexadecimal, or the folder cannot be used.
    """
    place = folder / "credentials"
    clock = clock or SystemClock()
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        stored_name = _stored(place / "instance_name")
        stored_secret = _stored(place / "instance_secret")
        name = name or stored_name or DEFAULT_INSTANCE_NAME
        secret = secret or stored_secret or clock.random_bytes(SECRET_BYTES).hex()
        credentials = Credentials(name, _secret_bytes(secret, place))
        credentials.admin_keys()  # refuses what no key could be made for, before it is stored
        if name != stored_name:
            _write_private(place / "instance_name", name)
        if secret != stored_secret:
            _write_private(place / "instance_secret", secret)
    except OSError as error:
        raise ConfigurationError(
            f"The credentials in {place} cannot be read or written: {error.strerror}."
        ) from error
    return credentials


def _stored(file: Path) -> str | None:
    return file.read_text().strip() if file.exists() else None


def _write_private(file: Path, text: str) -> None:
    """Replace the file whole, readable by its owner alone from the first moment."""
    temporary = file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as output:
        output.write(text + "\n")
        output.flush()
        os.fsync(output.fileno())
    temporary.replace(file)


def _secret_bytes(text: str, place: Path) -> bytes:
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise ConfigurationError(
            f"The instance secret must be {2 * SECRET_BYTES} hexadecimal digits; "
            f"give another, or remove {place / 'instance_secret'} to have one made."
        )
    return secret
