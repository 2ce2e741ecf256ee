"""The documentation says what the code does: every setting, command, header, error and provider is in it."""

import importlib.util
import re
from pathlib import Path

import pytest

from infron import config, errors

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
API = (ROOT / "docs/api.md").read_text()
SETTINGS = (ROOT / "docs/settings.md").read_text()
PAGES = [README, *(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))]


def tables():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs/tables.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["hang-up", "providers", "settings", "errors"])
def test_generated_tables_are_as_their_rows_say(name: str):
    _, text, anew = tables().rewritten(name)
    assert text == anew, "run: python docs/tables.py"
    assert len(anew.split(f"generated: {name}")[1].split("<!-- end -->")[0].splitlines()) > 10


@pytest.mark.parametrize("setting", list(config.settings()), ids=lambda setting: f"{setting.section}.{setting.name}")
def test_every_setting_is_documented_and_has_a_help_text(setting: config.Setting):
    assert f"`{setting.name}`" in SETTINGS
    assert setting.help.endswith(".")


@pytest.mark.parametrize("kind", errors.InfronError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_error_type_is_documented(kind: type[errors.InfronError]):
    assert f"`{kind.error_type}`" in API


def test_every_header_of_ours_is_documented():
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    ours = {name.lower() for name in re.findall(r"[\"'`](x-[a-z-]+)[\"'`]", source, re.IGNORECASE)}
    foreign = {"x-matroska", "x-api-key", "x-gzip", "x-accel-buffering"}
    for name in ours - foreign:
        assert name in API.lower() or name.startswith(("x-amz", "x-goog-", "x-vertex-")), name


def test_every_path_is_documented():
    source = (ROOT / "src/infron/runtime/app.py").read_text() + (ROOT / "src/infron/runtime/server.py").read_text()
    for path in re.findall(r"[\"'](/[a-z/]+)[\"']", source):
        assert path in API, path


def test_every_command_is_documented():
    from infron.cli import app

    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    names |= {group.name for group in app.registered_groups}
    for name in names:
        assert any(f"infron {name}" in page for page in PAGES), name


def test_links_of_the_documentation_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
