"""In-place distillation: narrow widths learn what the full one says, not the labels.

Yu and Huang, "Universally Slimmable Networks and Improved Training Techniques", 2019: the full
network learns from the labels; every other width learns the full one's class probabilities of the
same iteration, taken as given (no gradient flows into the teacher). The loss of a narrow width is
the soft cross entropy

    - sum over classes of softmax(z_full) * log softmax(z_narrow)

with z = outputs, averaged as the recipe averages its own loss. In nats; at best the teacher's
entropy, not 0. It wants long training: at first the teacher is near uniform, and since `client`
takes the mean over W widths, the labels have 1/W of the gradient. With 5 members on the digits and
20 rounds of one epoch, an mlp of 32 and 4 widths came out 3 to 29 points worse at full width than
with labels at every width, worst where classes were skewed: off by default for that. Only for the
class and token losses of `recipe`: others have no probabilities.
"""

from __future__ import annotations

from torch import Tensor

from kumiai.learning.recipe import Recipe, compute_class_loss, compute_token_loss


def check_distillable(recipe: Recipe) -> None:
    """Raise ValueError unless the recipe's loss is over classes or tokens."""
    if recipe.compute_loss not in (compute_class_loss, compute_token_loss):
        raise ValueError(
            f"recipe {recipe.name!r} has its own loss: slim_distill needs outputs over classes or "
            "tokens, so leave it off"
        )


def compute_soft_loss(
    recipe: Recipe, outputs: Tensor, teacher: Tensor, weights_B: Tensor | None
) -> Tensor:
    """Return the mean soft cross entropy, or the sum of the samples' times `weights_B`.

    outputs, teacher: [B, C, ...] for classes, [B, T, V] for tokens; both are scores, not yet
    probabilities. Works under torch.func.vmap.
    """
    dim = 1 if recipe.compute_loss is compute_class_loss else -1
    shares = teacher.detach().softmax(dim)
    losses = -(shares * outputs.log_softmax(dim)).sum(dim)
    if weights_B is None:
        return losses.mean()
    losses_B = losses.flatten(1).mean(1) if losses.dim() > 1 else losses
    return (losses_B * weights_B).sum()
