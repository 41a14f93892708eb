"""Whose requests are answered: the Host header, and what a browser says of the page that asks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.serve.raw import GOOD, check_refused
from tests.served import Served, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

HOSTS = [
    ("localhost", 200),
    ("LOCALHOST.:8000", 200),
    ("127.0.0.1:1", 200),
    ("127.3.2.1", 200),
    ("[::1]:8000", 200),
    ("[0:0:0:0:0:0:0:1]", 200),
    ("qa.example.org", 200),
    ("a.b.wild.example", 200),
    ("wild.example", 421),
    ("evil-wild.example", 421),
    ("evil.example", 421),
    ("localhost.evil.example", 421),
    ("127.0.0.1.evil.example", 421),
    ("evil-localhost", 421),
    ("server", 421),
    ("192.168.0.1", 421),
    ("[fe80::1]", 421),
    ("2130706433", 421),
    ("a" * 63 + ".example", 421),
    ("", 400),
    ("localhost:", 400),
    ("localhost:port", 400),
    ("localhost, evil.example", 400),
    ("evil.example/localhost", 400),
    ("user@localhost", 400),
    ("local host", 400),
    ("localhost\x1b[31m", 400),
    ("<script>", 400),
    ("[::1", 400),
    ("[::zz]", 400),
    ("::1", 400),
    ("..", 400),
    ("a" * 300, 400),
    ("lócalhost", 400),
]
PATHS = ["/", "/docs", "/openapi.json", "/metrics", "/v1/bundle", "/v1/answer", "/nothing"]


@pytest.fixture(scope="module")
def named() -> Iterator[Served]:
    with serve("--allowed-host", "QA.example.org", "--allowed-host", "*.wild.example") as running:
        yield running


@pytest.mark.parametrize(("host", "status"), HOSTS)
def test_only_known_hosts_are_answered(named: Served, host: str, status: int) -> None:
    request = b"%s HTTP/1.1\r\nHost: " + host.encode() + b"\r\nConnection: close\r\n\r\n"
    for path in PATHS if status == 421 else ["/"]:
        answer = named.exchange(request % (b"GET " + path.encode()))
        if status == 200:
            assert answer.startswith(b"HTTP/1.1 200 ")
        else:
            check_refused(answer, status)
            assert (b"--allowed-host " + host.encode() in answer) == (status == 421 and not host.startswith("["))
    if status != 400:
        assert named.exchange(request % b"GET /health/live").startswith(b"HTTP/1.1 200 ")


def test_a_request_of_http_1_0_without_a_host_gets_health_only(named: Served) -> None:
    assert named.exchange(b"GET /health/live HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    check_refused(named.exchange(b"GET /metrics HTTP/1.0\r\n\r\n"), 400)


@pytest.mark.parametrize(
    ("arguments", "hosts"),
    [
        (["--host", "0.0.0.0"], {"10.0.0.7:8000": 200, "[fe80::1]": 200, "qa": 200, "evil.example": 421}),
        (["--allowed-host", "*"], {"evil.example": 200, "server": 200, "": 200}),
    ],
)
def test_another_address_allows_what_a_page_of_another_site_cannot_have(
    arguments: list[str], hosts: dict[str, int]
) -> None:
    with serve(*arguments) as served:
        for host, status in hosts.items():
            assert served.client.get("/metrics", headers={"Host": host}).status_code == status
        asked = served.answer(json.loads(GOOD), **{"Sec-Fetch-Site": "cross-site"})
        assert asked.status_code == (200 if "*" in arguments else 403)


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_a_page_of_another_site_does_not_ask(named: Served, site: str, status: int) -> None:
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": site}
    response = named.answer(json.loads(GOOD), **headers)
    assert response.status_code == status
    assert "access-control-allow-origin" not in response.headers
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert named.client.get("/", headers=headers).status_code == 200  # a link to the page works
