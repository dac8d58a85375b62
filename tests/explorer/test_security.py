"""Only the server's own page gets answers."""

import pytest

from dafxtool.explorer.security import Guard


def test_the_address_with_its_token_gives_a_cookie_and_then_the_page(client):
    status, headers, _ = client.request("GET", f"/?token={client.token}", cookie="")
    assert status == 303 and headers["Location"] == "/"
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    status, headers, content = client.request("GET", "/")
    assert status == 200 and b"static/explore.js" in content
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/?token=wrong", "/static/explore.js", "/opening"])
def test_without_the_token_nothing_is_served(client, path):
    method = "POST" if path == "/opening" else "GET"
    for cookie in ("", "wrong"):
        status, _, content = client.request(method, path, b"{}", cookie=cookie)
        assert status == 403 and b"<" not in content


@pytest.mark.parametrize("name", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "[", ""])
def test_other_names_of_the_server_are_refused(client, name):
    headers = {"Host": name.format(port=client.port)}
    assert client.request("GET", "/", headers=headers)[0] == 403


def test_requests_of_other_pages_are_refused(client):
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{client.port + 1}"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert client.request("POST", "/opening", b"{}", headers)[0] == 403
    own = {"Origin": f"http://127.0.0.1:{client.port}", "Sec-Fetch-Site": "same-origin"}
    assert client.request("POST", "/opening", b"{}", own)[0] == 200


def test_a_server_for_the_network_answers_to_addresses_but_not_to_names():
    guard = Guard(None, "token", "0.0.0.0", 8000)
    assert guard.is_own("192.168.1.7:8000") and guard.is_own("localhost:8000")
    assert not guard.is_own("evil.example:8000") and not guard.is_own("192.168.1.7:80")
    assert not Guard(None, "token", "127.0.0.1", 8000).is_own("192.168.1.7:8000")


@pytest.mark.parametrize("name", ["../server.py", "%2e%2e%2fserver.py", "explore.html", "x.js"])
def test_only_the_page_s_own_files_are_served(client, name):
    assert client.request("GET", f"/static/{name}")[0] == 404
