"""What a rewrite rule is: a pattern, a check that may decline with a reason, and a rewrite.

A rule that nearly fits says so: `inspect --explain` shows the nearest miss of each aggregation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import onnx_ir as ir

from edgegnn.exporting.rewrite.graph_editor import NEAREST, REASON, Sheet

__all__ = ["M", "Miss", "Rule", "apply"]

M = TypeVar("M")


@dataclass(frozen=True)
class Miss:
    """A node that a rule is about, and that doesn't fit it.

    Attributes:
        reason: what doesn't hold, in the field's words.
        at: the aggregation, where that is another node.
    """

    reason: str
    at: ir.Node | None = None


class Rule(ABC, Generic[M]):
    """One rewrite, tried at every node.

    `pattern` finds what the rule is about, `check` says in words why it can't be rewritten (None when it can), and
    `rewrite` puts the new nodes in. A node that is declined keeps the rule and its reason, for `rewrite` to report: the
    last rule that matched and declined, else the first one that missed.
    """

    @property
    def name(self) -> str:
        """What `inspect --explain` calls the rule."""
        return type(self).__name__

    @abstractmethod
    def pattern(self, node: ir.Node, sheet: Sheet) -> M | Miss | None:
        """The match that ends in `node`, None when there is none, a miss when something about it doesn't hold."""

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
        if isinstance(match, Miss):
            place = match.at or node
            if REASON not in place.metadata_props:  # a rule that matched, and declined, came nearer
                place.metadata_props.update({REASON: match.reason, NEAREST: rule.name})
            continue
        reason = rule.check(match, sheet)
        if reason is not None:
            node.metadata_props.update({REASON: reason, NEAREST: rule.name})
            continue
        new = rule.rewrite(match, sheet)
        if new is not None:
            sheet.replace(node.outputs[0], new)
        count += 1
    sheet.tidy()
    return count
