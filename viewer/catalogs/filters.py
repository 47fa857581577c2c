"""Filters on the rows of a table, such as `r_psfFlux > 1e3 and not isnan(i_mag)`.

Python's parser reads a filter, an allow-list restricts its syntax, and numpy evaluates whole
columns; nothing is ever executed as Python.
"""

import ast
import difflib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

MAX_LENGTH = 2000  # characters
_MAX_NODES = 300
_MAX_DEPTH = 40
_MAX_NUMBER = 2.0**64
# the depth counter of Python 3.11 is wrong if two threads parse at the same time
_PARSER = threading.Lock()
_MAX_QUOTED = 40  # characters of a filter quoted in an error
_ALLOWED = "columns, numbers, 'text', and, or, not, < <= == != >= >, + - * /, (), isnan(x)"

Values = Mapping[str, npt.NDArray[Any]]


class FilterError(Exception):
    """A filter, a column name or a sort key is invalid; the message is one line."""


@dataclass(frozen=True)
class Filter:
    """A compiled filter. columns: names of the columns that it needs, each once."""

    columns: tuple[str, ...]
    _term: "_Term"

    def __call__(self, values: Values, count: int) -> npt.NDArray[np.bool_]:
        """Evaluate the filter on `count` rows.

        Parameters
        ----------
        values
            Values of each column that it needs, shape (count,).
        count
            Number of rows.

        Returns
        -------
        Whether each row passes: bool, shape (count,). Comparisons with NaN are false, except `!=`.
        """
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(self._term.evaluate(values), bool), (count,))


def parse_filter(text: str, kinds: Mapping[str, str]) -> Filter:
    """Compile a filter.

    Parameters
    ----------
    text
        One line, see the module's docstring.
    kinds
        Kind of each column of the table: integer, number, text or flag.

    Raises
    ------
    FilterError
        If the filter is invalid or names a column that does not exist.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"the filter has {len(text)} characters; the limit is {MAX_LENGTH}")
    if not text.isprintable():
        raise FilterError("the filter must be one line of printable characters")
    try:
        with _PARSER:
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise FilterError(
            f"filter {_short(text)!r} is invalid: {error.msg}; example:"
            " mag < 20 and (flag == 0 or not isnan(flux))"
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise FilterError(f"filter {_short(text)!r} is invalid") from None
    compiler = _Compiler(text.strip(), kinds)
    term = compiler.term(tree, 0)
    if term.kind != "flag":
        raise FilterError(f"filter {_short(text)!r} is a {term.kind}: compare it with something")
    return Filter(tuple(compiler.columns), term)


def unknown_column(name: str, columns: Mapping[str, Any]) -> FilterError:
    """Make the error for a column that does not exist; it suggests similar names."""
    lower = {one.lower(): one for one in columns}
    close = difflib.get_close_matches(name.lower()[:100], list(lower), 4, 0.6)
    suggestions = ", ".join([lower[one] for one in close] or list(columns)[:12])
    hint = "did you mean" if close else "available"
    return FilterError(f"no column {_short(name)!r}; {hint}: {suggestions}")


class _Term(NamedTuple):
    """A compiled expression. kind: number, text or flag."""

    kind: str
    evaluate: Callable[[Values], Any]


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


class _Compiler:
    """Compiles syntax trees to terms, and collects the columns that they use."""

    def __init__(self, text: str, kinds: Mapping[str, str]) -> None:
        self._text = text
        self._kinds = kinds
        self._nodes = 0
        self.columns: dict[str, None] = {}

    def term(self, node: ast.expr, depth: int) -> _Term:
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise FilterError(f"the filter has more than {_MAX_DEPTH} levels or {_MAX_NODES} nodes")
        deeper = depth + 1
        match node:
            case ast.Name():
                return self._column(node.id)
            case ast.Constant():
                return self._constant(node)
            case ast.BoolOp(op=op, values=parts):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return _combine(join, [self._term_of_kind(p, "flag", deeper) for p in parts])
            case ast.UnaryOp(op=ast.Not(), operand=part):
                flag = self._term_of_kind(part, "flag", deeper).evaluate
                return _Term("flag", lambda values: np.logical_not(flag(values)))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value) as constant) if (
                type(value) is int
            ):
                self._constant(constant)
                return _Term("number", lambda _: -value)  # a float would round large ones
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=part):
                number = self._term_of_kind(part, "number", deeper).evaluate
                sign = -1.0 if isinstance(op, ast.USub) else 1.0
                return _Term("number", lambda values: sign * _floats(number(values)))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self._arithmetic(_ARITHMETIC[type(op)], left, right, deeper)
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._comparison([left, *others], ops, node, deeper)
            case ast.Call(func=ast.Name(id="isnan"), args=[part], keywords=[]):
                number = self._term_of_kind(part, "number", deeper).evaluate
                return _Term("flag", lambda values: np.isnan(_floats(number(values))))
        raise FilterError(f"{self._source(node)!r} is not allowed in a filter; allowed: {_ALLOWED}")

    def _term_of_kind(self, node: ast.expr, kind: str, depth: int) -> _Term:
        term = self.term(node, depth)
        if term.kind != kind:
            expected = "condition" if kind == "flag" else kind
            raise FilterError(f"{self._source(node)!r} is a {term.kind}, not a {expected}")
        return term

    def _arithmetic(
        self, operation: Callable[[Any, Any], Any], left: ast.expr, right: ast.expr, depth: int
    ) -> _Term:
        a, b = (self._term_of_kind(part, "number", depth).evaluate for part in (left, right))
        return _Term("number", lambda values: operation(_floats(a(values)), _floats(b(values))))

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
            reason = "is too large a number" if too_large else "is neither a number nor a text"
            raise FilterError(f"{self._source(node)!r} {reason}")
        return _Term(kind, lambda values: value)

    def _comparison(
        self, parts: list[ast.expr], ops: list[ast.cmpop], node: ast.expr, depth: int
    ) -> _Term:
        terms = [self.term(part, depth) for part in parts]
        pairs = []
        for k, op in enumerate(ops):
            a, b = terms[k], terms[k + 1]
            if type(op) not in _COMPARISONS:
                raise FilterError(f"{self._source(node)!r} is not allowed; allowed: {_ALLOWED}")
            if (a.kind == "text") != (b.kind == "text"):
                first, second = self._source(parts[k]), self._source(parts[k + 1])
                raise FilterError(f"{first!r} is a {a.kind} and {second!r} a {b.kind}")
            pairs.append(_compare(_COMPARISONS[type(op)], a, b))
        return _combine(np.logical_and, pairs)

    def _source(self, node: ast.expr) -> str:
        return _short(ast.get_source_segment(self._text, node) or type(node).__name__)


def _compare(operation: Callable[[Any, Any], Any], a: _Term, b: _Term) -> _Term:
    return _Term("flag", lambda values: operation(a.evaluate(values), b.evaluate(values)))


def _combine(operation: Callable[[Any, Any], Any], terms: list[_Term]) -> _Term:
    def evaluate(values: Values) -> Any:
        result = terms[0].evaluate(values)
        for term in terms[1:]:
            result = operation(result, term.evaluate(values))
        return result

    return _Term("flag", evaluate)


def _floats(values: Any) -> npt.NDArray[np.float64]:
    # small integer types would overflow silently
    return np.asarray(values, np.float64)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"
