"""Bytes on a connection that are no HTTP, or no HTTP that a server may take."""

from collections.abc import Mapping

HOST = b"Host: portal.test\r\n"
GET = b"GET /health HTTP/1.1\r\n" + HOST
POST = b"POST /v1/jobs/plan HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"

TABLE: Mapping[str, bytes] = {
    "nonsense": b"hello\r\n\r\n",
    "binary": bytes(range(256)) + b"\r\n\r\n",
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version of its own": b"GET /health HTTP/9.9\r\n" + HOST + b"\r\n",
    "no version": b"GET /health\r\n\r\n",
    "a header without a colon": GET + b"NoColon\r\n\r\n",
    "a header with a space in its name": GET + b"A B: c\r\n\r\n",
    "a header with NUL": GET + b"A: b\x00c\r\n\r\n",
    "a header of a megabyte": GET + b"A: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "ten thousand headers": GET + b"".join(b"A%d: x\r\n" % n for n in range(10_000)) + b"\r\n",
    "an address of a megabyte": b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address with a line break": b"GET /a\nb HTTP/1.1\r\n" + HOST + b"\r\n",
    "a length that is none": POST + b"Content-Length: ten\r\n\r\n{}",
    "a length below nothing": POST + b"Content-Length: -5\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and pieces": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a piece whose size is none": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a piece of 2^70 bytes": POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n{}" % 2**70,
    "an encoding nobody knows": POST + b"Transfer-Encoding: frob\r\n\r\n{}",
    "a megabyte in pieces": POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"186a0\r\n" + b" " * 100_000 + b"\r\n") * 11 + b"0\r\n\r\n",
    "no address": b"GET  HTTP/1.1\r\n" + HOST + b"\r\n",
    "an upgrade to nothing": GET + b"Connection: Upgrade\r\nUpgrade: nothing\r\n\r\n",
    "a websocket without a key": b"GET /graphql HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
}  # fmt: skip
