"""Says what a TLS server offers, as JSON: versions, protocols by ALPN, and its answer to a request.

    python tls_offers.py --url HOST:PORT --root ROOT.PEM

`able` are the versions that this client itself can speak, shown with a server of its own.
"""

import argparse
import json
import socket
import ssl
import threading
import warnings

VERSIONS = ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"]


def context(side, version):
    """Returns a context that speaks that version alone, whatever the system thinks of it."""
    made = ssl.SSLContext(side)
    made.set_ciphers("ALL:@SECLEVEL=0")
    made.minimum_version = made.maximum_version = getattr(ssl.TLSVersion, version)
    return made


def speaks(address, version):
    """Whether a server agrees on that version."""
    client = context(ssl.PROTOCOL_TLS_CLIENT, version)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(address, timeout=60) as plain, client.wrap_socket(plain) as secure:
            return secure.version() is not None
    except (ssl.SSLError, ConnectionError):
        return False


def able(version):
    """Whether this client agrees on that version with a server that can."""
    if version == "TLSv1_3":
        return ssl.HAS_TLSv1_3
    server, client = context(ssl.PROTOCOL_TLS_SERVER, version), context(ssl.PROTOCOL_TLS_CLIENT, version)
    # Without a certificate: nobody has to be who they say.
    server.set_ciphers("aNULL:@SECLEVEL=0")
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.settimeout(60)

    def serve():
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours) as secure:
            return secure.version() is not None
    except OSError:
        return False
    finally:
        thread.join()


def agreed(address, root, protocols):
    """Returns the protocol that a server picks of these."""
    client = ssl.create_default_context(cafile=root)
    if protocols:
        client.set_alpn_protocols(protocols)
    with socket.create_connection(address, timeout=60) as plain:
        with client.wrap_socket(plain, server_hostname=address[0]) as secure:
            return secure.selected_alpn_protocol()


def answer(address, root):
    """Returns the first line of the answer to a request."""
    client = ssl.create_default_context(cafile=root)
    with socket.create_connection(address, timeout=60) as plain:
        with client.wrap_socket(plain, server_hostname=address[0]) as secure:
            secure.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return secure.makefile().readline().strip()


def main():
    """Prints what the server offers."""
    warnings.simplefilter("ignore", DeprecationWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="HOST:PORT of a server")
    parser.add_argument("--root", required=True, help="the authority that signed its certificate")
    arguments = parser.parse_args()
    host, port = arguments.url.rsplit(":", 1)
    address, root = (host, int(port)), arguments.root
    offers = [["h2", "http/1.1"], ["http/1.1"], []]
    print(
        json.dumps(
            {
                "able": [version for version in VERSIONS if able(version)],
                "versions": [version for version in VERSIONS if speaks(address, version)],
                "alpn": {",".join(protocols): agreed(address, root, protocols) for protocols in offers},
                "answer": answer(address, root),
            }
        )
    )


if __name__ == "__main__":
    main()
