"""The documentation says what the code does: every setting, command, header, error and provider is in it."""

import importlib.util
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from suite import names_of_tests

from infron import errors, settings
from infron.catalog import definitions
from infron.catalog.load import load_catalog
from infron.runtime.ledger import receipts
from infron.testing import SCRIPTS
from infron.wires import CLIENT_WIRES, PROVIDER_WIRES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
API = (ROOT / "docs/api.md").read_text()
ADMIN = (ROOT / "docs/admin.md").read_text()
SETTINGS = (ROOT / "docs/settings.md").read_text()
DEFINITIONS = (ROOT / "docs/definitions.md").read_text()
SHIPPED = ("*.md", "*.toml", "Makefile", "docs/*", "bench/*.*", "requirements/*", "src/**/*.py", "src/**/*.toml")
PAGES = [README, *(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))]


def tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs/tables.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["disconnects", "providers", "wires", "settings", "errors"])
def test_tables_are_as_generated(name: str):
    _, text, anew = tables().rewritten(name)
    assert text == anew, "run: python docs/tables.py"
    assert len(anew.split(f"generated: {name}")[1].split("<!-- end -->")[0].splitlines()) > 7


@pytest.mark.parametrize("setting", list(settings.settings()), ids=lambda setting: f"{setting.section}.{setting.name}")
def test_every_setting_is_documented_and_has_a_help_text(setting: settings.Setting):
    assert f"`{setting.name}`" in SETTINGS
    assert setting.help.endswith(".")


@pytest.mark.parametrize("kind", errors.InfronError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_error_type_is_documented(kind: type[errors.InfronError]):
    assert f"`{kind.error_type}`" in API


@pytest.mark.parametrize(
    "kind",
    [
        definitions.Provider,
        definitions.Also,
        definitions.Auth,
        definitions.RequestQuirks,
        definitions.MessageQuirks,
        definitions.AnswerQuirks,
        definitions.Model,
        definitions.Rate,
    ],
)
def test_every_field_of_a_definition_is_explained(kind: type):
    for name in kind.__struct_fields__:
        assert re.search(rf"[`{{ ]{name}[`, }}]", DEFINITIONS), name


def test_every_wire_is_explained():
    for wire in PROVIDER_WIRES:
        assert f"`{wire}`" in DEFINITIONS


COMPATIBILITY = (ROOT / "docs/compatibility.md").read_text()
RULES = [line for line in COMPATIBILITY.splitlines() if re.match(r"\| (?!rule )", line)]


def test_every_rule_of_compatibility_is_held_by_a_test():
    known = names_of_tests()
    assert len(RULES) > 20
    for rule in RULES:
        named = re.findall(r"`(test_\w+)`", rule.split("|")[-2])
        assert named, f"no test is named: {rule}"
        assert set(named) <= known, f"no such test: {set(named) - known}"


def test_every_voice_is_explained():
    page = (ROOT / "docs/testing.md").read_text()
    for wire in SCRIPTS:
        assert f"`{wire}`" in page


def test_every_member_of_a_receipt_that_has_a_value_is_explained():
    never = {"is_byok", "api_type", "cache_discount", "upstream_inference_cost", "moderation_latency", "service_tier",
             "origin", "http_referer", "user_agent", "app_id"}  # fmt: skip
    same = {"id", "outcome", "cancelled", "native_tokens_prompt", "native_tokens_completion"}
    for name in set(receipts.Receipt.__struct_fields__) - never - same:
        assert f"`{name}`" in API, name


def test_nothing_that_ships_names_a_place_of_one_machine():
    paths = [path for pattern in SHIPPED for path in ROOT.glob(pattern) if path.is_file()]
    assert len(paths) > 100
    for path in paths:
        found = re.search(
            r"(?<![\w.~])/(home|Users|root|tmp|work|mnt)/\w+", path.read_text(encoding="utf-8", errors="replace")
        )
        assert found is None, f"{path}: {found}"


def test_the_examples_of_the_configuration_are_right():
    for page in PAGES:
        for example in re.findall(r"```toml\n(.*?)```", page, re.DOTALL):
            loaded = msgspec.convert(tomllib.loads(example), settings.Config)
            providers = {"mine": {"wire": "openai-chat", "base_url": "http://host/v1"}, **loaded.providers}
            load_catalog(providers, loaded.models, {}, wires=PROVIDER_WIRES)


def test_every_header_of_ours_is_documented():
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    ours = {name.lower() for name in re.findall(r"[\"'`](x-[a-z-]+)[\"'`]", source, re.IGNORECASE)}
    foreign = {"x-matroska", "x-api-key", "x-gzip", "x-accel-buffering"}
    for name in ours - foreign:
        assert name in API.lower() or name.startswith(("x-amz", "x-goog-", "x-vertex-", "x-gemini-")), name


def test_every_path_is_documented():
    source = "".join(path.read_text() for path in (ROOT / "src/infron/runtime/server").rglob("*.py"))
    paths = [path for api in CLIENT_WIRES.values() for path in api.PATHS]
    for path in [*paths, *re.findall(r"[\"'](/[a-z/]+)[\"']", source)]:
        assert path.replace(":path}", "}") in API + ADMIN, path


def test_every_command_is_documented():
    from infron.cli.app import app

    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    names |= {group.name for group in app.registered_groups}
    for name in names:
        assert any(f"infron {name}" in page for page in PAGES), name


def test_links_of_the_documentation_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
HOUSE = ROOT / "src/infron"


def test_architecture_names_every_room_and_no_other():
    tree = ARCHITECTURE.split("src/infron/\n")[1].split("```")[0]
    shown = {name for line in tree.splitlines() for name in re.findall(r"(?<![\w/])[a-z_]+(?:/|\.py)", line)}
    rooms = [path for path in (*HOUSE.iterdir(), *(HOUSE / "runtime").iterdir()) if not path.name.startswith("__")]
    folders = {f"{path.name}/" for path in rooms if path.is_dir()}
    files = {path.name for path in rooms if path.suffix == ".py"}
    values = {path.name for path in HOUSE.glob("*.py") if not path.name.startswith("__")}
    inner = {"api/", "probe/"}  # named with the room they are in
    assert folders | values <= shown <= folders | files | inner


def test_architecture_names_files_that_exist():
    for name in set(re.findall(r"`((?:\w+/)+[\w.]*)`", ARCHITECTURE)):
        places = [ROOT / name, HOUSE / name, HOUSE / "runtime" / name]
        assert any(place.exists() for place in places), name


def test_architecture_states_the_sizes_that_are_asserted():
    layers = (ROOT / "tests/test_layers.py").read_text()
    assert "FILE_LINES, FUNCTION_LINES, CLASS_LINES = 450, 60, 300" in layers
    assert "450 lines a file, 60 a function, 300 a class" in ARCHITECTURE


def test_readme_leads_to_every_page():
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in README, page.name
