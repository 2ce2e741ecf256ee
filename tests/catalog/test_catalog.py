"""The shipped rows keep what the page promises, and configured rows are taken or refused with a useful sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infron.catalog.definitions import FLAT_QUIRKS, AnswerQuirks, Quirks
from infron.catalog.endpoint import ProviderEndpoint
from infron.catalog.load import Catalog, load_catalog
from infron.errors import ConfigError
from infron.money import Price
from infron.wires import PROVIDER_WIRES

# The page's table of who supports stream cancellation, by our ids.
CANCEL = [
    "openai",
    "azure",
    "fireworks",
    "mancer",
    "recursal",
    "anyscale",
    "lepton",
    "octoai",
    "novita",
    "deepinfra",
    "together",
    "hyperbolic",
    "infermatic",
    "avian",
    "xai",
    "cloudflare",
    "sfcompute",
    "nineteen",
    "liquid",
    "friendli",
    "chutes",
    "deepseek",
]
DRAIN = [
    "groq",
    "modal",
    "minimax",
    "huggingface",
    "perplexity",
    "mistral",
    "ai21",
    "featherless",
    "lynn",
    "lambda",
    "reflection",
    "sambanova",
    "inflection",
    "zero-one-ai",
    "aion-labs",
    "alibaba",
    "nebius",
    "kluster",
    "targon",
    "inference-net",
]
CLOSED = {"recursal", "anyscale", "lepton", "octoai", "sfcompute", "nineteen", "lynn", "reflection", "kluster"}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(environ={}, wires=PROVIDER_WIRES)


def every_variable(catalog: Catalog) -> dict[str, str]:
    names = [name for row in catalog.providers.values() for name in row.auth.env]
    names += [name for row in catalog.providers.values() for group in row.variables.values() for name in group]
    return {name: "value-1" for name in names}


# ---- the shipped rows


def test_every_openai_shaped_provider_of_the_page_has_a_row(catalog: Catalog) -> None:
    assert set(CANCEL) | set(DRAIN) <= set(catalog.providers)


def test_hanging_up_does_what_the_page_says_except_where_the_provider_bills_on(catalog: Catalog) -> None:
    found = {name: catalog.providers[name].on_disconnect for name in (*CANCEL, *DRAIN)}
    expected = {**dict.fromkeys(CANCEL, "cancel"), **dict.fromkeys(DRAIN, "drain"), "novita": "drain"}
    assert found == expected
    novita = catalog.providers["novita"]
    assert novita.stops_billing.value == "no"
    assert "charges" in novita.notes


def test_a_row_cancels_only_where_it_is_said_to_stop_work_and_billing(catalog: Catalog) -> None:
    for row in catalog.providers.values():
        if row.on_disconnect == "cancel":
            assert (row.stops_work.value, row.stops_billing.value) == ("yes", "yes"), row.id


def test_every_fact_that_is_known_names_its_source_and_date(catalog: Catalog) -> None:
    for row in catalog.providers.values():
        for fact in (row.stops_work, row.stops_billing, row.reports_partial_usage):
            assert fact.value == "unknown" or (fact.source and fact.date), row.id
        assert row.source, row.id


def test_closed_services_keep_their_row_and_say_so(catalog: Catalog) -> None:
    assert {row.id for row in catalog.providers.values() if row.status == "closed"} == CLOSED
    open_environment = load_catalog(environ=every_variable(catalog), wires=PROVIDER_WIRES)
    for name in CLOSED:
        reason = open_environment.usable(open_environment.providers[name])
        assert isinstance(reason, str)
        assert "is closed" in reason
    octoai = open_environment.usable(open_environment.providers["octoai"])
    assert isinstance(octoai, str)
    assert "2024-10-31" in octoai
    assert "NVIDIA NIM" in octoai


def test_every_open_row_is_usable_once_its_variables_are_set(catalog: Catalog) -> None:
    ready = load_catalog(environ=every_variable(catalog), wires=PROVIDER_WIRES)
    for row in ready.providers.values():
        if row.status != "closed" and row.id != "local":
            endpoint = ready.usable(row)
            assert isinstance(endpoint, ProviderEndpoint), endpoint
            assert endpoint.chat_url.startswith("https://")
            assert "{" not in endpoint.chat_url.replace("{model}", "model")
            assert "//" not in endpoint.chat_url.removeprefix("https://")


def test_no_two_rows_share_a_name(catalog: Catalog) -> None:
    owners: dict[str, set[str]] = {}
    for row in catalog.providers.values():
        for name in (row.id, row.name, *row.aliases):
            owners.setdefault(name.lower(), set()).add(row.id)
    assert {name: ids for name, ids in owners.items() if len(ids) > 1} == {}
    assert catalog.alias == {name: next(iter(ids)) for name, ids in owners.items()}


def test_the_local_model_is_a_row_that_costs_nothing_and_waits_for_its_address(catalog: Catalog) -> None:
    row = catalog.providers["local"]
    assert "no address" in str(catalog.usable(row))
    started = msgspec.structs.replace(row, base_url="http://127.0.0.1:4001/v1", api_key="secret")
    endpoint = catalog.usable(started)
    assert isinstance(endpoint, ProviderEndpoint)
    assert endpoint.headers == {"Authorization": "Bearer secret"}
    assert catalog.price("local", "any-other.gguf") == Price(prompt=0, completion=0, source="providers.local.prices")


# ---- the shipped models


def test_the_catalogue_of_models_is_large_enough_and_every_offer_names_a_row(catalog: Catalog) -> None:
    assert len(catalog.models) >= 70
    assert len({offer.provider for model in catalog.models.values() for offer in model.served_by}) >= 16
    for model in catalog.models.values():
        served = [(offer.provider, offer.id) for offer in model.served_by]
        assert len(set(served)) == len(served)
        assert all(provider in catalog.providers for provider, _ in served)
        assert model.context_length is None or model.context_length >= (model.max_output or 0)
        assert not any(catalog.providers[offer.provider].status == "closed" for offer in model.served_by)


def test_open_models_can_fail_over_to_another_host(catalog: Catalog) -> None:
    for name in ("openai/gpt-oss-120b", "deepseek/deepseek-v4-flash", "meta-llama/llama-3.3-70b-instruct"):
        assert len(catalog.models[name].served_by) >= 8


def test_the_model_in_the_box_is_listed_with_its_limits(catalog: Catalog) -> None:
    model = catalog.models["local/smollm2-135m"]
    assert (model.context_length, model.max_output, model.served_by[0].provider) == (2048, 512, "local")


def test_the_day_of_release_is_unix_time_and_zero_where_unknown(catalog: Catalog) -> None:
    assert catalog.models["openai/gpt-6-astra"].created == 1_788_480_000
    assert catalog.models["local/smollm2-135m"].created == 0


def test_the_nearest_names_to_a_misspelt_model_come_first(catalog: Catalog) -> None:
    assert catalog.nearest("openai/gpt4o")[0] == "openai/gpt-4o"
    assert catalog.nearest("deepseek-v4-flash", n=1) == ["deepseek/deepseek-v4-flash"]
    assert catalog.nearest("xyzzy") == []
    assert len(catalog.nearest("x" * 1_000_000)) <= 3


# ---- keys and variables


def test_the_first_variable_that_is_set_is_the_key() -> None:
    catalog = load_catalog(environ={"DEEPINFRA_TOKEN": " second ", "DEEPINFRA_API_KEY": ""}, wires=PROVIDER_WIRES)
    endpoint = catalog.usable(catalog.providers["deepinfra"])
    assert isinstance(endpoint, ProviderEndpoint)
    assert endpoint.headers["Authorization"] == "Bearer second"


def test_a_missing_key_or_variable_is_named() -> None:
    catalog = load_catalog(environ={"CLOUDFLARE_API_KEY": "k"}, wires=PROVIDER_WIRES)
    assert "OPENAI_API_KEY" in str(catalog.usable(catalog.providers["openai"]))
    assert "CLOUDFLARE_ACCOUNT_ID" in str(catalog.usable(catalog.providers["cloudflare"]))


def test_azure_takes_its_resource_and_its_own_header() -> None:
    catalog = load_catalog(environ={"AZURE_API_KEY": "k", "AZURE_RESOURCE_NAME": "contoso"}, wires=PROVIDER_WIRES)
    endpoint = catalog.usable(catalog.providers["azure"])
    assert isinstance(endpoint, ProviderEndpoint)
    assert endpoint.chat_url == "https://contoso.openai.azure.com/openai/v1/chat/completions"
    assert endpoint.headers == {"api-key": "k"}
    assert endpoint.models_url is None


@pytest.mark.parametrize("value", ["evil.example/", "a b", "x@y", "..", "ü"])
def test_a_variable_cannot_lead_the_address_elsewhere(value: str) -> None:
    catalog = load_catalog(environ={"AZURE_API_KEY": "k", "AZURE_RESOURCE_NAME": value}, wires=PROVIDER_WIRES)
    assert "cannot be part of an address" in str(catalog.usable(catalog.providers["azure"]))


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    catalog = load_catalog(environ={"OPENAI_API_KEY": "sk-1\r\nX-Evil: 1"}, wires=PROVIDER_WIRES)
    reason = catalog.usable(catalog.providers["openai"])
    assert isinstance(reason, str)
    assert "sk-1" not in reason


def test_optional_headers_are_sent_where_their_variable_is_set() -> None:
    catalog = load_catalog(environ={"OPENAI_API_KEY": "k", "OPENAI_ORG_ID": "org-1"}, wires=PROVIDER_WIRES)
    endpoint = catalog.usable(catalog.providers["openai"])
    assert isinstance(endpoint, ProviderEndpoint)
    assert endpoint.headers == {"OpenAI-Organization": "org-1", "Authorization": "Bearer k"}


def test_no_key_appears_when_a_row_or_an_endpoint_is_printed() -> None:
    catalog = load_catalog(
        {"mock": {"wire": "openai-chat", "base_url": "http://h/v1", "api_key": "sk-secret"}},
        environ={},
        wires=PROVIDER_WIRES,
    )
    row = catalog.providers["mock"]
    assert "sk-secret" not in f"{row!r} {row} {catalog.usable(row)!r} {[catalog.usable(row)]}"


# ---- configured rows


def test_a_whole_row_can_be_added() -> None:
    mock = {"wire": "openai-chat", "base_url": "http://127.0.0.1:9901/v1/", "api_key": "x", "on_disconnect": "cancel"}
    catalog = load_catalog({"mock": mock}, environ={}, wires=PROVIDER_WIRES)
    endpoint = catalog.usable(catalog.providers["mock"])
    assert isinstance(endpoint, ProviderEndpoint)
    assert endpoint.chat_url == "http://127.0.0.1:9901/v1/chat/completions"
    assert catalog.find_provider("MOCK") is catalog.providers["mock"]


def test_an_open_host_needs_no_key_and_a_configured_variable_is_required() -> None:
    wire = {"wire": "openai-chat", "base_url": "http://h/v1"}
    catalog = load_catalog({"open": wire, "shut": {**wire, "api_key_env": "MY_KEY"}}, environ={}, wires=PROVIDER_WIRES)
    assert isinstance(catalog.usable(catalog.providers["open"]), ProviderEndpoint)
    assert "MY_KEY" in str(catalog.usable(catalog.providers["shut"]))


def test_single_fields_of_a_shipped_row_can_be_overridden_under_an_alias_too() -> None:
    catalog = load_catalog(
        {"together_ai": {"on_disconnect": "drain", "quirks": {"message": {"roles": {}}}}},
        environ={},
        wires=PROVIDER_WIRES,
    )
    row = catalog.providers["together"]
    assert row.on_disconnect == "drain"
    assert row.quirks.message.roles == {}
    assert row.quirks.request.max_tokens == "max_tokens"
    assert row.auth.env[0] == "TOGETHER_API_KEY"
    assert "together_ai" not in catalog.providers


def test_quirks_without_their_table_still_work_and_say_so_once(tmp_path: Path) -> None:
    file = tmp_path / "infron.toml"
    file.write_text("[providers.own]\nbase_url = 'http://h'\n\n[providers.own.quirks]\ndrop = ['seed']\n")
    flat = {"drop": ["seed"], "strip_message": ["name"], "drop_members": ["x"], "answer": {"skip_frames": ["p"]}}
    catalog = load_catalog({"own": {**WIRE, "quirks": flat}}, environ={}, path=file, wires=PROVIDER_WIRES)
    quirks = catalog.providers["own"].quirks
    assert (quirks.request.drop, quirks.message.strip) == (["seed"], ["name"])
    assert (quirks.answer.drop, quirks.answer.skip_frames) == (["x"], ["p"])
    first, *others = catalog.notes
    assert (
        first
        == f"{file}, line 5: providers.own.quirks.drop: its name is quirks.request.drop now; the old one works on."
    )
    assert len(others) == 2
    assert not load_catalog(
        {"own": {**WIRE, "quirks": {"request": {"drop": ["seed"]}}}}, environ={}, wires=PROVIDER_WIRES
    ).notes


def test_quirks_that_nobody_needs_any_more_are_ignored_with_a_word() -> None:
    given = {"loose_tool_calls": True, "answer": {"split_content": True, "loose_tool_calls": True, "drop": ["x"]}}
    catalog = load_catalog({"own": {**WIRE, "quirks": given}}, environ={}, wires=PROVIDER_WIRES)
    assert catalog.providers["own"].quirks == Quirks(answer=AnswerQuirks(drop=["x"]))
    assert len(catalog.notes) == 3
    assert "providers.own.quirks.answer.split_content: it is ignored" in catalog.notes[1]


def test_every_quirk_that_once_stood_without_a_table_has_its_place() -> None:
    for name, (table, new) in FLAT_QUIRKS.items():
        quirks = getattr(Quirks(), table)
        assert new in quirks.__struct_fields__, name
    assert len(set(FLAT_QUIRKS.values())) == len(FLAT_QUIRKS) == 28


def test_a_quirk_in_its_table_comes_before_its_old_name() -> None:
    quirks = {"roles": {"a": "b"}, "message": {"roles": {"a": "c"}}}
    assert load_catalog({"own": {**WIRE, "quirks": quirks}}, environ={}, wires=PROVIDER_WIRES).providers[
        "own"
    ].quirks.message.roles == {"a": "c"}


@pytest.mark.parametrize(
    ("quirks", "told"),
    [
        ({"request": 7}, "providers.x.quirks.request"),
        ({"request": 7, "drop": ["a"]}, "providers.x.quirks.request"),
        ({"message": {"strips": []}}, "did you mean strip?"),
        ({"nonsense": 1}, "providers.x.quirks.nonsense"),
        (7, "providers.x.quirks"),
    ],
)
def test_wrong_quirks_are_refused_by_name(quirks: object, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_catalog({"x": {**WIRE, "quirks": quirks}}, environ={}, wires=PROVIDER_WIRES)


def test_an_address_of_ones_own_needs_no_variables() -> None:
    catalog = load_catalog(
        {"azure": {"base_url": "http://127.0.0.1:1/v1", "api_key": "k"}}, environ={}, wires=PROVIDER_WIRES
    )
    assert isinstance(catalog.usable(catalog.providers["azure"]), ProviderEndpoint)


def test_a_closed_service_can_be_opened_again_with_an_address_of_ones_own() -> None:
    own = {"base_url": "https://my.anyscale.example/v1", "status": "operating", "api_key": "k"}
    catalog = load_catalog({"anyscale": own}, environ={}, wires=PROVIDER_WIRES)
    assert isinstance(catalog.usable(catalog.providers["anyscale"]), ProviderEndpoint)


def test_prices_can_be_configured_for_one_model_or_for_all_of_a_provider() -> None:
    prices = {
        "*": {"prompt": "1", "completion": 2},
        "big": {"prompt": "0.435", "completion": "0.000001", "cached": "0"},
    }
    catalog = load_catalog(
        {"m": {"wire": "openai-chat", "base_url": "http://h", "prices": prices}}, environ={}, wires=PROVIDER_WIRES
    )
    big, other = catalog.price("m", "big"), catalog.price("m", "small")
    assert big is not None
    assert other is not None
    assert (big.prompt, big.completion, big.cached, big.cache_write) == (435_000, 1, 0, None)
    assert (other.prompt, other.completion) == (1_000_000, 2_000_000)
    assert catalog.price("openai", "gpt-4o") is None


def test_models_can_be_added_and_changed() -> None:
    served = [{"provider": "OpenAI", "id": "gpt-4o", "price": {"prompt": "9", "completion": "9"}}]
    models = {"me/mine": {"served_by": served}, "openai/gpt-4o": {"name": "Old one"}}
    catalog = load_catalog(None, models, environ={}, wires=PROVIDER_WIRES)
    assert catalog.models["me/mine"].served_by[0].provider == "openai"
    assert catalog.models["openai/gpt-4o"].name == "Old one"
    assert catalog.models["openai/gpt-4o"].context_length == 128_000
    price = catalog.price("openai", "gpt-4o")
    assert price is not None
    assert price.prompt == 9_000_000


WIRE = {"wire": "openai-chat", "base_url": "http://h/v1"}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"base_url": "http://h/v1"}, ["providers.x", "needs `wire`"]),
        ({"wire": "openai-chat"}, ["providers.x", "needs `base_url`"]),
        ({**WIRE, "on_disconnect": "hang"}, ["providers.x.on_disconnect", '"call" or "cancel" or "drain"', "'hang'"]),
        ({**WIRE, "usage": 3}, ["providers.x.usage"]),
        ({**WIRE, "base_ulr": "y"}, ["providers.x.base_ulr", "did you mean base_url"]),
        ({**WIRE, "auth": {"metod": "y"}}, ["providers.x.auth.metod", "did you mean method?"]),
        ({**WIRE, "quirks": {"max_token": "y"}}, ["providers.x.quirks.max_token", "did you mean request.max_tokens?"]),
        ({**WIRE, "on_disconnect": "call"}, ["providers.x.on_disconnect", "replicate"]),
        (
            {**WIRE, "quirks": {"max_tokens": "both"}},
            ["providers.x.quirks.request.max_tokens", '"max_completion_tokens"'],
        ),
        ({**WIRE, "wire": "smoke"}, ["providers.x.wire", "openai-chat", "'smoke'"]),
        ({**WIRE, "base_url": "ftp://h"}, ["providers.x.base_url", "http(s)://"]),
        ({**WIRE, "base_url": "http://k:s@h"}, ["providers.x.base_url", "without a key"]),
        ({**WIRE, "base_url": "http://{host}/v1"}, ["providers.x.base_url", "{host}", "variables"]),
        ({**WIRE, "chat_path": "chat"}, ["providers.x.chat_path", "/"]),
        ({**WIRE, "max_connections": 0}, ["providers.x.max_connections", "at least 1"]),
        ({**WIRE, "prices": {"*": {"prompt": "cheap", "completion": "1"}}}, ["providers.x.prices.*", "'cheap'"]),
        ({**WIRE, "prices": {"*": {"prompt": "-1", "completion": "1"}}}, ["'-1'"]),
        ({**WIRE, "prices": {"*": {"prompt": "NaN", "completion": "1"}}}, ["'NaN'"]),
        ({**WIRE, "api_key_env": 3}, ["providers.x.auth.env"]),
        ("no table", ["providers.x", "table"]),
    ],
)
def test_a_wrong_row_is_refused_with_its_name_its_field_and_the_choice(row: object, told: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        load_catalog({"x": row}, environ={}, wires=PROVIDER_WIRES)  # type: ignore[dict-item]
    for words in told:
        assert words in refused.value.message


@pytest.mark.parametrize(
    ("key", "row", "told"),
    [
        ("no-author", {"served_by": [{"provider": "openai", "id": "x"}]}, "author/slug"),
        ("a/b", {}, "served_by"),
        ("a/b", {"served_by": [{"provider": "opnai", "id": "x"}]}, "did you mean openai"),
        ("a/b", {"served_by": [{"provider": "openai"}]}, "models.a/b.served_by"),
    ],
)
def test_a_wrong_model_is_refused(key: str, row: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("(", r"\(")):
        load_catalog(None, {key: row}, environ={}, wires=PROVIDER_WIRES)


def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "infron.toml"
    file.write_text(
        '[server]\nport = 1\n[providers.x]\nwire = "openai-chat"\nbase_url = "http://h"\nusage = "sometimes"\n'
    )
    row = {"wire": "openai-chat", "base_url": "http://h", "usage": "sometimes"}
    with pytest.raises(ConfigError, match=r"infron\.toml, line 6: providers\.x\.usage: expected .*\"always\""):
        load_catalog({"x": row}, environ={}, path=file, wires=PROVIDER_WIRES)


# ---- addresses with variables in them, and credentials that are no header


def found(row_id: str, config: dict[str, Any] | None = None, **environ: str) -> ProviderEndpoint:
    catalog = load_catalog({row_id: config} if config else None, environ=environ, wires=PROVIDER_WIRES)
    endpoint = catalog.usable(catalog.providers[row_id])
    assert isinstance(endpoint, ProviderEndpoint), endpoint
    return endpoint


@pytest.mark.parametrize(
    ("location", "host"),
    [
        (None, "aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_a_region_may_have_a_host_of_another_form(location: str | None, host: str) -> None:
    where = {"GOOGLE_CLOUD_LOCATION": location} if location else {}
    endpoint = found("google-vertex", GOOGLE_CLOUD_PROJECT="global-1", **where)
    base = f"https://{host}/v1/projects/global-1/locations/{location or 'global'}/publishers/google"
    assert endpoint.base_url == base
    assert endpoint.chat_url == base + "/models/{model}:streamGenerateContent?alt=sse"


def test_hosts_by_region_do_not_count_for_an_address_of_ones_own() -> None:
    row = {"base_url": "http://127.0.0.1:1/v1", "api_key": "k"}
    endpoint = found("google-vertex", row, GOOGLE_CLOUD_LOCATION="us")
    assert endpoint.base_url == "http://127.0.0.1:1/v1"
    assert (endpoint.headers, endpoint.signed) == ({"Authorization": "Bearer k"}, "")


def test_a_row_that_signs_needs_no_key_where_something_speaks_for_other_credentials() -> None:
    endpoint = found("google-vertex", GOOGLE_CLOUD_PROJECT="p-1")
    assert (endpoint.headers, endpoint.signed) == ({}, "google")
    token = found("google-vertex", GOOGLE_CLOUD_PROJECT="p-1", GOOGLE_OAUTH_ACCESS_TOKEN="t")
    assert (token.headers, token.signed) == ({"Authorization": "Bearer t"}, "")


def test_a_row_that_signs_says_what_to_set_where_nothing_is() -> None:
    own = {
        "wire": "openai-chat",
        "base_url": "http://h",
        "auth": {"method": "aws", "env": ["A"], "ambient": ["B", "C"]},
    }
    catalog = load_catalog({"own": own}, environ={}, wires=PROVIDER_WIRES)
    assert "set A or B or C, or api_key" in str(catalog.usable(catalog.providers["own"]))
    assert "GOOGLE_CLOUD_PROJECT" in str(catalog.usable(catalog.providers["google-vertex"]))


def test_the_path_takes_variables_too_and_leaves_the_model_to_the_request() -> None:
    row = {
        "wire": "openai-chat",
        "base_url": "http://h/{region}",
        "chat_path": "/{region}/{model}?v={version}",
        "variables": {"region": ["REGION"], "version": ["VERSION"]},
        "variable_defaults": {"version": "2026-01-01"},
    }
    assert found("own", row, REGION="x").chat_url == "http://h/x/x/{model}?v=2026-01-01"
    assert found("own", row, REGION="x", VERSION="2").chat_url == "http://h/x/x/{model}?v=2"
    catalog = load_catalog({"own": row}, environ={}, wires=PROVIDER_WIRES)
    assert "needs REGION in the environment, or base_url" in str(catalog.usable(catalog.providers["own"]))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"chat_path": "/{region}/{model}"}, r"providers\.x\.chat_path: \{region\}"),
        ({"base_url": "http://{model}"}, r"providers\.x\.base_url: \{model\}"),
        ({"hosts": {"region": {"us": "us.example"}}}, r"providers\.x\.hosts: expected http"),
    ],
)
def test_a_wrong_template_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_catalog({"x": {**WIRE, **fields}}, environ={}, wires=PROVIDER_WIRES)


def test_google_alone_is_vertex_as_the_page_has_it_and_gemini_the_other(catalog: Catalog) -> None:
    for name, id in (("Google", "google-vertex"), ("vertex_ai", "google-vertex"), ("Gemini", "google-ai-studio")):
        row = catalog.find_provider(name)
        assert row is not None
        assert (row.id, row.wire, row.on_disconnect) == (id, "gemini", "drain")
    endpoint = found("google-ai-studio", GEMINI_API_KEY="k")
    assert endpoint.headers == {"x-goog-api-key": "k"}
    assert endpoint.models_url == "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1000"


def test_a_new_row_of_a_native_wire_begins_with_what_belongs_to_the_wire():
    rows = load_catalog(
        {"mine": {"wire": "anthropic", "base_url": "https://host/v1", "api_key": "k"}}, {}, {}, wires=PROVIDER_WIRES
    )
    row = rows.providers["mine"]
    found = rows.usable(row)
    assert not isinstance(found, str)
    assert found.chat_url == "https://host/v1/messages"
    assert found.headers == {"anthropic-version": "2023-06-01", "x-api-key": "k"}
    assert (row.usage, row.on_disconnect, row.price_list) == ("always", "cancel", "")
    told = load_catalog(
        {"mine": {"wire": "replicate", "base_url": "https://host/v1"}}, {}, {}, wires=PROVIDER_WIRES
    ).providers["mine"]
    assert told.on_disconnect == "call"


@pytest.mark.parametrize(
    ("base", "asked"),
    [
        ("https://host", "https://host/v1/messages"),
        ("https://host/", "https://host/v1/messages"),
        ("https://host/anthropic", "https://host/anthropic/v1/messages"),
        ("https://host/v1", "https://host/v1/messages"),
        ("https://host/v1/", "https://host/v1/messages"),
        ("https://host/v1beta2/x", "https://host/v1beta2/x/messages"),
    ],
)
def test_an_address_of_the_messages_api_has_its_version_or_is_given_it(base: str, asked: str) -> None:
    """Anthropic's libraries want the address without `/v1`; written so in a row, each request went to `/messages`."""
    assert found("own", {"wire": "anthropic", "base_url": base, "api_key": "k"}).chat_url == asked
    own = {"wire": "anthropic", "base_url": "https://host", "chat_path": "/v1/messages", "api_key": "k"}
    assert found("own", own).chat_url == "https://host/v1/messages"
    assert found("own", {"base_url": "https://host", "wire": "openai-chat"}).chat_url == "https://host/chat/completions"


