"""Reads the sizes of a pipeline's networks from the headers of its model files, in a few ms. Torch-free.

If files are missing or unreadable, it returns the sizes of the published files; the loader reports the fault.
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
from scope_batch.models.folder import RANDOM, TINY, model_files, models_folder, wanted_artifacts
from scope_batch.models.layout import VaeType
from scope_batch.models.lora.header import read_lora_layout
from scope_batch.models.pickle_shapes import Shape, read_pickle_shapes

Shapes = Mapping[str, Shape]
"""Shape by key of a checkpoint, in Wan's or diffusers' naming."""

FLOAT_BYTES = 4
_FLOAT32 = re.compile(r"time_embedd|modulation|scale_shift_table|\.norm[123]\.")
"""`_keep_in_fp32_modules` of diffusers' Wan transformer, in both namings."""
_BACKBONE = re.compile(
    r"blocks\.|patch_embedding|text_embedding|time_|condition_embedder|head\.|proj_out|scale_shift_table"
)
_VACE = re.compile("vace_")
_UMT5_BFLOAT16 = re.compile(r"token_embedding|pos_embedding|fc2")
"""Matrices of the text encoder that are cast to bfloat16."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Counts the parameters of a Wan network.

    cast     stored in the job's dtype; linear: those of them in matrices of linear layers, one byte each under fp8.
    float32  always stored in float32.
    """

    cast: int = 0
    linear: int = 0
    float32: int = 0

    def stored_bytes(self, number_bytes: int, *, fp8: bool = False) -> int:
        """Return the bytes on the device. number_bytes: of the job's dtype.

        The scales under fp8 (4 bytes per matrix) are not counted.
        """
        saved = self.linear * (number_bytes - 1) if fp8 else 0
        return self.cast * number_bytes - saved + self.float32 * FLOAT_BYTES


@dataclass(frozen=True, slots=True)
class Backbone:
    """The sizes of a Wan transformer. block: the weights of one of its `layers` blocks."""

    width: int
    ffn: int
    layers: int
    heads: int
    weights: Weights
    block: Weights


@dataclass(frozen=True, slots=True)
class SideBranches:
    """Counts parameters of LoRAs beside the weights: `numbers` in A and B, `moved` in whole differences."""

    numbers: int = 0
    moved: int = 0


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """The sizes of all networks of a pipeline.

    vace_blocks  0 if the VACE module is not loaded.
    vae_width    channels of the VAE's full-size layers; vae_numbers: its parameters.
    read         True: read from the files; False: those of the published files.
    """

    backbone: Backbone
    vace_blocks: int
    vace: Weights
    vae_width: int
    vae_numbers: int
    text_encoder_bytes: int
    branches: SideBranches = SideBranches()
    read: bool = False


_UMT5_XXL_BYTES = 7_737_942_016
VAES: Mapping[VaeType, tuple[int, int]] = {"wan": (96, 126_892_531), "lightvae": (24, 8_035_003)}
"""Width and parameters of the published VAEs by `vae_type`; the forecast does not support others."""
WAN_1_3B = ModelSizes(
    Backbone(
        *(1536, 8960, 30, 12),
        weights=Weights(1_415_869_504, 1_414_889_472, 3_127_296),
        block=Weights(46_428_416, 46_399_488, 12_288),
    ),
    *(15, Weights(734_790_912, 733_741_056, 184_320), *VAES["wan"], _UMT5_XXL_BYTES),
)
WAN_14B = ModelSizes(
    Backbone(
        *(5120, 13824, 40, 40),
        weights=Weights(14_259_307_584, 14_255_718_400, 29_184_000),
        block=Weights(351_353_344, 351_272_960, 40_960),
    ),
    *(8, Weights(3_048_773_632, 3_046_113_280, 327_680), *VAES["wan"], _UMT5_XXL_BYTES),
)
TINY_SIZES = ModelSizes(
    Backbone(*(128, 512, 8, 1), weights=Weights(2_255_040, 2_228_224, 57_856), block=Weights(264_320, 262_144, 1_024)),
    *(2, Weights(627_456, 573_440, 2_048), 16, 3_602_371, 575_744),
    read=True,
)
PUBLISHED = {"krea-realtime-video": WAN_14B}
"""Published sizes by pipeline; all others have those of Wan 2.1 1.3B."""


