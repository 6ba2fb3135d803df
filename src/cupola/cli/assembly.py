"""From settings to a deployment that can be served.

    credentials and log of the data folder -> Backend -> workers -> the app's code

`Backend` installs the determinism guard, so the app is imported after it.
"""

import os
from pathlib import Path

from cupola.auth import load_or_create_credentials
from cupola.backend import Backend
from cupola.cli.settings import FILES_FOLDER, Settings
from cupola.deploy import Deployer
from cupola.errors import ConfigurationError, PersistenceError
from cupola.files.opening import open_store
from cupola.functions.app import PACKAGE, App, load_app
from cupola.persistence.sqlite import SqlitePersistence
from cupola.server.origins import TRUSTED_BY_DEFAULT
from cupola.server.serve import ServerOptions


def open_backend(settings: Settings) -> Backend:
    """A deployment on its data folder, without code yet.

    Raises:
        ConfigurationError: The credentials cannot be used.
        PersistenceError: The log is in use, damaged, or cannot be written.
    """
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PersistenceError(
            f"{settings.data} cannot be made ({error.strerror}). Choose another --data folder."
        ) from None
    file = settings.data / settings.data_file
    try:
        persistence = SqlitePersistence(os.fspath(file), settings.limits)
    except ConfigurationError as error:  # for who reads exit codes, this is about the data
        raise PersistenceError(error.message, code=error.code) from error
    try:
        # Only now is the folder ours alone: options that replace the name or secret are stored.
        credentials = load_or_create_credentials(
            settings.data, settings.instance_name, settings.instance_secret
        )
        backend = Backend(
            persistence,
            limits=settings.limits,
            instance_name=credentials.instance_name,
            instance_secret=credentials.instance_secret,
            files=open_store(settings.files or (settings.data / FILES_FOLDER).as_uri()),
        )
    except BaseException:
        persistence.close()
        raise
    backend.use_workers(os.fspath(file))
    return backend


def load_python(deployer: Deployer, settings: Settings) -> App:
    """Import what an app has of Python. Where its code is pushed, that may be nothing at all.

    Raises:
        SchemaError: It cannot be imported, or there is neither Python nor anything pushed.
    """
    folder = settings.app
    is_pushed = deployer.code is not None or is_typescript(folder)
    if not settings.has_python or (is_pushed and not (folder / PACKAGE).is_dir()):
        return App({}, {}, folder)
    return load_app(folder)


def is_typescript(folder: Path) -> bool:
    """Whether this is a project that the published command line pushes."""
    return (folder / "convex").is_dir() or (folder / "convex.json").is_file()


def load_and_deploy(backend: Backend, deployer: Deployer, settings: Settings) -> App:
    """Make the app and what was pushed beside it the running code, before anything is served.

    Raises:
        SchemaError: It cannot be imported, or its tables do not fit the stored documents.
    """
    app = load_python(deployer, settings)
    deployer.deploy_python_now(app)
    backend.run_until_idle()
    return app


def server_options(settings: Settings) -> ServerOptions:
    return ServerOptions(
        host=settings.host,
        port=settings.port,
        site_port=settings.site_port,
        public=settings.app / "public" if settings.has_python else None,
        cloud_url=settings.cloud_url,
        site_url=settings.site_url,
        trusted_proxies=settings.trusted_proxies or TRUSTED_BY_DEFAULT,
    )