@pytest.mark.parametrize("wire", PROVIDER_WIRES)
def test_a_wire_states_what_holds_for_any_definition_of_it(wire: str) -> None:
    row = load_catalog({"x": {"wire": wire, "base_url": "http://h"}}, environ={}, wires=PROVIDER_WIRES).providers["x"]
    for name, value in PROVIDER_WIRES[wire].DEFAULTS.items():
        stated = msgspec.to_builtins(getattr(row, name))
        if name == "also":
            assert all(stated[api].items() >= how.items() for api, how in value.items())
        else:
            assert stated.items() >= value.items() if isinstance(value, dict) else stated == value
    assert (row.on_disconnect == "call") == PROVIDER_WIRES[wire].CAN_CALL


def test_a_definition_that_changes_its_wire_takes_over_what_belongs_to_the_new_one() -> None:
    over = {"anthropic": {"wire": "openai-chat", "base_url": "http://h/v1", "api_key": "k"}}
    catalog = load_catalog(over, environ={}, wires=PROVIDER_WIRES)
    row = catalog.providers["anthropic"]
    found = catalog.usable(row)
    assert isinstance(found, ProviderEndpoint)
    assert (row.usage, found.chat_url, found.headers) == (
        "try",
        "http://h/v1/chat/completions",
        {"Authorization": "Bearer k"},
    )
