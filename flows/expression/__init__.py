"""SQL expressions over one event: checked without data, compiled for the columns that are there."""

from __future__ import annotations

from flows.expression.aggregate import check_aggregate
from flows.expression.check import check
from flows.expression.compiled import Compiled, compile_expression
from flows.expression.syntax import ExpressionProblem, InvalidExpression

__all__ = ["Compiled", "ExpressionProblem", "InvalidExpression", "check", "check_aggregate", "compile_expression"]
