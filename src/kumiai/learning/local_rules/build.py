"""The local rule of a task's settings."""

from __future__ import annotations

from kumiai.learning.local_rules.muon import muon
from kumiai.learning.local_rules.optimisers import adamw, sgd
from kumiai.learning.local_rules.rule import Rule
from kumiai.learning.local_rules.settings import TrainSettings
from kumiai.learning.local_rules.wrappers import fedprox, guided


def build_rule(settings: TrainSettings) -> Rule:
    """Return the rule of `settings.algorithm` around its inner optimiser."""
    rule = build_inner(settings)
    if settings.algorithm == "fedprox":
        rule = fedprox(rule, settings.prox_mu)
    has_control = settings.algorithm == "scaffold"
    if settings.is_scheduled or has_control:
        rule = guided(rule, has_rate=settings.is_scheduled, has_control=has_control)
    return rule


def build_inner(settings: TrainSettings) -> Rule:
    """Return the inner optimiser: AdamW for diloco unless it is muon, else the one asked for."""
    if settings.optimizer == "muon":  # with diloco: MuLoCo
        return muon(settings.learning_rate, settings.momentum, settings.weight_decay)
    if settings.optimizer == "adamw" or settings.algorithm == "diloco":
        return adamw(settings.learning_rate, settings.weight_decay)
    return sgd(settings.learning_rate, settings.momentum, settings.weight_decay)
