"""Prints the tree of what led to an answer."""

from __future__ import annotations

from risefall.agent.rules import Node


def render_tree(node: Node) -> str:
    """A node a line, what it rests on below it, drawn with lines."""
    return "\n".join([heading(node), *branches(node, "")])


def heading(node: Node) -> str:
    """One node: name, value, why."""
    value = f": {node.value}" if node.value else ""
    return f"{node.what}{value}" + (f"  ({node.why})" if node.why else "")


def branches(node: Node, indent: str) -> list[str]:
    """The lines below a node. Trees are as deep as the rules' steps, which are few."""
    out = []
    for index, inner in enumerate(node.inner):
        last = index == len(node.inner) - 1
        out.append(f"{indent}{'└─' if last else '├─'} {heading(inner)}")
        out.extend(branches(inner, indent + ("   " if last else "│  ")))
    return out
