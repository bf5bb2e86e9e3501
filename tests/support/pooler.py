"""Something that stands between the store and its server, as a PgBouncer does."""

import asyncio
import struct
from contextlib import asynccontextmanager

from veupath_store.database_url import parse_database_url

_SSL_REQUEST = 80_877_103
_PROTOCOL_VIOLATION = b"SERROR\0VERROR\0C08P01\0Munsupported startup parameter: statement_timeout\0\0"


@asynccontextmanager
async def pooler(url: str, *, refuses_settings: bool = False):
    """A pooler on a port of its own, by its URL: it tells clients process ids of its own.

    Args:
        url: The database behind it.
        refuses_settings: Whether it refuses session settings, as PgBouncer does by default.
    """
    target = parse_database_url(url)
    host, port = target.hosts[0]

    async def connect():
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def serve(reader, writer):
        upstream = None
        try:
            startup = await _startup(reader, writer)
            if refuses_settings and b"statement_timeout" in startup:
                writer.write(b"E" + struct.pack("!I", len(_PROTOCOL_VIOLATION) + 4) + _PROTOCOL_VIOLATION)
                return
            from_server, upstream = await connect()
            upstream.write(startup)
            await asyncio.gather(_relay(reader, upstream), _answer(from_server, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
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
