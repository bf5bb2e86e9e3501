"""What asyncpg is given of a target: the role, its password, and the files of TLS, which are looked at before.

asyncpg reads the files itself, at each connection, so that a renewed certificate is used. Like libpq it takes what the
URL does not name from the ``PG…`` variables, and then from ``~/.postgresql``. Its errors name no file; these do.
"""

import getpass
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from veupath_store.errors import ConfigurationError
from veupath_store.servers.database_url import SYSTEM_AUTHORITIES, DatabaseTarget

# By its name in a URL, each file's variable and its name in ~/.postgresql.
_FILES: Final = {
    "sslcert": ("PGSSLCERT", "postgresql.crt"),
    "sslkey": ("PGSSLKEY", "postgresql.key"),
    "sslrootcert": ("PGSSLROOTCERT", "root.crt"),
    "sslcrl": ("PGSSLCRL", "root.crl"),
}
_NOT_VERIFYING: Final = ("allow", "prefer")


def driver_arguments(target: DatabaseTarget) -> dict[str, Any]:
    """The arguments of ``asyncpg.connect`` that say who connects, and how.

    Raises:
        ConfigurationError: The role has no name, or a file of TLS cannot be used.
    """
    if passwords := target.driver_options.get("passfile"):
        _check_readable("passfile", passwords)
    return {
        "user": _role(target),
        "password": target.password,
        "database": target.database,
        # asyncpg takes these from a URL only. The arguments win over it, as server_settings over its options.
        "dsn": f"postgresql:///?{urlencode(target.driver_options)}" if target.driver_options else None,
        "ssl": _tls(target),
    }


def _role(target: DatabaseTarget) -> str:
    try:
        return target.user or os.environ.get("PGUSER") or getpass.getuser()
    except (KeyError, OSError) as exc:
        raise ConfigurationError(
            f"The database's URL names no role, and this process's user ({os.getuid()}) has no name: write the role "
            "into the URL, as in postgresql://ROLE@HOST/DATABASE, or set PGUSER."
        ) from exc


def _tls(target: DatabaseTarget) -> str | bool | ssl.SSLContext:
    mode = target.sslmode or os.environ.get("PGSSLMODE") or "prefer"
    if mode == "disable" or all(host.startswith("/") for host, _ in target.hosts):
        return False
    read = ("sslcert", "sslkey") if mode in _NOT_VERIFYING else tuple(_FILES)
    files = {name: file for name in read if (file := _file(name, target.driver_options))}
    if mode.startswith("verify") and "sslrootcert" not in files:
        raise ConfigurationError(
            f"sslmode={mode} needs the certificates of the authorities that it trusts: set sslrootcert in the "
            f"database's URL to a file of them, or to {SYSTEM_AUTHORITIES} for those of this machine."
        )
    context = _context(files, target.driver_options.get("sslpassword", ""))
    # asyncpg makes its own, but knows no word for the machine's authorities.
    return context if files.get("sslrootcert") == SYSTEM_AUTHORITIES else mode


def _file(name: str, options: Mapping[str, str]) -> str | None:
    """The file of one kind that asyncpg would use; ``None`` where there is none."""
    variable, default = _FILES[name]
    named = options.get(name) or os.environ.get(variable)
    if named:
        return named
    try:
        file = Path.home() / ".postgresql" / default
        file.stat()
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # RuntimeError: there is no home
        return None
    except OSError as exc:
        raise ConfigurationError(
            f"TLS looks for certificates in {file.parent}, and this process's user ({os.getuid()}) may not look "
            "there: set HOME to a directory of that user, or sslmode=disable in the database's URL."
        ) from exc
    return str(file)


def _context(files: Mapping[str, str], password: str) -> ssl.SSLContext:
    """Load the files as asyncpg will, with errors that name them."""
    from_system = files.get("sslrootcert") == SYSTEM_AUTHORITIES
    context = ssl.create_default_context() if from_system else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    named = {name: file for name, file in files.items() if file != SYSTEM_AUTHORITIES}
    for name, file in named.items():
        _check_readable(name, file)
    for name in named.keys() - {"sslcert", "sslkey"}:
        try:
            context.load_verify_locations(named[name])
        except ssl.SSLError as exc:
            raise _unusable(name, named[name], "which holds no PEM certificates") from exc
    if "sslcrl" in named:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if "sslcert" in named:
        _load_certificate(context, named["sslcert"], named.get("sslkey"), password)
    return context


def _check_readable(name: str, file: str) -> None:
    try:
        Path(file).open("rb").close()
    except OSError as exc:
        raise _unusable(name, file, f"which this process's user ({os.getuid()}) cannot read: {exc.strerror}") from exc


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str | None, password: str) -> None:
    asked = False

    def passphrase() -> str:
        nonlocal asked
        asked = True
        return password

    try:
        context.load_cert_chain(certificate, key, passphrase)
    except ssl.SSLError as exc:
        if asked:
            raise _unusable("sslkey", key or certificate, "whose passphrase is not sslpassword") from exc
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise _unusable("sslkey", key or certificate, f"which is not the key of {certificate}") from exc
        raise _unusable("sslcert", certificate, f"and with its key ({key or 'in the same file'}) no PEM file") from exc


def _unusable(name: str, file: str, why: str) -> ConfigurationError:
    variable = f" or {_FILES[name][0]}" if name in _FILES else ""
    return ConfigurationError(f"{name} is {file}, {why}. Correct {name} in the database's URL{variable}.")
