"""Why a server hangs up, or does not answer, where that is about TLS: by itself neither side says so."""

import asyncio
import contextlib
import ssl
from typing import Final

from veupath_store.events.log.errors import TLS_OPTIONS
from veupath_store.servers.network_faults import Reason, handshake_reason
from veupath_store.servers.redis_url import RedisTarget

_PLAIN: Final = Reason("it answers, but not in TLS", "Write redis:// in REDIS_URL, or turn TLS on for this port")
_WANTS_TLS: Final = Reason("it wants TLS", "Write rediss:// in REDIS_URL, or the port that it has without TLS")

_PATIENCE: Final = 1.0


async def why_silent(target: RedisTarget) -> Reason | None:
    """Of a server that leaves a TLS handshake unanswered: whether it answers a PING in clear text."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(target.host, target.port)
            try:
                writer.write(b"PING\r\n")
                return _PLAIN if await reader.read(1) in (b"+", b"-") else None
            finally:
                writer.transport.abort()
    return None


async def why_lost(target: RedisTarget) -> Reason | None:
    """Of a server that hung up: whether it wants TLS, or another client certificate."""
    with contextlib.suppress(OSError, TimeoutError):
        alert = await _tls_alert(target)
        if target.tls is None:
            return _WANTS_TLS
        return handshake_reason(alert, TLS_OPTIONS) if alert is not None else None
    return None


async def _tls_alert(target: RedisTarget) -> ssl.SSLError | None:
    """What a server has against a TLS connection on which nothing is sent; ``None`` where it waits for something.

    Raises:
        OSError: It does not speak TLS.
        TimeoutError: It does not answer.
    """
    context = ssl.create_default_context()
    # It gets no word of ours, whoever it is: it need not be verified.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if target.tls is not None and "ssl_certfile" in target.tls:
        context.load_cert_chain(target.tls["ssl_certfile"], target.tls.get("ssl_keyfile"))
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(target.host, target.port, ssl=context)
            try:
                async with asyncio.timeout(_PATIENCE / 4):
                    await reader.read(1)
            except TimeoutError:
                return None
            finally:
                writer.transport.abort()
    except ssl.SSLError as exc:
        if "ALERT" not in str(exc):
            raise
        return exc
    return None
