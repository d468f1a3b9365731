"""What a rewrite rule is: a pattern, a check that may decline with a reason, and a rewrite."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import onnx_ir as ir

from edgegnn.exporting.rewrite.graph_editor import REASON, Sheet

__all__ = ["M", "Rule", "apply"]

M = TypeVar("M")


class Rule(ABC, Generic[M]):
    """One rewrite, tried at every node.

    `pattern` finds what the rule is about, `check` says in words why it can't be rewritten (None when it can), and
    `rewrite` puts the new nodes in. A node that is declined keeps the reason, for `rewrite` to report.
    """

    @property
    def name(self) -> str:
        """What `inspect --explain` calls the rule."""
        return type(self).__name__

    @abstractmethod
    def pattern(self, node: ir.Node, sheet: Sheet) -> M | None:
        """The match that ends in `node`, None when there is none."""

    def check(self, match: M, sheet: Sheet) -> str | None:
        """Why a match can't be rewritten; None when it can."""
        return None

    @abstractmethod
    def rewrite(self, match: M, sheet: Sheet) -> ir.Value | None:
        """Rewrite a match; the value that takes the place of the node's output, None when `rewrite` replaced it."""


def apply(rule: Rule[M], sheet: Sheet) -> int:
    """Try a rule at every node of the graph once, in order; how often it was rewritten."""
    count, sheet.rule = 0, rule.name
    for node in list(sheet.graph):
        if node.graph is not sheet.graph:
            continue
        match = rule.pattern(node, sheet)
        if match is None:
            continue
        reason = rule.check(match, sheet)
        if reason is not None:
            node.metadata_props[REASON] = reason
            continue
        new = rule.rewrite(match, sheet)
        if new is not None:
            sheet.replace(node.outputs[0], new)
        count += 1
    sheet.tidy()
    return count
