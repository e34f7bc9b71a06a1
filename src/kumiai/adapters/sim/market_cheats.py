"""Providers that cheat with what they say: machines around an honest one, for scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kumiai.market.effects import Effect, Heard
from kumiai.market.kinds import Kind
from kumiai.market.machine import Outcome
from kumiai.market.nips.nip01 import Filter
from kumiai.market.provider import Provider, ProviderState


@dataclass(frozen=True, slots=True)
class Vanishing:
    """Accepts its contract, fetches the data, and is never heard of again."""

    honest: Provider

    def begin(self) -> ProviderState:
        return self.honest.begin()

    def step(self, state: ProviderState, now_s: int, item: Any) -> Outcome[ProviderState]:
        if isinstance(item, Heard) and item.letter.event.kind == Kind.ROUND_REQUEST:
            return Outcome(state)
        return self.honest.step(state, now_s, item)

    def get_pending(self, state: ProviderState) -> Mapping[str, Effect]:
        return self.honest.get_pending(state)

    def list_filters(self, state: ProviderState) -> tuple[Filter, ...]:
        return self.honest.list_filters(state)
