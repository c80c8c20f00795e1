"""How large a pipeline's networks are: read from the headers of its files, or as published. Torch-free, a few ms.

Only the few numbers that everything else follows from are kept: a loader accepts no checkpoint of other shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from scope_batch.errors import JobError, MissingInputError
from scope_batch.files.access import read_json, reading
from scope_batch.files.safetensors_header import read_safetensors_header
from scope_batch.models import layout
from scope_batch.models.folder import TINY, models_folder, wanted_artifacts
from scope_batch.models.layout import Role, VaeType
from scope_batch.models.lora.header import read_lora_layout
from scope_batch.models.pickle_shapes import Shape, read_pickle_shapes

Shapes = Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class Backbone:
    """Widths of a Wan transformer. vace_blocks: of its VACE module, if that is loaded."""

    width: int
    ffn: int
    layers: int
    heads: int
    vace_blocks: int = 0
    text_width: int = 4096
    time_width: int = 256


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """A UMT5 encoder. Its matrices are fp8 in the file, all but the one that leads out of each feed-forward stay so."""

    vocabulary: int
    width: int
    inner: int
    ffn: int
    layers: int


@dataclass(frozen=True, slots=True)
class SideBranches:
    """LoRAs beside the weights. numbers: of A and B; moved: of parameters that a LoRA adds a difference to."""

    numbers: int = 0
    moved: int = 0


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """vae_width: channels of the Wan VAE's full-size layers. read: all of it is from files, nothing as published."""

    backbone: Backbone
    text_encoder: TextEncoder
    vae_width: int
    branches: SideBranches = SideBranches()
    read: bool = False


WAN_1_3B = Backbone(width=1536, ffn=8960, layers=30, heads=12, vace_blocks=15)
WAN_14B = Backbone(width=5120, ffn=13824, layers=40, heads=40, vace_blocks=8)
UMT5_XXL = TextEncoder(vocabulary=256384, width=4096, inner=4096, ffn=10240, layers=24)
TINY_BACKBONE = Backbone(width=256, ffn=512, layers=4, heads=2, vace_blocks=2)
TINY_TEXT_ENCODER = TextEncoder(vocabulary=939, width=4096, inner=64, ffn=96, layers=2)
TINY_VAE_WIDTH = 8
PUBLISHED_BACKBONES = {"krea-realtime-video": WAN_14B}
"""By pipeline; every other one is made from Wan 2.1 1.3B."""
VAE_WIDTHS: Mapping[VaeType, int] = {"wan": 96, "lightvae": 24}
"""By `vae_type`; of others no forecast is made."""


def model_sizes(
    pipeline_id: str, models: str | None, vae_type: VaeType, *, vace: bool, loras: Sequence[Path] = ()
) -> ModelSizes | None:
    """Sizes of what a render loads; None for a pipeline or a VAE of which they are not known.

    models  as `find_models` takes it. vace: with the VACE module. loras: those that stay side branches.

    What a missing or unreadable file would tell is taken as published: the loader is the one to refuse it.
    """
    if vae_type not in VAE_WIDTHS or not layout.is_known(pipeline_id):
        return None
    if models == TINY:
        sizes = ModelSizes(TINY_BACKBONE, TINY_TEXT_ENCODER, TINY_VAE_WIDTH, read=True)
    else:
        published = ModelSizes(PUBLISHED_BACKBONES.get(pipeline_id, WAN_1_3B), UMT5_XXL, VAE_WIDTHS[vae_type])
        sizes = _read(models_folder(models), pipeline_id, vae_type, published)
    backbone = sizes.backbone if vace else replace(sizes.backbone, vace_blocks=0)
    return replace(sizes, backbone=backbone, branches=_branches(loras))


def _read(folder: Path, pipeline_id: str, vae_type: VaeType, published: ModelSizes) -> ModelSizes:
    wanted = wanted_artifacts(pipeline_id, folder, vae_type=vae_type, vace=True)
    paths: dict[Role, Path] = {artifact.role: folder / artifact.local for artifact in wanted}
    shapes = {role: _file_shapes(paths[role]) for role in ("backbone", "vace", "vae", "text_encoder")}
    backbone = _backbone(shapes["backbone"], shapes["vace"], paths["config"], published.backbone)
    vae_width = _first(shapes["vae"], "encoder.conv1.weight")
    if backbone is None or not vae_width:
        return published
    text_encoder = _text_encoder(shapes["text_encoder"]) or published.text_encoder
    return ModelSizes(backbone, text_encoder, vae_width, read=True)


def _backbone(shapes: Shapes, vace: Shapes, config: Path, published: Backbone) -> Backbone | None:
    bare = {key.removeprefix("model."): shape for key, shape in shapes.items()}
    try:
        heads = int(read_json(config)["num_heads"])
    except (MissingInputError, JobError, ValueError, LookupError, TypeError):
        return None
    found = Backbone(
        width=_first(bare, "patch_embedding.weight"),
        ffn=_first(bare, "blocks.0.ffn.0.weight", "blocks.0.ffn.net.0.proj.weight"),
        layers=_count(bare, "blocks"),
        heads=heads,
        vace_blocks=_count(vace, "vace_blocks") or published.vace_blocks,
    )
    return found if found.width and found.ffn and found.layers and heads else None


def _text_encoder(shapes: Shapes) -> TextEncoder | None:
    found = TextEncoder(
        vocabulary=_first(shapes, "token_embedding.weight"),
        width=_first(shapes, "norm.weight"),
        inner=_first(shapes, "blocks.0.attn.q.weight"),
        ffn=_first(shapes, "blocks.0.ffn.gate.0.weight"),
        layers=_count(shapes, "blocks"),
    )
    return found if all((found.vocabulary, found.width, found.inner, found.ffn, found.layers)) else None


def _first(shapes: Shapes, *keys: str) -> int:
    """The first axis of whichever of these there is, else 0."""
    return next((shapes[key][0] for key in keys if shapes.get(key)), 0)


def _count(shapes: Shapes, name: str) -> int:
    numbers = [int(found[1]) for key in shapes if (found := re.match(rf"{name}\.(\d+)\.", key))]
    return 1 + max(numbers, default=-1)


def _file_shapes(path: Path) -> dict[str, Shape]:
    if path.suffix != ".safetensors":
        return read_pickle_shapes(path)
    try:
        with reading(path), path.open("rb") as file:
            return {key: entry.shape for key, entry in read_safetensors_header(file, str(path)).tensors.items()}
    except (MissingInputError, JobError):
        return {}


def _branches(loras: Sequence[Path]) -> SideBranches:
    numbers = moved = 0
    for path in loras:
        found = read_lora_layout(path)
        numbers += sum(prod(found.shapes[key]) for pair in found.pairs.values() for key in (pair.a, pair.b))
        moved += sum(prod(found.shapes[key]) for key in found.diffs.values())
    return SideBranches(numbers, moved)
