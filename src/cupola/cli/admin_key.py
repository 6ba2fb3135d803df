"""`cupola admin-key`: keys are made from the deployment's name and secret, without a server."""

import json
from pathlib import Path

from cupola.auth import AdminKeys, Credentials, load_or_create_credentials
from cupola.errors import ConfigurationError


def print_key(
    data: Path,
    instance_name: str | None,
    instance_secret: str | None,
    *,
    read_only: bool,
    as_json: bool,
) -> None:
    """Raises: ConfigurationError: There is no secret to make a key from."""
    keys = admin_keys_for(data, instance_name, instance_secret)
    key = keys.issue(read_only)
    if as_json:
        facts = {"adminKey": key, "instanceName": keys.instance_name, "readOnly": read_only}
        print(json.dumps(facts))
    else:
        print(key)


def admin_keys_for(data: Path, instance_name: str | None, instance_secret: str | None) -> AdminKeys:
    """Keys for a name and a secret; what is not given is taken from the data folder, unchanged."""
    if instance_name is not None and instance_secret is not None:
        try:
            return AdminKeys(instance_name, bytes.fromhex(instance_secret))
        except ValueError:
            raise ConfigurationError("--instance-secret must be 64 hexadecimal digits.") from None
    stored = stored_credentials(data)
    if stored is None:
        raise ConfigurationError(
            f"{data} holds no credentials yet. Start a server on it once, name another folder with "
            "--data, or give --instance-name and --instance-secret."
        )
    secret = stored.instance_secret.hex() if instance_secret is None else instance_secret
    return admin_keys_for(data, instance_name or stored.instance_name, secret)


def stored_credentials(data: Path) -> Credentials | None:
    """What a server stored in the data folder, if one has ever used it."""
    if not (data / "credentials" / "instance_secret").exists():
        return None
    return load_or_create_credentials(data)
