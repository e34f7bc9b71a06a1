"""The model card: what the model is and is not, for people (Markdown) and for hubs (front matter).

Every sentence is of the catalogue, filled with `Facts`; a fact that is absent has no sentence. What
people wrote (names, descriptions) is escaped: it can be neither markup nor a key of the front
matter. The front matter's values are JSON, which YAML reads.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from kumiai.adapters.data.corpus import SOTU_ALPHABET
from kumiai.adapters.data.sources import PENGUIN_COLUMNS, PENGUIN_SPECIES
from kumiai.adapters.data.user_file import is_user_reference
from kumiai.apps.export.facts import Facts, Measured
from kumiai.apps.export.network import LINES
from kumiai.apps.report.texts import (
    Texts,
    format_epsilon,
    format_nat,
    format_percent,
    format_width,
)
from kumiai.base.amounts import PPM

KINDS = {
    "mnist5k": "image-classification",
    "digits": "image-classification",
    "penguins": "tabular-classification",
    "sotu": "text-generation",
}
DIGITS_SHOWN = 6


def write_card(facts: Facts, texts: Texts, has_onnx: bool) -> str:
    """Return the card in one language; English ones begin with the front matter."""
    title = escape(_name(facts, texts))
    parts = [f"# {title}", _introduce(facts, texts), f"## {texts.text('card.load')}"]
    parts.append("\n".join(["```python", *LINES, "```"]))
    parts += _describe_inputs(facts, texts, has_onnx)
    parts += [f"## {texts.text('card.task')}", *_describe_task(facts, texts)]
    parts += [f"## {texts.text('card.training')}", _table(_training_rows(facts), texts)]
    parts += [f"## {texts.text('card.measured')}", *_describe_measured(facts, texts)]
    parts += [f"## {texts.text('card.proof')}", _table(_proof_rows(facts, texts), texts)]
    parts += [texts.text("card.proof_note")]
    parts += [f"## {texts.text('card.limits')}", _list_limits(facts, texts)]
    head = write_front_matter(facts, texts) if texts.language == "en" else ""
    return head + "\n\n".join(parts) + "\n"


def write_front_matter(facts: Facts, texts: Texts) -> str:
    """Return the hub's part. The run says nothing of the model's own licence: it is unknown."""
    source = facts.task.data.source
    kind = KINDS.get(source, "")
    tags = ["kumiai", "federated-learning", "pytorch"]
    head: dict[str, Any] = {"library_name": "pytorch", "license": "unknown", "tags": tags}
    if kind:
        head["pipeline_tag"] = kind
        results = [
            {
                "task": {"type": kind},
                "dataset": {"name": facts.data or source, "type": source, "split": each.where},
                "metrics": _list_metrics(each),
            }
            for each in facts.measured
        ]
        if results:
            head["model-index"] = [{"name": _name(facts, texts), "results": results}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    return "\n".join(["---", *lines, "---", "", ""])


def escape(text: str) -> str:
    """A member's or customer's words as plain text in Markdown, on one line."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", plain)


def _name(facts: Facts, texts: Texts) -> str:
    who = facts.wanted.name or texts.text("card.width", width=format_width(facts.wanted.width_ppm))
    return f"{facts.task.name} · {who}"


def _introduce(facts: Facts, texts: Texts) -> str:
    places = {
        "recipe": f"`{facts.task.model.recipe}`",
        "width": format_width(facts.wanted.width_ppm),
        "numbers": f"{facts.number_count:,}",
        "n": facts.trainer_count,
        "rounds": facts.round_count,
    }
    return texts.text("card.intro", **places)


def _describe_inputs(facts: Facts, texts: Texts, has_onnx: bool) -> list[str]:
    shape = ", ".join(["n", *map(str, facts.shape)])
    source = facts.task.data.source
    lines = [texts.text("card.folder"), texts.text("card.inputs", shape=f"`[{shape}]`")]
    if texts.has(f"card.inputs_of.{source}"):
        places = {
            "columns": ", ".join(
                f"{name} ({middle:g}, {spread:g})"
                for name, (middle, spread) in PENGUIN_COLUMNS.items()
            ),
            "classes": ", ".join(PENGUIN_SPECIES),
            "alphabet": f"`{json.dumps(SOTU_ALPHABET)}`",
        }
        lines.append(texts.text(f"card.inputs_of.{source}", **places))
    else:
        lines.append(texts.text("card.inputs_of.other", source=f"`{source}`"))
    if is_user_reference(facts.task.model.recipe):
        lines.append(texts.text("card.recipe_file"))
    else:
        lines.append(texts.text("card.outputs", n=facts.class_count))
    if has_onnx:
        lines.append(texts.text("card.onnx"))
    return lines


