"""Conditions on the rows of a table, as users write them: `r_psfFlux > 1e3 and not isnan(i_mag)`.

Python's parser reads them, a list of what is allowed decides, and numpy works out whole columns;
nothing is ever executed as Python.
"""

import ast
import difflib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

MAX_LETTERS = 2000
_MAX_NODES = 300
_MAX_DEPTH = 40
_MAX_NUMBER = 2.0**64
# Python 3.11 loses count of the depth when two threads parse at once
_PARSER = threading.Lock()
_SHOWN = 40  # letters of what is refused
_ALLOWED = "columns, numbers, 'text', and, or, not, < <= == != >= >, + - * /, (), isnan(x)"

Values = Mapping[str, npt.NDArray[Any]]


class FilterError(Exception):
    """A filter or a column's name that a table cannot be asked for; says in one line why."""


@dataclass(frozen=True)
class Filter:
    """columns: which it needs, each once."""

    columns: tuple[str, ...]
    _term: "_Term"

    def __call__(self, values: Values, count: int) -> npt.NDArray[np.bool_]:
        """Which of `count` rows it keeps: bool, shape (count,).

        values: of each column that it needs, shape (count,). Comparisons with NaN are false, all
        but `!=`.
        """
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(self._term.of(values), bool), (count,))


def parse_filter(text: str, kinds: Mapping[str, str]) -> Filter:
    """A filter on columns of the kinds integer, number, text and flag. Raises FilterError."""
    if len(text) > MAX_LETTERS:
        raise FilterError(f"a filter of {len(text)} letters: {MAX_LETTERS} are the most")
    if not text.isprintable():
        raise FilterError("a filter is one line of printable letters")
    try:
        with _PARSER:
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise FilterError(
            f"filter {_short(text)!r} cannot be read: {error.msg}; it is like"
            " mag < 20 and (flag == 0 or not isnan(flux))"
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise FilterError(f"filter {_short(text)!r} cannot be read") from None
    reader = _Reader(text.strip(), kinds)
    term = reader.term(tree, 0)
    if term.kind != "flag":
        raise FilterError(f"filter {_short(text)!r} is a {term.kind}: compare it with something")
    return Filter(tuple(reader.columns), term)


def unknown_column(name: str, known: Mapping[str, Any]) -> FilterError:
    """That there is no such column, with those whose names are close."""
    lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower()[:100], list(lower), 4, 0.6)
    there_are = ", ".join([lower[one] for one in close] or list(known)[:12])
    hint = "did you mean" if close else "there are"
    return FilterError(f"no column {_short(name)!r}; {hint}: {there_are}")


class _Term(NamedTuple):
    """A part of a filter. kind: of its values, which are number, text or flag."""

    kind: str
    of: Callable[[Values], Any]


_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
}
_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.GtE: lambda a, b: a >= b,
    ast.Gt: lambda a, b: a > b,
}


class _Reader:
    """Makes terms of what the parser found, and notes the columns."""

    def __init__(self, text: str, kinds: Mapping[str, str]) -> None:
        self._text = text
        self._kinds = kinds
        self._nodes = 0
        self.columns: dict[str, None] = {}

    def term(self, node: ast.expr, depth: int) -> _Term:
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise FilterError(f"the filter has more than {_MAX_DEPTH} levels or {_MAX_NODES} parts")
        deeper = depth + 1
        match node:
            case ast.Name():
                return self._column(node.id)
            case ast.Constant():
                return self._constant(node)
            case ast.BoolOp(op=op, values=parts):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return _joined(join, [self._of(p, "flag", deeper) for p in parts])
            case ast.UnaryOp(op=ast.Not(), operand=part):
                flag = self._of(part, "flag", deeper).of
                return _Term("flag", lambda values: np.logical_not(flag(values)))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=part):
                number = self._of(part, "number", deeper).of
                sign = -1.0 if isinstance(op, ast.USub) else 1.0
                return _Term("number", lambda values: sign * _floats(number(values)))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                work = _ARITHMETIC[type(op)]
                a, b = (self._of(part, "number", deeper).of for part in (left, right))
                return _Term("number", lambda values: work(_floats(a(values)), _floats(b(values))))
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._comparison([left, *others], ops, node, deeper)
            case ast.Call(func=ast.Name(id="isnan"), args=[part], keywords=[]):
                number = self._of(part, "number", deeper).of
                return _Term("flag", lambda values: np.isnan(_floats(number(values))))
        raise FilterError(f"{self._said(node)!r} is not allowed in a filter; allowed: {_ALLOWED}")

    def _of(self, node: ast.expr, kind: str, depth: int) -> _Term:
        term = self.term(node, depth)
        if term.kind != kind:
            wanted = "a condition" if kind == "flag" else f"a {kind}"
            raise FilterError(f"{self._said(node)!r} is a {term.kind}, and no {wanted[2:]}")
        return term

    def _column(self, name: str) -> _Term:
        if name not in self._kinds:
            raise unknown_column(name, self._kinds)
        self.columns[name] = None
        kind = self._kinds[name]
        return _Term("number" if kind == "integer" else kind, lambda values: values[name])

    def _constant(self, node: ast.Constant) -> _Term:
        value = node.value
        kinds = {bool: "flag", int: "number", float: "number", str: "text"}
        kind = kinds.get(type(value))
        too_large = type(value) is int and abs(value) >= _MAX_NUMBER
        if kind is None or too_large:
            why = "is too large a number" if too_large else "is neither number nor text"
            raise FilterError(f"{self._said(node)!r} {why}")
        return _Term(kind, lambda values: value)

    def _comparison(
        self, parts: list[ast.expr], ops: list[ast.cmpop], node: ast.expr, depth: int
    ) -> _Term:
        terms = [self.term(part, depth) for part in parts]
        pairs = []
        for k, op in enumerate(ops):
            a, b = terms[k], terms[k + 1]
            if type(op) not in _COMPARISONS:
                raise FilterError(f"{self._said(node)!r} is not allowed; allowed: {_ALLOWED}")
            if (a.kind == "text") != (b.kind == "text"):
                first, second = self._said(parts[k]), self._said(parts[k + 1])
                raise FilterError(f"{first!r} is a {a.kind} and {second!r} a {b.kind}")
            pairs.append(_compared(_COMPARISONS[type(op)], a, b))
        return _joined(np.logical_and, pairs)

    def _said(self, node: ast.expr) -> str:
        return _short(ast.get_source_segment(self._text, node) or type(node).__name__)


def _compared(compare: Callable[[Any, Any], Any], a: _Term, b: _Term) -> _Term:
    return _Term("flag", lambda values: compare(a.of(values), b.of(values)))


def _joined(join: Callable[[Any, Any], Any], terms: list[_Term]) -> _Term:
    def of(values: Values) -> Any:
        found = terms[0].of(values)
        for term in terms[1:]:
            found = join(found, term.of(values))
        return found

    return _Term("flag", of)


def _floats(values: Any) -> npt.NDArray[np.float64]:
    # integers of a byte would overflow in silence
    return np.asarray(values, np.float64)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
