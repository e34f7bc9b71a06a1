"""A delivered model as an adapter in peft's own format, for `PeftModel.from_pretrained`.

Two files, adapter_config.json and adapter_model.safetensors, which follow from recipe, model and
width alone to the byte. Written without peft: the format is a table of settings and one tensor a
matrix, and importing peft takes seconds. A narrow width's alpha is alpha r_p / r, since peft
divides by the rank that it finds: the factor stays alpha / r.
"""

from __future__ import annotations

import json

from safetensors.torch import save
from torch import Tensor

from kumiai.adapters.language.lora import LORA
from kumiai.learning.recipe import Recipe, build_seeded
from kumiai.learning.recipes.lora import Adapted
from kumiai.learning.slim import extract_width

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
OURS, PEFTS = "base.", "base_model.model."


def make_adapter_files(recipe: Recipe, vector_P: Tensor, width: float) -> dict[str, bytes]:
    """Return file name -> content of the model cut to `width`; nothing for other recipes."""
    if recipe.name != LORA or recipe.origin is None:
        return {}
    module = build_seeded(recipe, width, 0)
    state = extract_width(recipe, vector_P, width)
    tensors: dict[str, Tensor] = {}
    layers = {name: m for name, m in module.named_modules() if isinstance(m, Adapted)}
    for name, layer in layers.items():
        place = PEFTS + name.removeprefix(OURS)
        a_RI = state.get(f"{name}.lora_a", layer.lora_a.detach())
        tensors[f"{place}.lora_A.weight"] = a_RI.contiguous()
        tensors[f"{place}.lora_B.weight"] = state[f"{name}.lora_b"]
    one = next(iter(layers.values()))
    rank = one.lora_b.shape[1]
    config = {
        "base_model_name_or_path": str(dict(recipe.origin.options)["base"]),
        "bias": "none",
        "fan_in_fan_out": type(one.inner).__name__ == "Conv1D",
        "inference_mode": True,
        "lora_alpha": one.scale * rank,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": [name.removeprefix(OURS) for name in layers],
        "task_type": "CAUSAL_LM",
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    return {CONFIG: text.encode(), WEIGHTS: save(tensors, {"format": "pt"})}
