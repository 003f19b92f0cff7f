# SPDX-License-Identifier: Apache-2.0
"""The lab's echo server.  Run as a script: echo.py NAME PORT.

TCP: one HTTP answer a connection.  UDP: one datagram, padded to the size of the question.  Both say
`server=NAME client=ADDRESS port=PORT`, so that a caller learns whom it reached and as whom it was seen."""

import selectors
import socket
import sys
import threading


def plain(address: str) -> str:
    """An IPv4 client of the dual-stack socket, written as IPv4."""
    return address[7:] if address.startswith("::ffff:") else address.split("%")[0]


def text(name: str, peer) -> bytes:
    return f"server={name} client={plain(peer[0])} port={peer[1]}\n".encode()


def listen(kind, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6, kind)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    made.bind(("::", port))
    return made


def answer_tcp(name: str, connection: socket.socket, peer) -> None:
    """In a thread of its own: an asker whom a policy cuts off in the middle must not keep the others waiting."""
    try:
        with connection:
            hold_conversation(name, connection, peer)
    except OSError as error:
        print(error, flush=True)


def hold_conversation(name: str, connection: socket.socket, peer) -> None:
    connection.settimeout(2)
    tail = b""  # all of the question is read: closing before would reset the connection
    while not tail.endswith(b"\r\n\r\n"):
        more = connection.recv(65536)
        if not more:
            break
        tail = (tail + more)[-4:]
    body = text(name, peer)
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    connection.shutdown(socket.SHUT_WR)


def answer_udp(name: str, server: socket.socket) -> None:
    """From the address that was asked: a host with several would else choose another as the source."""
    data, control, _, peer = server.recvmsg(65536, socket.CMSG_SPACE(20))
    asked = [value[:16] + bytes(4) for _, kind, value in control if kind == socket.IPV6_PKTINFO]
    server.sendmsg([text(name, peer).ljust(len(data), b" ")], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, a) for a in asked], 0, peer)


def main() -> None:
    name, port = sys.argv[1], int(sys.argv[2])
    tcp, udp = listen(socket.SOCK_STREAM, port), listen(socket.SOCK_DGRAM, port)
    tcp.listen(128)
    ready = selectors.DefaultSelector()
    ready.register(tcp, selectors.EVENT_READ)
    ready.register(udp, selectors.EVENT_READ)
    print(f"listening on port {port}", flush=True)
    while True:
        for key, _ in ready.select():
            try:
                if key.fileobj is tcp:
                    threading.Thread(target=answer_tcp, args=(name, *tcp.accept()), daemon=True).start()
                else:
                    answer_udp(name, udp)
            except OSError as error:
                print(error, flush=True)


if __name__ == "__main__":
    main()
