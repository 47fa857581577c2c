"""The code blocks of the documentation, and a folder in which they are run."""

import doctest
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from tests.viewer.serving import free_port

ROOT = Path(__file__).parents[2]
TIMEOUT = 300
SHELL, PYTHON = ("bash", "console"), ("python", "pycon")
_NOT_RUN = re.compile(r"<!-- not run: (\S.*?) -->\s*", re.DOTALL)
_GIVEN = re.compile(r"<!-- given: (\S.*?) -->")
_SERVE = re.compile(r"(\w+=\S+ )*hipsgen serve ")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. reason: why it is not run; empty if it is run."""

    page: str
    line: int
    language: str
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.language}" + f" ({self.reason})" * bool(self.reason)


def pages() -> list[Path]:
    """The README and the pages of the site."""
    site = ROOT / "docs"
    found = [page for page in site.rglob("*.md") if "_build" not in page.parts]
    return [ROOT / "README.md", *sorted(found)]


def name_of(page: Path) -> str:
    """Path of a page within the project."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """Return the code blocks of a page, without directives of Sphinx."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    found = []
    for before, token in pairwise(tokens):
        if token.type in ("fence", "code_block") and not token.info.startswith("{"):
            mark = _NOT_RUN.fullmatch(before.content) if before.type == "html_block" else None
            line = token.map[0] + 1 if token.map else 0
            reason = mark[1] if mark else ""
            found.append(Block(name_of(page), line, token.info.strip(), token.content, reason))
    return found


def given_to(page: Path) -> list[str]:
    """Return the names of the sample data that a page requires."""
    match = _GIVEN.search(page.read_text(encoding="utf-8"))
    return match[1].split(", ") if match else []


class Session:
    """Runs the blocks of a page, one after the other, in one folder.

    Python blocks share their names. A server that a block starts runs until the next one starts,
    or to the end of the page, on a free port in place of 8000.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._server: subprocess.Popen[str] | None = None
        self._port = free_port()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, block: Block) -> None:
        """Run a block. Raises AssertionError when it fails or prints something else."""
        text = block.text.replace("127.0.0.1:8000", f"127.0.0.1:{self._port}")
        with chdir(self._folder):
            if block.language in SHELL:
                for command, expected in _commands(block.language, text):
                    self._command(block, command, expected)
            elif block.language in PYTHON:
                self._python(block, text)
            else:
                raise AssertionError(f"{block}: is neither run nor marked `not run: REASON`")

    def shell(self, command: str) -> str:
        """Run a command and return its output. Raises AssertionError when it fails."""
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def _command(self, block: Block, command: str, expected: str) -> None:
        if _SERVE.match(command):
            self._serve(block, command)
            return
        output = self.shell(command)
        if expected:
            matches = doctest.OutputChecker().check_output(expected, output, _FLAGS)
            assert matches, f"{block}\n{command}\nexpected:\n{expected}\ngot:\n{output}"

    def _serve(self, block: Block, command: str) -> None:
        self._stop()
        one_line = re.sub(r"\s#.*", "", command.replace("\\\n", " ")).strip()
        self._server = subprocess.Popen(
            ["bash", "-c", f"{one_line} --port {self._port}"],
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._server.stdout
        first = self._server.stdout.readline()
        assert f":{self._port}/" in first, f"{block}\n{command}\n{first}"

    def _stop(self) -> None:
        """Stop the server; it must end without an error."""
        if self._server:
            os.killpg(self._server.pid, signal.SIGINT)
            self._server.communicate(timeout=TIMEOUT)
            self._server = None

    def _python(self, block: Block, text: str) -> None:
        if ">>>" not in text:
            # compiled with its place, so that a traceback names the page
            exec(compile("\n" * block.line + text, block.page, "exec"), self._names)
            return
        test = doctest.DocTestParser().get_doctest(
            text, self._names, block.page, block.page, block.line
        )
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=_FLAGS)
        failed, _ = runner.run(test, out=said.append, clear_globs=False)
        self._names.update(test.globs)
        assert not failed, f"{block}\n{''.join(said)}"


def _commands(language: str, text: str) -> Iterator[tuple[str, str]]:
    """Commands with the output that they must have, "" for any.

    A bash block is one script; in a console block a command begins with `$ `, its further lines
    with `> `, and what follows is its output.
    """
    if language == "bash":
        yield text, ""
        return
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        first, *lines = part.splitlines()
        further = [line[2:] for line in lines if line.startswith("> ")]
        output = [line for line in lines if not line.startswith("> ")]
        yield "\n".join([first, *further]), "".join(f"{line}\n" for line in output)
