"""Translate query expressions of the Butler to SQL, as far as they use the dimensions of coadds.

They are parsed by daf_butler; anything beyond this subset is rejected by name.
"""

from collections.abc import Mapping
from typing import Any

_COMPARISONS = {
    "=": "__eq__", "==": "__eq__", "!=": "__ne__",
    "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__",
}  # fmt: skip


class WhereError(Exception):
    """An expression is invalid, or not supported."""


def sql_clause(where: str, columns: Mapping[str, Any], sql: Any) -> Any:
    """Return a SQLAlchemy clause. Raises WhereError.

    columns: those of the dimensions, by name.
    """
    try:
        from lsst.daf.butler.queries.expressions.parser import parse_expression
    except ImportError:  # its location before release 30
        from lsst.daf.butler.registry.queries.expressions.parser import parse_expression

    try:
        tree = parse_expression(where)
    except Exception as error:  # the parser has several classes of errors
        raise WhereError(f"{error}") from error
    return _Clauses(columns, sql).of(tree)


class _Clauses:
    """Translator of an expression tree; methods are named after the classes of its nodes."""

    def __init__(self, columns: Mapping[str, Any], sql: Any) -> None:
        self._columns = columns
        self._sql = sql

    def of(self, node: Any) -> Any:
        """Return the clause, column or value that a node represents."""
        class_name = type(node).__name__
        translate = getattr(self, f"_{class_name}", None)
        if translate is None:
            raise WhereError(f"{node} is not supported for registries read by SQL")
        return translate(node)

    def _Parens(self, node: Any) -> Any:  # noqa: N802
        return self.of(node.expr)

    def _BinaryOp(self, node: Any) -> Any:  # noqa: N802
        left, right, name = self.of(node.lhs), self.of(node.rhs), node.op.upper()
        if name in ("AND", "OR"):
            return (self._sql.and_ if name == "AND" else self._sql.or_)(left, right)
        if name not in _COMPARISONS:
            raise WhereError(f"{node.op} is not supported for registries read by SQL")
        return getattr(self._sql.literal(left) if _is_value(left) else left, _COMPARISONS[name])(
            right
        )

    def _UnaryOp(self, node: Any) -> Any:  # noqa: N802
        operand = self.of(node.operand)
        if node.op.upper() == "NOT":
            return self._sql.not_(operand)
        return -operand if node.op == "-" else operand

    def _IsIn(self, node: Any) -> Any:  # noqa: N802
        column = self.of(node.lhs)
        values = [v for item in node.values for v in _as_list(self.of(item))]
        return column.not_in(values) if node.not_in else column.in_(values)

    def _Identifier(self, node: Any) -> Any:  # noqa: N802
        name = node.name.lower()
        for key in ("id", "name"):  # the dimension's own column
            name = name.removesuffix(f".{key}")
        if name not in self._columns:
            known = ", ".join(self._columns)
            raise WhereError(f"{node.name!r} is not one of the dimensions {known}")
        return self._columns[name]

    def _NumericLiteral(self, node: Any) -> Any:  # noqa: N802
        try:
            return int(node.value)  # a float would round large ones
        except ValueError:
            number = float(node.value)
        return int(number) if number.is_integer() else number

    def _StringLiteral(self, node: Any) -> Any:  # noqa: N802
        return node.value

    def _RangeLiteral(self, node: Any) -> Any:  # noqa: N802
        return range(node.start, node.stop + 1, node.stride or 1)


def _is_value(side: Any) -> bool:
    return isinstance(side, int | float | str)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, range) else [value]
