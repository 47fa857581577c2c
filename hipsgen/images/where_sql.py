"""The Butler's query expressions as SQL, as far as they speak of the dimensions of coadds.

daf_butler's own parser reads them; what it understands beyond this is refused by name.
"""

from collections.abc import Mapping
from typing import Any

_COMPARED = {
    "=": "__eq__", "==": "__eq__", "!=": "__ne__",
    "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__",
}  # fmt: skip


class WhereError(Exception):
    """An expression that is none, or that asks for more."""


def clause_of(where: str, columns: Mapping[str, Any], sql: Any) -> Any:
    """A SQLAlchemy clause; columns: of the dimensions, by name. Raises WhereError."""
    try:
        from lsst.daf.butler.queries.expressions.parser import parse_expression
    except ImportError:  # where it stood before release 30
        from lsst.daf.butler.registry.queries.expressions.parser import parse_expression

    try:
        tree = parse_expression(where)
    except Exception as error:  # of the parser, which has a class for each kind
        raise WhereError(f"{error}") from error
    return _Clauses(columns, sql).of(tree)


class _Clauses:
    """Walks through an expression; its nodes are told by the names of their classes."""

    def __init__(self, columns: Mapping[str, Any], sql: Any) -> None:
        self._columns = columns
        self._sql = sql

    def of(self, node: Any) -> Any:
        """The clause, column or value that a node stands for."""
        kind = type(node).__name__
        walk = getattr(self, f"_{kind}", None)
        if walk is None:
            raise WhereError(f"{node} is more than this reader of old registries understands")
        return walk(node)

    def _Parens(self, node: Any) -> Any:  # noqa: N802
        return self.of(node.expr)

    def _BinaryOp(self, node: Any) -> Any:  # noqa: N802
        left, right, name = self.of(node.lhs), self.of(node.rhs), node.op.upper()
        if name in ("AND", "OR"):
            return (self._sql.and_ if name == "AND" else self._sql.or_)(left, right)
        if name not in _COMPARED:
            raise WhereError(f"{node.op} is more than this reader of old registries understands")
        return getattr(self._sql.literal(left) if _is_value(left) else left, _COMPARED[name])(right)

    def _UnaryOp(self, node: Any) -> Any:  # noqa: N802
        operand = self.of(node.operand)
        if node.op.upper() == "NOT":
            return self._sql.not_(operand)
        return -operand if node.op == "-" else operand

    def _IsIn(self, node: Any) -> Any:  # noqa: N802
        column = self.of(node.lhs)
        values = [v for item in node.values for v in _several(self.of(item))]
        return column.not_in(values) if node.not_in else column.in_(values)

    def _Identifier(self, node: Any) -> Any:  # noqa: N802
        name = node.name.lower()
        for key in ("id", "name"):  # of the dimension itself
            name = name.removesuffix(f".{key}")
        if name not in self._columns:
            known = ", ".join(self._columns)
            raise WhereError(f"{node.name!r} is none of the dimensions {known}")
        return self._columns[name]

    def _NumericLiteral(self, node: Any) -> Any:  # noqa: N802
        number = float(node.value)
        return int(number) if number.is_integer() else number

    def _StringLiteral(self, node: Any) -> Any:  # noqa: N802
        return node.value

    def _RangeLiteral(self, node: Any) -> Any:  # noqa: N802
        return range(node.start, node.stop + 1, node.stride or 1)


def _is_value(side: Any) -> bool:
    return isinstance(side, int | float | str)


def _several(value: Any) -> Any:
    return value if isinstance(value, range) else [value]
