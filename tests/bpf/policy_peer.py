#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Ends of traffic for the policy tests.

answer PORT ADDR...             TCP and UDP: sends back what comes, with the address that it came from before it
talk tcp|udp ADDR PORT SECONDS  a line in, a line out: what came back, or "nothing" after so long; "listen": only waits
"""
import selectors
import socket
import sys


def family(addr):
    return socket.AF_INET6 if ":" in addr else socket.AF_INET


def greet(peer, data):
    return f"{peer[0]} {data.decode().strip()}\n".encode()


def push(last):
    """A line of input goes to the connection that came last: an older one may still repeat what a policy kept from it."""
    line = sys.stdin.readline()
    if not line:
        sys.exit()
    last["conn"].send(line.encode())


def answer(port, *addrs):
    chooser, last = selectors.DefaultSelector(), {}
    for addr in addrs:
        server = socket.create_server((addr, int(port)), family=family(addr))
        datagrams = socket.socket(family(addr), socket.SOCK_DGRAM)
        datagrams.bind((addr, int(port)))
        chooser.register(server, selectors.EVENT_READ, "server")
        chooser.register(datagrams, selectors.EVENT_READ, "datagrams")
    chooser.register(sys.stdin, selectors.EVENT_READ, "input")
    print("ready", flush=True)
    while True:
        for key, _ in chooser.select():
            if key.data == "input":
                push(last)
            elif key.data == "server":
                last["conn"], _ = key.fileobj.accept()
                chooser.register(last["conn"], selectors.EVENT_READ, "conn")
            elif key.data == "datagrams":
                data, peer = key.fileobj.recvfrom(2000)
                key.fileobj.sendto(greet(peer, data), peer)
            else:
                serve(chooser, key.fileobj)


def serve(chooser, conn):
    try:
        data = conn.recv(2000)
        if data:
            conn.send(greet(conn.getpeername(), data))
            return
    except OSError:
        pass
    chooser.unregister(conn)
    conn.close()


def talk(kind, addr, port, seconds):
    sock = socket.socket(family(addr), socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    sock.settimeout(float(seconds))
    print("ready", flush=True)
    connected = False
    for line in sys.stdin:
        try:
            if not connected:
                sock.connect((addr, int(port)))
                connected = True
            if line != "listen\n":
                sock.send(line.encode())
            print(sock.recv(2000).decode().strip() or "closed", flush=True)
        except OSError:
            print("nothing", flush=True)


if __name__ == "__main__":
    {"answer": answer, "talk": talk}[sys.argv[1]](*sys.argv[2:])
