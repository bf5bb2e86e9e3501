"""Something that stands between the store and its server: as a PgBouncer does, or a real one."""

import asyncio
import os
import shutil
import struct
import subprocess
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.redis_ports import free_port
from veupath_store.servers.database_url import parse_database_url

_SSL_REQUEST = 80_877_103
_PROTOCOL_VIOLATION = b"SERROR\0VERROR\0C08P01\0Munsupported startup parameter: statement_timeout\0\0"
_NO_MORE = b"SFATAL\0VFATAL\0C08P01\0Mno more connections allowed (max_client_conn)\0\0"


@asynccontextmanager
async def pooler(url: str, *, refuses_settings: bool = False, max_client_conn: list[int] | None = None):
    """A pooler on a port of its own, by its URL: it tells clients process ids of its own.

    Args:
        url: The database behind it.
        refuses_settings: Whether it refuses session settings, as PgBouncer does by default.
        max_client_conn: Its limit, which may be changed meanwhile; refused clients are counted behind it.
    """
    target = parse_database_url(url)
    host, port = target.hosts[0]

    async def connect():
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    clients = set()

    async def serve(reader, writer):
        upstream = None
        try:
            startup = await _startup(reader, writer)
            refusal = _refusal(startup, len(clients), refuses_settings, max_client_conn)
            if refusal is not None:
                writer.write(b"E" + struct.pack("!I", len(refusal) + 4) + refusal)
                return
            clients.add(writer)
            from_server, upstream = await connect()
            upstream.write(startup)
            await asyncio.gather(_relay(reader, upstream), _answer(from_server, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            clients.discard(writer)
            for one in (writer, upstream):
                if one is not None:
                    one.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        own_port = server.sockets[0].getsockname()[1]
        password = f":{target.password}" if target.password else ""
        yield f"postgresql://{target.user}{password}@127.0.0.1:{own_port}/{target.database}"
    finally:
        server.close()


def _refusal(startup: bytes, clients: int, refuses_settings: bool, limit: list[int] | None) -> bytes | None:
    if refuses_settings and b"statement_timeout" in startup:
        return _PROTOCOL_VIOLATION
    if limit and clients >= limit[0]:
        limit.append(clients)
        return _NO_MORE
    return None


async def _startup(reader, writer) -> bytes:
    while True:
        head = await reader.readexactly(8)
        length, code = struct.unpack("!II", head)
        if code != _SSL_REQUEST:
            return head + await reader.readexactly(length - 8)
        writer.write(b"N")


async def _relay(reader, writer) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _answer(reader, writer) -> None:
    """Pass on what the server says; its process id (the message K) becomes another one."""
    while True:
        head = await reader.readexactly(5)
        body = await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)
        if head[:1] == b"K":
            body = struct.pack("!I", 1) + body[4:]
        writer.write(head + body)
        if head[:1] == b"K":
            break
    await _relay(reader, writer)


@asynccontextmanager
async def pgbouncer(url: str, folder: Path, **options: int):
    """A real PgBouncer in transaction mode, by its URL; the test is skipped where there is none.

    Args:
        url: The database behind it.
        folder: Where its configuration goes.
        options: Its settings, as ``max_client_conn``.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("there is no pgbouncer on this machine")
    target = parse_database_url(url)
    host, port = target.hosts[0]
    if host.startswith("/"):
        pytest.skip("only the embedded server's own user may use its socket")
    own_port = free_port()
    password = f" password={target.password}" if target.password else ""
    configured = {
        "listen_addr": "127.0.0.1", "listen_port": own_port, "unix_socket_dir": "", "auth_type": "any",
        "pool_mode": "transaction", **options,
    }  # fmt: skip
    database = f"[databases]\n{target.database} = host={host} port={port} user={target.user}{password}\n[pgbouncer]\n"
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(database + "".join(f"{name} = {value}\n" for name, value in configured.items()))
    command = [program, "--quiet", *(["--user=nobody"] if os.geteuid() == 0 else []), str(configuration)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await _listens(own_port)
        yield f"postgresql://{target.user}@127.0.0.1:{own_port}/{target.database}"
    finally:
        process.terminate()
        await process.wait()


async def _listens(port: int) -> None:
    for _ in range(100):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise AssertionError("pgbouncer does not listen")