def model_sizes(
    pipeline_id: str, models: str | None, vae_type: VaeType, *, vace: bool, loras: Sequence[Path] = ()
) -> ModelSizes | None:
    """Return the sizes of all networks that a render loads; None if those of the pipeline or VAE are not known.

    models  as for `find_models`. vace: with the VACE module. loras: those that stay side branches.
    """
    if vae_type not in VAES or not layout.is_known(pipeline_id):
        return None
    if models == TINY:
        sizes = TINY_SIZES
    else:
        width, numbers = VAES[vae_type]
        published = replace(PUBLISHED.get(pipeline_id, WAN_1_3B), vae_width=width, vae_numbers=numbers)
        read = None if models == RANDOM else _read(models_folder(models), pipeline_id, vae_type, published)
        sizes = read or published
    if not vace:
        sizes = replace(sizes, vace_blocks=0, vace=Weights())
    return replace(sizes, branches=_branches(loras))


def _read(folder: Path, pipeline_id: str, vae_type: VaeType, published: ModelSizes) -> ModelSizes | None:
    """Read the sizes from the files; None if the backbone, the VAE or `config.json` (number of heads) is unreadable."""
    files = model_files(folder, wanted_artifacts(pipeline_id, folder, vae_type=vae_type, vace=True))
    vae, text_encoder = _file_shapes(files.vae), _file_shapes(files.text_encoder)
    vace = _part(_file_shapes(files.vace), _VACE) if files.vace else {}
    backbone = _part(_file_shapes(files.backbone), _BACKBONE)
    block = _part(backbone, re.compile(r"blocks\.0\."))
    try:
        return ModelSizes(
            Backbone(
                width=backbone["patch_embedding.weight"][0],
                ffn=next(shape[0] for key, shape in block.items() if re.search(r"ffn\.(net\.0\.proj|0)\.w", key)),
                layers=_count(backbone, "blocks"),
                heads=int(read_json(files.config)["num_heads"]),
                weights=weights_of(backbone),
                block=weights_of(block),
            ),
            vace_blocks=_count(vace, "vace_blocks") or published.vace_blocks,
            vace=weights_of(vace) if vace else published.vace,
            vae_width=(vae.get("encoder.conv1.weight") or vae["encoder.conv_in.weight"])[0],
            vae_numbers=_numbers(vae),
            text_encoder_bytes=umt5_bytes(text_encoder) if text_encoder else published.text_encoder_bytes,
            read=True,
        )
    except (MissingInputError, JobError, ValueError, LookupError, TypeError, StopIteration):
        return None


def weights_of(shapes: Shapes) -> Weights:
    """Count the parameters of a Wan transformer or VACE module, or of a part of one."""
    cast = {key: shape for key, shape in shapes.items() if not _FLOAT32.search(key)}
    linear = {key: shape for key, shape in cast.items() if len(shape) == 2}
    return Weights(_numbers(cast), _numbers(linear), _numbers(shapes) - _numbers(cast))


def umt5_bytes(shapes: Shapes) -> int:
    """Return the bytes of a UMT5 encoder (in Wan's naming) on a GPU, where matrices stay in fp8 as published."""
    fp8 = {key: shape for key, shape in shapes.items() if len(shape) == 2 and not _UMT5_BFLOAT16.search(key)}
    return 2 * _numbers(shapes) - _numbers(fp8)


def _numbers(shapes: Shapes) -> int:
    return sum(map(prod, shapes.values()))


def _part(shapes: Shapes, keys: re.Pattern[str]) -> Shapes:
    """Return the tensors whose keys match, as the loader does. A prefix `model.` is removed."""
    bare = {key.removeprefix("model."): shape for key, shape in shapes.items()}
    return {key: shape for key, shape in bare.items() if keys.match(key)}


def _count(shapes: Shapes, name: str) -> int:
    numbers = [int(match[1]) for key in shapes if (match := re.match(rf"{name}\.(\d+)\.", key))]
    return 1 + max(numbers, default=-1)


def _file_shapes(path: Path) -> Shapes:
    """Return the shapes by key; empty for a file that is missing or unreadable."""
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
        layout = read_lora_layout(path)
        numbers += sum(prod(layout.shapes[key]) for pair in layout.pairs.values() for key in (pair.a, pair.b))
        moved += sum(prod(layout.shapes[key]) for key in layout.diffs.values())
    return SideBranches(numbers, moved)