def _describe_task(facts: Facts, texts: Texts) -> list[str]:
    governance, lines = facts.task.governance, []
    if facts.task.description:
        lines.append(escape(facts.task.description))
    if governance.purpose:
        lines.append(texts.text("card.purpose", purpose=escape(governance.purpose)))
    else:
        lines.append(texts.text("card.no_purpose"))
    named = {"owner": governance.owner, "responsible": governance.responsible}
    named["jurisdiction"] = governance.jurisdiction
    known = [f"{texts.text(f'fact.{k}')}: {escape(v)}" for k, v in named.items() if v]
    return [*lines, " · ".join(known)] if known else lines


def _training_rows(facts: Facts) -> list[tuple[str, str]]:
    training, data = facts.task.training, facts.task.data
    amount = f"{training.local_epochs} epochs"
    if training.local_iterations:
        amount = f"{training.local_iterations} iterations"
    spread = data.partition
    if spread in ("dirichlet", "quantity"):
        spread += f" (alpha {data.alpha_ppm / PPM:g})"
    rows = [
        ("source", f"`{data.source}`{' – ' + escape(facts.data) if facts.data else ''}"),
        ("licence", escape(facts.licence)),
        ("partition", f"{spread}, {data.trainers}"),
        ("rounds", str(facts.round_count)),
        ("local", f"{amount}, batch {training.batch_size}"),
        ("algorithm", f"{training.algorithm}, {training.optimizer}"),
        ("rate", f"{training.learning_rate_ppm / PPM:g} ({training.lr_schedule})"),
        ("aggregator", training.aggregator),
        ("codec", f"`{training.codec}`"),
    ]
    if training.flower:
        rows.append(("flower", f"`{training.flower}`"))
    return [(key, value.replace("|", "\\|") if key == "codec" else value) for key, value in rows]


def _describe_measured(facts: Facts, texts: Texts) -> list[str]:
    if not facts.measured:
        return [texts.text("card.not_measured")]
    names = ("card.column.where", "card.column.samples", "column.accuracy", "column.loss")
    rows = [
        [
            texts.text(f"card.where.{each.where}"),
            f"{each.samples:,}" if each.samples else "–",
            format_percent(each.accuracy_ppm, 2),
            "–" if each.loss_ppm is None else format_nat(each.loss_ppm, signed=False),
        ]
        for each in facts.measured
    ]
    table = _grid([texts.text(name) for name in names], rows)
    notes = [texts.text(f"card.where_note.{each.where}") for each in facts.measured]
    if facts.task.training.aggregator == "trust_root":
        notes.append(texts.text("card.where_note.root"))
    return [table, " ".join(notes) if texts.language == "en" else "".join(notes)]


def _proof_rows(facts: Facts, texts: Texts) -> list[tuple[str, str]]:
    signed = texts.text("fact.of", n=facts.signer_count, total=facts.committee_count)
    rows = [
        ("task_id", f"`{facts.task_id}`"),
        ("certificate", f"`{facts.certificate}`"),
        ("signed", signed),
        ("model", f"`{facts.model_digest}`"),
        ("holdout", ", ".join(f"`{name}`" for name in facts.holdout_blobs)),
    ]
    if facts.wanted.name:
        rows += [("member", escape(facts.wanted.name)), ("key", f"`{facts.wanted.pubkey}`")]
        rows.append(("width", format_width(facts.wanted.width_ppm)))
    if facts.contribution_ppm is not None:
        error = format_nat(facts.error_ppm, signed=False)
        rows.append(("contribution", f"{format_nat(facts.contribution_ppm)} ± {error} nat"))
    if facts.receipt:
        rows.append(("receipt", f"`{facts.receipt}`"))
    if facts.version:
        rows.append(("version", facts.version))
    return rows


def _list_limits(facts: Facts, texts: Texts) -> str:
    privacy = facts.task.privacy
    keys: list[tuple[str, dict[str, object]]] = [("measured_on", {}), ("certified", {})]
    if facts.wanted.width_ppm < PPM:
        keys.append(("narrow", {"width": format_width(facts.wanted.width_ppm)}))
    if privacy.mode == "secure":
        keys.append(("secure", {}))
    elif privacy.mode == "none":
        keys.append(("not_private", {}))
    else:
        delta = f"{privacy.delta_ppb / 1e9:g}"
        epsilon = format_epsilon(facts.epsilon_milli)
        keys.append(("private", {"epsilon": epsilon, "delta": delta}))
    keys.append(("no_safety", {}))
    return "\n".join(f"- {texts.text(f'card.limit.{key}', **places)}" for key, places in keys)


def _table(rows: list[tuple[str, str]], texts: Texts) -> str:
    shown = [[texts.text(f"card.row.{key}"), value] for key, value in rows if value]
    return _grid(["", ""], shown)


def _grid(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list_metrics(each: Measured) -> list[dict[str, Any]]:
    values = {"accuracy": each.accuracy_ppm, "loss": each.loss_ppm}
    return [
        {"type": name, "value": round(value / PPM, DIGITS_SHOWN)}
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    ]
