"""Which proxy an origin takes, and what a URL means."""

from __future__ import annotations

import pytest

from infron.errors import ConfigError
from infron.runtime.upstream.origin import Origin, Proxy, proxy_for, resolve

PROXY = {"http_proxy": "http://p:1", "https_proxy": "http://p:2"}


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "bypassed"),
    [
        ("", "api.test", 443, False),
        ("*", "api.test", 443, True),
        ("api.test", "api.test", 443, True),
        ("API.Test", "api.test", 443, True),
        ("test", "api.test", 443, True),
        (".test", "api.test", 443, True),
        ("*.test", "api.test", 443, True),
        ("pi.test", "api.test", 443, False),
        ("api.test.example", "api.test", 443, False),
        ("other, api.test", "api.test", 443, True),
        ("other api.test", "api.test", 443, True),
        ("api.test:443", "api.test", 443, True),
        ("api.test:80", "api.test", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.0.0.0/8", "api.test", 443, False),
        ("10.1.2.3/8", "10.9.9.9", 443, True),
        ("10.0.0.0/99", "10.1.2.3", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.2.3:443", "10.1.2.3", 443, True),
        ("2001:db8::1", "2001:db8::1", 443, True),
        ("[2001:db8::1]", "2001:db8::1", 443, True),
        ("[2001:db8:0::1]:443", "2001:db8::1", 443, True),
        ("[2001:db8::1]:80", "2001:db8::1", 443, False),
        ("2001:db8::/32", "2001:db8::1", 443, True),
        (".", "api.test", 443, False),
        (",,", "api.test", 443, False),
        ("", "localhost", 443, True),
        ("", "x.localhost", 443, True),
        ("", "127.8.8.8", 443, True),
        ("", "::1", 443, True),
    ],
)
def test_no_proxy_names_hosts_suffixes_ports_and_blocks(no_proxy: str, host: str, port: int, bypassed: bool) -> None:
    assert (proxy_for("https", host, port, {**PROXY, "NO_PROXY": no_proxy}) is None) is bypassed


@pytest.mark.parametrize(
    ("environ", "scheme", "port"),
    [
        (PROXY, "http", 1),
        (PROXY, "https", 2),
        ({"HTTPS_PROXY": "http://p:3"}, "https", 3),
        ({"HTTPS_PROXY": "http://p:3"}, "http", None),
        ({"https_proxy": "http://p:2", "HTTPS_PROXY": "http://p:3"}, "https", 2),
        ({"https_proxy": "", "ALL_PROXY": "http://p:4"}, "https", 4),
        ({"all_proxy": "p:5"}, "http", 5),
        ({"http_proxy": "http://p"}, "http", 80),
    ],
)
def test_the_variable_of_the_scheme_wins_over_that_for_all_and_lower_case_over_upper(
    environ: dict[str, str], scheme: str, port: int | None
) -> None:
    proxy = proxy_for(scheme, "api.test", 443, environ)
    assert proxy == (None if port is None else Proxy("p", port))


@pytest.mark.parametrize("url", ["socks5://p:1", "https://p:1", "http://", "http://p:x", "http://[::1"])
def test_a_proxy_that_is_not_an_http_one_is_refused_by_the_name_of_its_variable(url: str) -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        proxy_for("https", "api.test", 443, {"HTTPS_PROXY": url})


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://api.test/v1?a=b", Origin("https", "api.test", 443), "/v1?a=b"),
        ("HTTP://API.test.:8080", Origin("http", "api.test", 8080), "/"),
        ("https://[2001:DB8::1]:1/x", Origin("https", "2001:db8::1", 1), "/x"),
        ("https://bücher.test/ü", Origin("https", "xn--bcher-kva.test", 443), "/%C3%BC"),
        ("http://x.test?q", Origin("http", "x.test", 80), "/?q"),
        ("http://x.test/a:b@c/models%2Fd", Origin("http", "x.test", 80), "/a:b@c/models%2Fd"),
    ],
)
def test_a_url_becomes_an_origin_and_a_target(url: str, origin: Origin, target: str) -> None:
    assert resolve(url, {}) == (origin, target)


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        (Origin("https", "api.test", 443), "api.test"),
        (Origin("https", "api.test", 80), "api.test:80"),
        (Origin("http", "::1", 80), "[::1]"),
        (Origin("http", "::1", 81), "[::1]:81"),
    ],
)
def test_an_origin_is_called_by_its_host_and_an_unusual_port(origin: Origin, name: str) -> None:
    assert origin.name == name
