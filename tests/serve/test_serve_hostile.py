"""Hostile bytes: each request gets a 4xx or a closed connection, and the next client its answer."""

from __future__ import annotations

import gzip
import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.serve.raw import CHUNKED, GOOD, POST, check_refused, chunk, get, post, until
from tests.served import PATIENT, Served, received, serve, serve_quietly
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

LIMIT = 60_000


def field(value: bytes, name: bytes = b"n_best") -> bytes:
    return post(GOOD[:-1] + b', "%s": %s}' % (name, value))


# What a test sends -> the status of the first answer; 0: the server may close the connection without one.
HEADS = {
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 600, 400),
    "ssh": (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", 400),
    "http 0.9": (b"GET /\r\n\r\n", 400),
    "http 2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "http 3": (get(b"/metrics", version=b"HTTP/3.0"), 400),
    "http 1.10": (get(b"/", version=b"HTTP/1.10"), 400),
    "http lower case": (get(b"/", version=b"http/1.1"), 400),
    "only blanks": (b"   \r\n\r\n", 400),
    "only line ends": (b"\r\n" * 40, 400),
    "nul in method": (get(b"/", method=b"G\x00T"), 400),
    "nul in target": (get(b"/\x00"), 400),
    "nul in header": (get(b"/", b"X: a\x00b"), 400),
    "escape in target": (get(b"/\x1b[31m"), 400),
    "bytes above 127 in target": (get(b"/\xff\xfe"), 400),
    "blank in target": (get(b"/a b"), 400),
    "tab in request line": (b"GET\t/\tHTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "absolute target": (get(b"http://localhost/metrics"), 404),
    "absolute target elsewhere": (get(b"http://evil.example/metrics"), 404),
    "authority target": (get(b"evil.example:80", method=b"CONNECT"), 404),
    "asterisk target": (get(b"*", method=b"OPTIONS"), 404),
    "network path": (get(b"//evil.example/metrics"), 404),
    "backslashes": (get(b"/..\\..\\etc\\passwd"), 404),
    "dots": (get(b"/v1/../../../etc/passwd"), 404),
    "encoded dots": (get(b"/%2e%2e/%2e%2e/etc/passwd"), 404),
    "encoded twice": (get(b"/%256d%2565trics"), 404),
    "encoded nul": (get(b"/metrics%00"), 404),
    "encoded line end": (get(b"/metrics%0d%0aSet-Cookie:%20a=b"), 404),
    "encoded slash": (get(b"/v1%2fbundle%2f"), 404),
    "encoded badly": (get(b"/%zz%"), 404),
    "encoded not utf-8": (get(b"/%ff%fe%c0%af"), 404),
    "encoded script": (get(b"/%3Cscript%3Ealert(1)%3C/script%3E"), 404),
    "long target": (get(b"/" + b"a" * 9000), 414),
    "long query": (get(b"/?" + b"a" * 9000), 414),
    "endless target": (b"GET /" + b"a" * 200_000, 414),
    "endless header": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000, 431),
    "101 headers": (get(b"/", *[b"X: 1"] * 100), 431),
    "10,000 headers": (get(b"/", *[b"X%d: 1" % number for number in range(10_000)]), 431),
    "large headers": (get(b"/", *[b"X: " + b"a" * 8000] * 5), 431),
    "no header name": (get(b"/", b": value"), 400),
    "no colon": (get(b"/", b"nonsense"), 400),
    "blank before colon": (get(b"/", b"X : 1"), 400),
    "blank in header name": (get(b"/", b"X Y: 1"), 400),
    "folded first header": (b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (get(b"/", b"Host: localhost"), 400),
    "folded host": (get(b"/", b" evil.example"), 400),
    "trace": (get(b"/", method=b"TRACE"), 405),
    "connect": (get(b"/metrics", method=b"CONNECT"), 405),
    "long method": (get(b"/", method=b"A" * 5000), 405),
    "web socket": (get(b"/v1/answer", b"Connection: Upgrade", b"Upgrade: websocket"), 405),
    "h2c": (get(b"/v1/answer", b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AA"), 405),
}  # fmt: skip
FRAMES = {
    "length and chunks": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks and length": (CHUNKED[:-2] + b"Content-Length: 3\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n{}  ", 400),
    "two lengths in one": (POST + b"Content-Length: 3, 4\r\n\r\n{}  ", 400),
    "negative length": (POST + b"Content-Length: -5\r\n\r\n", 400),
    "signed length": (POST + b"Content-Length: +2\r\n\r\n{}", 400),
    "hexadecimal length": (POST + b"Content-Length: 0x2\r\n\r\n{}", 400),
    "length with blanks": (POST + b"Content-Length: 1 2\r\n\r\n{}", 400),
    "length of 20 digits": (POST + b"Content-Length: " + b"9" * 20 + b"\r\n\r\n", 413),
    "length of 5,000 digits": (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
    "length in arabic digits": (POST + "Content-Length: ٣\r\n\r\n{} ".encode(), 400),
    "identity": (POST + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", 400),
    "gzip and chunks": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "two encodings": (CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "encoding with a control": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "chunks in http 1.0": (CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + chunk(b"{}") + b"0\r\n\r\n", 0),
    "chunk size no number": (CHUNKED + b"zz\r\n", 400),
    "chunk size negative": (CHUNKED + b"-1\r\n", 400),
    "chunk size with 0x": (CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", 400),
    "chunk size huge": (CHUNKED + b"f" * 40 + b"\r\n{}", 400),
    "chunk size too small": (CHUNKED + b"1\r\n{}\r\n0\r\n\r\n", 400),
    "chunk ends with line feed": (CHUNKED + b"2\n{}\n0\n\n", 0),
    "chunk extension endless": (CHUNKED + b"2;" + b"a" * 200_000, 431),
    "trailer endless": (CHUNKED + chunk(b"{}") + b"0\r\nX: " + b"a" * 200_000, 431),
    "trailer malformed": (CHUNKED + chunk(b"{}") + b"0\r\nX : 1\r\n\r\n", 400),
    "length too large": (POST + b"Content-Length: 100\r\n\r\n{", 0),
    "chunks cut short": (CHUNKED + b"100\r\n{", 0),
    "chunks larger than the limit": (CHUNKED + chunk(b" " * (LIMIT + 1)), 413),
}  # fmt: skip
BODIES = {
    "brackets": (post(b"[" * 50_000), 400),
    "objects": (post(b'{"a":' * 10_000), 400),
    "nested and closed": (post(b"[" * 20_000 + b"]" * 20_000), 400),
    "nan": (field(b"NaN"), 400),
    "infinity": (field(b"-Infinity"), 400),
    "exponent": (field(b"1e999999"), 422),
    "integer of 4,000 digits": (field(b"9" * 4000), 422),
    "integer of 50,000 digits": (field(b"9" * 50_000), 400),
    "plus sign": (field(b"+1"), 400),
    "leading zero": (field(b"01"), 400),
    "hexadecimal": (field(b"0x1"), 400),
    "trailing comma": (post(GOOD[:-1] + b",}"), 400),
    "comment": (post(b"/* */" + GOOD), 400),
    "single quotes": (post(GOOD.replace(b'"', b"'")), 400),
    "two documents": (post(GOOD + GOOD), 400),
    "lone surrogate": (post(b'{"question": "\\ud83d", "context": "x"}'), 400),
    "surrogates the wrong way": (post(b'{"question": "\\udc00\\ud800", "context": "x"}'), 400),
    "bad escape": (post(b'{"question": "\\x41", "context": "x"}'), 400),
    "raw control": (post(b'{"question": "\x1b[2J", "context": "x"}'), 400),
    "raw nul": (post(b'{"question": "\x00", "context": "x"}'), 400),
    "overlong utf-8": (post(b'{"question": "\xc0\xaf", "context": "x"}'), 400),
    "surrogate in utf-8": (post(b'{"question": "\xed\xa0\x80", "context": "x"}'), 400),
    "byte order mark": (post(b"\xef\xbb\xbf" + GOOD), 400),
    "utf-16": (post(GOOD.decode().encode("utf-16")), 400),
    "utf-32": (post(GOOD.decode().encode("utf-32")), 400),
    "gzip without a header": (post(gzip.compress(GOOD)), 400),
    "gzip": (post(gzip.compress(GOOD), b"Content-Encoding: gzip"), 415),
    "gzip bomb": (post(gzip.compress(b" " * 30_000_000), b"Content-Encoding: gzip"), 415),
    "form": (post(b"question=x&context=y").replace(b"/json", b"/x-www-form-urlencoded"), 415),
    "multipart": (post(b"--a\r\n--a--").replace(b"application/json", b"multipart/form-data; boundary=a"), 415),
    "type with a control": (post(GOOD).replace(b"application/json", b"application/json\x0b"), 400),
    "6,000 unknown fields": (post(b"{%s}" % b",".join(b'"%d":1' % number for number in range(6000))), 422),
    "duplicate keys of no text": (post(b'{"question": "x", "context": "y", "context": 3}'), 422),
    "one field with a huge name": (post(b'{"%s": 1}' % (b"\\u001b[2J" * 5000)), 422),
    "19,000 empty examples": (post(b'{"examples": [%s]}' % b",".join([b"{}"] * 19_000)), 422),
    "answers of others": (post(b'{"question": "x", "context": "y", "__proto__": {}}'), 422),
}  # fmt: skip
REQUESTS = HEADS | FRAMES | BODIES


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server whose log has no error at the end, and no control character."""
    with serve_quietly("--max-request-bytes", LIMIT) as running:
        yield running


@pytest.mark.parametrize("name", REQUESTS)
def test_it_is_refused_and_the_next_client_is_answered(served: Served, name: str) -> None:
    request, status = REQUESTS[name]
    with served.connect() as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # the server has read enough, and closed the connection
            status = 0
        check_refused(received(connection), status)
    assert served.exchange(post(GOOD, b"Connection: close")).startswith(b"HTTP/1.1 200 ")


ACCEPTED = {
    "expect": post(GOOD, b"Expect: 100-continue"),
    "chunks": CHUNKED + chunk(GOOD[:7]) + chunk(GOOD[7:]) + b"0\r\nX: trailer\r\n\r\n",
    "chunk extension": CHUNKED + b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD),
    "equal lengths": POST + b"Content-Length: %d\r\n" % len(GOOD) + post(GOOD).removeprefix(POST),
    "100 headers": post(GOOD, *[b"X: 1"] * 97),
    "encoded path": post(GOOD).replace(b"/v1/answer", b"/v1/%61nswer"),
    "port": post(GOOD).replace(b"localhost", b"localhost:80"),
    "one byte at a time": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_odd_but_right_is_answered(served: Served, name: str) -> None:
    with served.connect() as connection:
        if ACCEPTED[name]:
            connection.sendall(ACCEPTED[name])
        else:
            for byte in post(GOOD):
                connection.sendall(bytes([byte]))
        assert b"HTTP/1.1 200 " in until(connection, b'"answer"')


def test_a_body_that_breaks_after_its_request_was_refused_closes_the_connection(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(CHUNKED.replace(b"/v1/answer", b"/nothing"))
        assert until(connection, b"}").startswith(b"HTTP/1.1 404 ")
        connection.sendall(b"zz\r\n")
        assert received(connection) == b""


def test_a_second_request_does_not_hide_in_a_body(served: Served) -> None:
    hidden = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = served.exchange(post(GOOD + hidden, b"Connection: close"))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_head_that_comes_too_slowly_is_408_and_a_silent_connection_is_closed() -> None:
    with serve("--read-timeout-s", 1) as served:
        with served.connect() as silent, served.connect() as slow:
            slow.sendall(POST)
            check_refused(received(slow), 408)
            assert received(silent) == b""
        with served.connect() as patient:  # the limit is for one head, not for a connection
            for _ in range(2):
                patient.sendall(get(b"/health/live"))
                assert until(patient, b"}").startswith(b"HTTP/1.1 200 ")
            patient.sendall(POST)
            check_refused(received(patient), 408)


def test_room_is_kept_for_small_bodies_while_large_ones_fill_the_memory() -> None:
    size = 200_000
    with serve("--max-request-bytes", size, "--max-total-bytes", 4 * size, *PATIENT) as served:
        large = []
        try:

            def refused() -> bool:
                """Begin one more large body, and see whether there is room for another."""
                large.append(served.connect())
                large[-1].sendall(POST + b"Content-Length: %d\r\n\r\n" % size + b" " * (size - 1))
                response = served.client.post("/v1/answer", content=b" " * size)
                return response.status_code == 429 and response.headers["retry-after"].isdigit()

            eventually(refused, "another large body has no room")
            assert served.answer(json.loads(GOOD)).status_code == 200
        finally:
            for connection in large:
                connection.close()
        eventually(
            lambda: served.answer({"question": "Where?", "context": "x" * 150_000}).is_success, "it recovers"
        )
