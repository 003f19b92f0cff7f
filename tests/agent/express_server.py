# SPDX-License-Identifier: Apache-2.0
"""Runs in a pod: express_server.py PORT. TCP: sends back what comes. UDP: says of each datagram, as JSON, how long it was, how it began, and with
which TTL and TOS it came."""
import asyncio
import json
import socket
import sys
import threading

RECVTTL = 12  # the module does not have it


async def echo(reader, writer):
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


def receiver(port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IP, RECVTTL, 1)
    server.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    server.bind(("", port))
    return server


def answer(server):
    while True:
        data, control, _, peer = server.recvmsg(65536, 256)
        seen = {kind: int.from_bytes(value[:4], "little") for _, kind, value in control}
        text = json.dumps({"length": len(data), "ttl": seen.get(socket.IP_TTL), "tos": seen.get(socket.IP_TOS), "first": data[:8].decode()})
        server.sendto(text.encode(), peer)


async def main():
    port = int(sys.argv[1])
    threading.Thread(target=answer, args=(receiver(port),), daemon=True).start()
    server = await asyncio.start_server(echo, "", port, family=socket.AF_INET, backlog=2048)
    print(f"listening on port {port}", flush=True)
    await server.serve_forever()


asyncio.run(main())
