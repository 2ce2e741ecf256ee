from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infron.errors import ConfigError, Forbidden, Unauthenticated, UnsupportedMediaType
from infron.policy.access import (
    CLOSED,
    Key,
    KeyRing,
    check_keyless,
    check_listen,
    credential_of,
    hash_secret,
    hint,
    identify,
    is_loopback,
    new_secret,
)

PEPPER = b"p" * 32
SECRET = new_secret(bytes(range(32)))
KEY = Key(id="key_1", name="one", hint=hint(SECRET), created_at=0.0)
RING = KeyRing(PEPPER, {hash_secret(PEPPER, SECRET): KEY}, True)
EMPTY = KeyRing(PEPPER, {}, False)


def test_a_secret_is_the_prefix_and_43_url_safe_characters_that_hold_all_32_bytes():
    assert SECRET.startswith("sk-infron-")
    body = SECRET.removeprefix("sk-infron-")
    assert len(body) == 43
    assert base64.urlsafe_b64decode(body + "=") == bytes(range(32))


def test_a_secret_is_not_made_of_too_little_randomness():
    with pytest.raises(ValueError, match="32 bytes"):
        new_secret(b"short")


def test_a_hint_shows_both_ends_and_hides_the_rest():
    assert hint(SECRET).startswith(SECRET[:14])
    assert hint(SECRET).endswith(SECRET[-4:])
    assert len(hint(SECRET)) == 14 + 1 + 4


def test_a_key_is_found_by_its_secret_only():
    assert RING.find(SECRET) is KEY
    assert RING.find(new_secret(bytes(32))) is None


def test_the_same_secret_has_another_hash_under_another_pepper():
    assert hash_secret(PEPPER, SECRET) != hash_secret(b"q" * 32, SECRET)
    assert SECRET.encode() not in hash_secret(PEPPER, SECRET)


@given(st.text(max_size=80) | st.text("\ud800é", min_size=53, max_size=53))
def test_whatever_is_sent_as_a_credential_is_answered_without_an_exception(text: str):
    assert RING.find(text) is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({b"authorization": b"Bearer abc"}, "abc"),
        ({b"authorization": b"bearer   abc "}, "abc"),
        ({b"x-api-key": b"abc"}, "abc"),
        ({b"x-api-key": b"one", b"authorization": b"Bearer two"}, "two"),
        ({b"authorization": b"Bearer ", b"x-api-key": b"one"}, "one"),
        ({b"authorization": b"Basic abc"}, None),
        ({b"authorization": b"Bearer"}, None),
        ({b"authorization": b"Bearer \xff\xfe"}, "\xff\xfe"),
        ({}, None),
    ],
)
def test_a_credential_is_taken_from_the_bearer_token_or_else_from_x_api_key(headers, expected):
    assert credential_of(headers) == expected


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({b"x-goog-api-key": b" abc "}, b"", "abc"),
        ({}, b"alt=sse&key=a%2Db", "a-b"),
        ({b"x-goog-api-key": b"abc"}, b"key=other", "abc"),
        ({b"authorization": b"Bearer mine", b"x-goog-api-key": b"abc"}, b"key=other", "mine"),
        ({}, b"monkey=1", None),
        ({}, b"key=", None),
    ],
)
def test_credential_is_taken_from_where_clients_of_google_put_it(headers, query, expected):
    assert credential_of(headers, query) == expected


def test_while_no_key_exists_any_credential_and_none_is_accepted():
    assert identify(EMPTY, None) is None
    assert identify(EMPTY, "sk-whatever") is None


@pytest.mark.parametrize("credential", [None, "", "sk-whatever", SECRET[:-1]])
def test_once_a_key_exists_nothing_but_a_key_is_accepted(credential):
    assert identify(RING, SECRET) is KEY
    with pytest.raises(Unauthenticated):
        identify(RING, credential)


def test_a_ring_that_was_not_read_yet_lets_nobody_in():
    with pytest.raises(Unauthenticated):
        identify(CLOSED, SECRET)


def test_key_ring_changes_with_nothing_that_it_was_made_of():
    # The ring was called frozen and shared a dict that the ledger's thread went on changing.
    keys = {hash_secret(PEPPER, SECRET): KEY}
    ring = KeyRing(PEPPER, keys, True)
    keys.clear()
    assert ring.find(SECRET) == KEY
    with pytest.raises(TypeError):
        ring.keys[b""] = KEY  # type: ignore[index]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST.", "app.localhost", "::1", "::ffff:127.0.0.1"]
)
def test_loopback_addresses_may_be_listened_on_without_a_key(host):
    assert is_loopback(host)
    check_listen(host, keys_exist=False)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.example.com", "127.0.0.1.nip.io", "127.1.1"]
)
def test_other_addresses_may_be_listened_on_with_a_key_only(host):
    check_listen(host, keys_exist=True)
    with pytest.raises(ConfigError, match="keys create"):
        check_listen(host, keys_exist=False)


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080", "[::1]", None])
def test_a_keyless_gateway_answers_to_loopback_names(host):
    check_keyless(host, None, has_body=False)
    check_keyless(host, "application/json; charset=utf-8", has_body=True)
    check_keyless(host, "application/vnd.x+json", has_body=True)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "", "127.0.0.1.evil.example", "[fe80::1]"])
def test_a_keyless_gateway_refuses_the_names_that_a_rebound_page_would_send(host):
    with pytest.raises(Forbidden):
        check_keyless(host, "application/json", has_body=True)


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "text/json+json"])
def test_a_keyless_gateway_refuses_bodies_that_a_page_may_send_without_asking(kind):
    with pytest.raises(UnsupportedMediaType):
        check_keyless("localhost", kind, has_body=True)
