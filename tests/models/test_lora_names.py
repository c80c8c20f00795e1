from __future__ import annotations

from types import ModuleType

import pytest
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

from scope_batch.models.lora.key_names import diffusers_module

PREFIXES = [
    "",
    "diffusion_model.",
    "model.diffusion_model.",
    "transformer.",
    "base_model.model.",
    "base_model.model.diffusion_model.",
]
UNDERSCORED = ["lora_unet_", "lora_unet__", "lycoris_"]


@pytest.fixture(scope="module")
def modules(model_factory: ModuleType) -> dict[str, str]:
    """Return every module of backbone and VACE by its original name, with the name from diffusers' own converter."""
    dims = {"heads": 1, "layers": 12, "ffn": 8, "rank": 1, "user_rank": 1}
    backbone = model_factory.transformer(model_factory.Rng(0, "a"), dims, text_dim=8)
    keys = {**backbone, **model_factory.vace(model_factory.Rng(0, "b"), dims)}
    named = {key.rsplit(".", 1)[0]: key for key in keys if key.endswith(".weight")}
    return {
        module: next(iter(convert_wan_transformer_to_diffusers({key: None}))).rsplit(".", 1)[0]
        for module, key in named.items()
    }


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_module_gets_its_diffusers_name(modules: dict[str, str], prefix: str) -> None:
    assert {name: diffusers_module(prefix + name) for name in modules} == modules


@pytest.mark.parametrize("prefix", UNDERSCORED)
def test_underscores_in_a_name_do_not_matter(modules: dict[str, str], prefix: str) -> None:
    assert {name: diffusers_module(prefix + name.replace(".", "_")) for name in modules} == modules


@pytest.mark.parametrize("prefix", PREFIXES)
def test_diffusers_names_are_kept(modules: dict[str, str], prefix: str) -> None:
    assert {name: diffusers_module(prefix + name) for name in modules.values()} == {n: n for n in modules.values()}


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("lora_unet_blocks_7_cross_attn_k_img", "blocks.7.attn2.add_k_proj"),
        ("diffusion_model.img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
        ("blocks.3.modulation", "blocks.3.scale_shift_table"),
        ("head.modulation", "scale_shift_table"),
    ],
)
def test_modules_of_other_wan_models_and_parameters(name: str, module: str) -> None:
    assert diffusers_module(name) == module


@pytest.mark.parametrize(
    "name",
    [
        "lora_unet_down_blocks_0_attentions_0_proj_in",
        "transformer.single_transformer_blocks.0.attn.to_q",
        "blocks.0.attn1",
        "blocks.x.attn1.to_q",
        "blocks.01.attn1.to_q",
        "my.blocks.0.attn1.to_q",
        "",
    ],
)
def test_names_that_wan_does_not_have(name: str) -> None:
    assert diffusers_module(name) is None
