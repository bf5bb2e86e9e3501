"""Why no connection was made, by what the network, the system and TLS say: the same words for both servers.

What no repeat can cure is permanent. Whatever may pass by itself, as a name server's silence or a port on which no
server listens yet, is not.
"""

import errno
import re
import socket
import ssl
from typing import Final, NamedTuple


class Reason(NamedTuple):
    """Why a host did not accept a connection."""

    why: str
    remedy: str
    is_permanent: bool = True

    def sentence(self, place: str) -> str:
        """One that names the host, the reason and what to do."""
        return f"{place}: {self.why}. {self.remedy}."


class TlsOptions(NamedTuple):
    """What a URL calls its options for TLS, as remedies name them."""

    authority: str  # the file of the authority to trust, and how to trust the machine's
    certificate: str  # the client's certificate and its key
    files: str  # all files, and variables that name some
    any_name: str  # how not to compare the host's name
    versions: str  # how versions of TLS are chosen, and whose port it should be
    locked: str = ""  # what opens a locked key, as the end of a sentence
    home: str = ""  # where else files are looked for, as the end of a sentence


_LONGEST_QUOTE: Final = 300

LOST: Final = Reason(
    "it closed the connection while it was being opened",
    "See the server's log, and that of whatever stands in between",
    is_permanent=False,
)

_UNVERIFIED: Final = {
    9: Reason(
        "its certificate is not valid yet", "Correct this machine's clock, or give the server a valid certificate"
    ),
    10: Reason("its certificate has expired", "Give the server a new certificate; this machine's clock may be wrong"),
    23: Reason("its certificate was revoked", "Give the server a new certificate"),
    62: Reason(
        "its certificate is for another host name",
        "Write the host as in the certificate, or use {any_name}, which does not compare names",
    ),
}
_UNVERIFIED[64] = _UNVERIFIED[62]
_UNKNOWN_AUTHORITY: Final = Reason("its certificate could not be verified", "Set {authority}")
_NOT_BY_THE_RULES: Final = Reason(
    "its certificate, or its authority's, lacks what RFC 5280 asks for",
    "Have both made with all extensions of RFC 5280: Python looks for them since 3.13",
)
_UNVERIFIED.update(dict.fromkeys(range(79, 95), _NOT_BY_THE_RULES))  # as x509_vfy.h of OpenSSL 3 numbers them

# Faults of the handshake that come again each time, by the names that OpenSSL gives them.
_TLS: Final = (
    (
        re.compile("ALERT_(BAD_CERTIFICATE|CERTIFICATE|UNKNOWN_CA|UNSUPPORTED_CERTIFICATE)|CERTIFICATE_REQUIRED"),
        Reason("it refused the client certificate, or asks for one", "Set {certificate} to one that the server trusts"),
    ),
    (
        re.compile("VERSION|PROTOCOL|CIPHER|HANDSHAKE_FAILURE"),
        Reason("no version of TLS suits it and this client", "{versions}"),
    ),
    (
        re.compile("KEY_VALUES_MISMATCH|PEM|CERTIFICATE|BAD_DECRYPT|NO_START_LINE"),
        Reason("a file of TLS cannot be used", "See that {files}, name PEM files that belong together{locked}"),
    ),
)

_NO_FILE: Final = Reason(
    "a file of TLS is missing, or this user may not read it", "See that {files}, name readable files{home}"
)
_FILE_ERRORS: Final = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)

_REFUSED: Final = Reason(
    "the connection was refused, as no server listens there",
    "Start the server, or correct the host and the port in the URL",
    is_permanent=False,
)
_UNREACHABLE: Final = Reason(
    "no network leads there",
    "Correct the host in the URL, or the routes, firewalls and security groups in between",
    is_permanent=False,
)
_NOT_MADE: Final = Reason("no connection was made", "See the network in between", is_permanent=False)
# Of several addresses the first that is here counts: one that refused is nearer than one that no network leads to.
_BY_ERRNO: Final = {
    errno.ECONNREFUSED: _REFUSED,
    errno.ECONNRESET: LOST,
    errno.ECONNABORTED: LOST,
    errno.EPIPE: LOST,
    errno.EHOSTUNREACH: _UNREACHABLE,
    errno.ENETUNREACH: _UNREACHABLE,
    errno.EADDRNOTAVAIL: _UNREACHABLE,
}

_NO_SOCKET: Final = Reason(
    "there is no server's socket", "Start the server, or correct the directory in the URL", is_permanent=False
)
_FOREIGN_SOCKET: Final = Reason("this user may not use the server's socket", "Grant it the directory and the socket")


def network_reason(error: BaseException, options: TlsOptions, *, is_socket: bool) -> Reason:
    """Why, by what the network, the system or TLS said: an `OSError` or a `UnicodeError`."""
    if isinstance(error, UnicodeError):
        return Reason("this is no host name", "Correct the host in the URL")
    if isinstance(error, ssl.SSLError):
        return handshake_reason(error, options)
    reason = _by_system(error, is_socket=is_socket)
    return reason._replace(remedy=reason.remedy.format_map(options._asdict()))


def handshake_reason(error: ssl.SSLError, options: TlsOptions) -> Reason:
    """Why, by what TLS said."""
    reason = _by_handshake(error)
    return reason._replace(remedy=reason.remedy.format_map(options._asdict()))


def _by_handshake(error: ssl.SSLError) -> Reason:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = _UNVERIFIED.get(error.verify_code, _UNKNOWN_AUTHORITY)
        return reason._replace(why=f"{reason.why} ({error.verify_message.rstrip('.')})")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return LOST
    said = quoted(error)
    found = next((reason for names, reason in _TLS if names.search(said)), None)
    return found or Reason(f"TLS failed: {said}", "See the server's log", is_permanent=False)


def _by_system(error: BaseException, *, is_socket: bool) -> Reason:
    said = str(error)
    if isinstance(error, socket.gaierror):
        return _by_resolver(error)
    if isinstance(error, _FILE_ERRORS) and "Connect call failed" not in said:
        if not is_socket:
            return _NO_FILE
        return _FOREIGN_SOCKET if isinstance(error, PermissionError) else _NO_SOCKET
    # Of a name with several addresses the driver says in words what each of them did.
    numbers = {getattr(error, "errno", None), *map(int, re.findall(r"\[Errno (\d+)\]", said))}
    found = next((reason for number, reason in _BY_ERRNO.items() if number in numbers), None)
    lost = LOST if isinstance(error, ConnectionError) else _NOT_MADE
    return found or (lost._replace(why=f"{lost.why}: {quoted(error)}") if said else lost)


def _by_resolver(error: socket.gaierror) -> Reason:
    if error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL):
        why, remedy = "its name could not be looked up", "See that this machine's name server answers"
    else:
        why, remedy = "there is no host of this name", "Correct the host in the URL, or its entry in the name service"
    return Reason(why, remedy, is_permanent=False)


def quoted(error: BaseException) -> str:
    """The first line of what was said, without what a terminal would obey."""
    text = str(error.args[0] if len(error.args) == 1 else error)[:_LONGEST_QUOTE].partition("\n")[0]
    return "".join(character if character.isprintable() else "?" for character in text).rstrip(".")
