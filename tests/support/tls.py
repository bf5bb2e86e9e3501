"""A PostgreSQL server with TLS, of a test's own, and the certificates that it and its clients show.

The embedded server is built without TLS: the server is started from the programs of an installed PostgreSQL.
"""

import asyncio
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.clusters import Cluster, give_away
from tests.support.servers import Server
from veupath_store.servers.database_url import DatabaseTarget

PATIENCE = 60
PASSWORD = "s3cr3t"
PASSPHRASE = "0pen-sesame"

# What is asked of whom, by database and role.
_ACCESS = """
local   all       postgres                 trust
local   all       somebody                 peer
host    all       postgres   127.0.0.1/32  trust
host    rejected  all        127.0.0.1/32  reject
hostssl all       certified  127.0.0.1/32  cert
hostssl tls_only  all        127.0.0.1/32  scram-sha-256
host    store     all        127.0.0.1/32  scram-sha-256
host    closed    all        127.0.0.1/32  scram-sha-256
host    trusting  all        127.0.0.1/32  trust
"""
_ROLES = (
    f"CREATE ROLE ann LOGIN PASSWORD '{PASSWORD}'",
    "CREATE ROLE certified LOGIN",
    "CREATE ROLE somebody LOGIN",
    "CREATE ROLE without_login",
    "CREATE DATABASE store OWNER ann",
    "CREATE DATABASE tls_only OWNER ann",
    "CREATE DATABASE trusting",
    "CREATE DATABASE closed",
    "CREATE DATABASE halted ALLOW_CONNECTIONS false",
    "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
)


@dataclass(frozen=True)
class Certificates:
    """Certificates of one authority, each with its key beside it; ``other-ca`` is another one's.

    They have all that RFC 5280 asks for, which Python looks for since 3.13; ``sloppy-ca`` and its ``sloppy`` do not.
    """

    folder: Path

    def __getitem__(self, name: str) -> str:
        return str(self.folder / name)

    def make(self) -> None:
        self._authority("ca")
        self._authority("other-ca")
        self._authority("sloppy-ca", usage=False)
        self._signed("server", "localhost", "DNS:localhost,IP:127.0.0.1")
        self._signed("elsewhere", "elsewhere", "DNS:db.example.org")
        self._signed("expired", "localhost", "DNS:localhost", days=-1)
        self._signed("certified", "certified", "DNS:certified")
        self._signed("stranger", "certified", "DNS:certified", authority="other-ca")
        self._signed("sloppy", "localhost", "DNS:localhost", authority="sloppy-ca")
        locked = ("-aes256", "-passout", f"pass:{PASSPHRASE}", "-out", "locked.key")
        self._openssl("ec", "-in", "certified.key", *locked)
        for key in self.folder.glob("*.key"):
            key.chmod(0o600)

    def _authority(self, name: str, *, usage: bool = True) -> None:
        use = ("-addext", "keyUsage=critical,keyCertSign,cRLSign") if usage else ()
        what = ("-out", f"{name}.crt", "-days", "3650", "-subj", f"/CN={name}")
        self._openssl("req", "-x509", *_new_key(name), *what, *use)

    def _signed(self, name: str, subject: str, names: str, *, days: int = 3650, authority: str = "ca") -> None:
        self._openssl("req", *_new_key(name), "-out", f"{name}.csr", "-subj", f"/CN={subject}")
        identifiers = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        (self.folder / f"{name}.ext").write_text(f"{identifiers}subjectAltName={names}\n")
        by = ("-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-CAcreateserial")
        what = ("-in", f"{name}.csr", "-out", f"{name}.crt", "-extfile", f"{name}.ext")
        self._openssl("x509", "-req", *what, *by, "-days", str(days))

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=PATIENCE)


def _new_key(name: str) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")


class TlsServer:
    """An installed PostgreSQL's server, on a port and a socket of its own."""

    def __init__(self, programs: Path, port: int) -> None:
        self.port = port
        self.folder = Path(tempfile.mkdtemp(prefix="veupath-store-test-")).resolve()
        self.folder.chmod(0o755)  # another user's process reads the certificates
        self.certificates = Certificates(self.folder)
        self.certificates.make()
        give_away(self.folder)  # it refuses to read a key of somebody else's
        self._cluster = Cluster(self.folder / "data", port, programs)
        self._cluster.create()
        (self.folder / "data" / "pg_hba.conf").write_text(_ACCESS)
        self._cluster.configure(f"unix_socket_directories = '{self.folder}'\nlc_messages = 'C'")
        self._cluster.configure(f"ssl_ca_file = '{self.folder}/ca.crt'\n{self._showing('server')}")
        self._cluster.start()
        self.server = Server(DatabaseTarget(hosts=((str(self.folder), port),), user="postgres"))
        asyncio.run(self.server.run(*_ROLES))

    def url(self, role: str = "ann", database: str = "store", host: str = "localhost", **query: object) -> str:
        """A URL of one of the roles, with a password and the parameters."""
        parameters = "&".join(f"{name}={value}" for name, value in query.items())
        return f"postgresql://{role}:{PASSWORD}@{host}:{self.port}/{database}?{parameters}"

    async def show(self, certificate: str | None) -> None:
        """From now on the server shows this certificate; ``None``: it does not offer TLS."""
        self._cluster.configure(self._showing(certificate) if certificate else "ssl = off")
        connection = await self.server.connect()
        before = await connection.fetchval("SELECT pg_conf_load_time()")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()
        while True:
            connection = await self.server.connect()
            after = await connection.fetchval("SELECT pg_conf_load_time()")
            await connection.close()
            if after > before:
                return
            await asyncio.sleep(0.01)

    def _showing(self, certificate: str) -> str:
        shown = self.folder / certificate
        return f"ssl = on\nssl_cert_file = '{shown}.crt'\nssl_key_file = '{shown}.key'"

    def close(self) -> None:
        self._cluster.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def programs() -> Path:
    """Where an installed PostgreSQL with TLS has its programs; without one, or without openssl, the test is skipped."""
    if shutil.which("openssl") is None:
        pytest.skip("certificates are made with openssl, which is not installed")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_config"), key=lambda path: int(path.parts[-3]))
    for config in reversed(installed):
        shown = subprocess.run([config, "--configure"], capture_output=True, text=True, check=True).stdout
        if "openssl" in shown and config.with_name("initdb").exists():
            return config.parent
    pytest.skip("no PostgreSQL with TLS is installed, and the embedded one has none")
