"""A model that knows one cycle by heart writes it; bits a byte against their closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from kumiai.learning.text_loss import compute_bits_per_byte
from kumiai.learning.writing import write_on


class Cycle(nn.Module):
    """Surely predicts token + 1 modulo 5; remembers how much it was shown."""

    seen = 0

    def forward(self, tokens_1T: Tensor) -> Tensor:
        self.seen = max(self.seen, tokens_1T.shape[1])
        return 100.0 * nn.functional.one_hot((tokens_1T + 1) % 5, 5).float()


class Even(nn.Module):
    def forward(self, tokens_1T: Tensor) -> Tensor:
        return torch.zeros(*tokens_1T.shape, 4)


def test_what_is_sure_is_written_and_the_window_is_kept() -> None:
    module = Cycle()
    written = write_on(module, torch.tensor([3.0]), 9, 4, seed=0, temperature=1.0)
    assert written.tolist() == [4, 0, 1, 2, 3, 4, 0, 1, 2]
    assert module.seen == 4


def test_the_seed_decides_and_the_global_generator_stays_untouched() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a, b, c = (write_on(Even(), torch.tensor([0]), 40, 8, s, 1.0).tolist() for s in (1, 1, 2))
    assert a == b != c
    assert torch.equal(before, torch.get_rng_state())
    assert set(a) == {0, 1, 2, 3}


def test_bits_a_byte() -> None:
    assert compute_bits_per_byte(math.log(52), 1.0) == pytest.approx(math.log2(52))
    assert compute_bits_per_byte(3 * math.log(2), 1.5) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="token_bytes 0"):
        compute_bits_per_byte(1.0, 0)


@pytest.mark.parametrize("bad", [(0, 1, 1, 1.0), (1, 0, 1, 1.0), (1, 1, 0, 1.0), (1, 1, 1, 0.0)])
def test_impossible_arguments(bad: tuple[int, int, int, float]) -> None:
    start, count, window, temperature = bad
    with pytest.raises(ValueError, match="must be above 0"):
        write_on(Even(), torch.zeros(start), count, window, 0, temperature)
