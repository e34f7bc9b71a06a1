"""What the charts draw, as plain data without words or colours: the page's script adds those."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from kumiai.apps.report.summary import get_unit
from kumiai.apps.view import FlowView, MemberView, RunView

BARS_MAX = 40  # more bars than this say nothing; the table has them all
SANKEY_NODES_MAX = 18  # members beyond are drawn as one "others" node
SANKEY_SHARE_MIN_PPM = 1_000  # thinner flows would be invisible; the table has them


def build_charts(view: RunView) -> dict[str, Any]:
    """The data of the curves, the contribution bars and the money flow."""
    trainers = [member for member in view.members if member.role == "trainer"]
    ranked = sorted(trainers, key=lambda member: (-member.contribution_ppm, member.name))
    return {
        "rounds": [row.round for row in view.rounds],
        "accuracy": [row.accuracy_ppm for row in view.rounds],
        "loss": [row.loss_ppm for row in view.rounds],
        "bars": [
            {
                "name": member.name,
                "value": member.contribution_ppm,
                "error": member.error_ppm,
                "verdict": member.verdict,
            }
            for member in _most_telling(ranked)
        ],
        "widths": list(view.width_curve),
        "rewards": [
            {"name": m.name, "value": m.contribution_ppm, "accuracy": m.model_accuracy_ppm}
            for m in _most_telling(ranked)
            if m.model_accuracy_ppm is not None
        ],
        "money": build_money(view),
        "unit": get_unit(view),
    }


def _most_telling(ranked: Sequence[MemberView]) -> list[MemberView]:
    """The best and the worst when there are too many to draw."""
    if len(ranked) <= BARS_MAX:
        return list(ranked)
    half = BARS_MAX // 2
    return [*ranked[:half], *ranked[-half:]]


def sum_flows(flows: Iterable[FlowView]) -> list[FlowView]:
    """One row for each (source, target, kind), in order of first appearance, zeros left out."""
    sums: dict[tuple[str, str, str], int] = {}
    for flow in flows:
        key = (flow.source, flow.target, flow.kind)
        sums[key] = sums.get(key, 0) + flow.amount
    return [FlowView(*key[:2], amount, key[2]) for key, amount in sums.items() if amount]


def build_money(view: RunView) -> dict[str, Any]:
    """Nodes and links of the money flow: no cycles, no invisible flows, not too many members."""
    members = {member.name: member for member in view.members}
    pairs = sum_flows(replace(flow, kind="") for flow in view.flows)
    flows = _group_small(pairs, members)
    least = max((flow.amount for flow in flows), default=0) * SANKEY_SHARE_MIN_PPM // 1_000_000
    links = _unroll([flow for flow in flows if flow.amount > least])
    names = dict.fromkeys(end for link in links for end in (link["source"], link["target"]))
    return {"nodes": [_node(name, members) for name in names], "links": links}


def _node(name: str, members: dict[str, MemberView]) -> dict[str, str]:
    label = name.partition("\t")[0]
    member = members.get(label)
    role = member.role if member else label.removeprefix("others:") if label != name else "account"
    return {
        "id": name,
        "label": label,
        "role": role,
        "verdict": member.verdict if member else "-",
        "back": "back" if name.endswith("\tback") else "",
    }


def _group_small(flows: list[FlowView], members: dict[str, MemberView]) -> list[FlowView]:
    """Give the members with the least money one common node a role, if there are too many."""
    volume: dict[str, int] = {}
    for flow in flows:
        for end in (flow.source, flow.target):
            volume[end] = volume.get(end, 0) + flow.amount
    drawn = [name for name in volume if name in members and members[name].role != "customer"]
    if len(drawn) <= SANKEY_NODES_MAX:
        return flows
    small = set(sorted(drawn, key=lambda name: (-volume[name], name))[SANKEY_NODES_MAX:])

    def node_of(name: str) -> str:
        return f"others:{members[name].role}\t" if name in small else name

    return sum_flows(
        FlowView(node_of(flow.source), node_of(flow.target), flow.amount, flow.kind)
        for flow in flows
    )


def _unroll(flows: Sequence[FlowView]) -> list[dict[str, Any]]:
    """Give money that returns to where it came from a node of its own: a Sankey has no cycles."""
    reach: dict[str, set[str]] = {}
    links: dict[tuple[str, str], dict[str, Any]] = {}
    for flow in flows:
        target = flow.target
        if target == flow.source or flow.source in reach.get(target, set()):
            target = f"{target}\tback"
        below = {target} | reach.get(target, set())
        for name, reached in reach.items():
            if flow.source in reached:
                reach[name] = reached | below
        reach[flow.source] = reach.get(flow.source, set()) | below
        link = links.setdefault(
            (flow.source, target),
            {"source": flow.source, "target": target, "value": 0},
        )
        link["value"] += flow.amount
    return list(links.values())
