"""Loads a causal Wan pipeline onto its device and opens sessions with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch

from scope_batch.core.conditioning import texts_of
from scope_batch.core.engine import EngineRequest
from scope_batch.core.plan import Plan
from scope_batch.engine.device import (
    device_faults,
    environment,
    exact_arithmetic,
    free_unreachable,
    peak_bytes,
    resolve_device,
    resolve_dtype,
)
from scope_batch.engine.lora_scales import LoraScales
from scope_batch.engine.noise import NoiseSource
from scope_batch.engine.offload import apply_low_vram, choose_low_vram
from scope_batch.engine.quantization import (
    HIGH_SPEED,
    QUANTIZATION,
    check_fp8,
    check_high_speed,
    check_loras,
    fp8_config,
    import_torchao,
    quantize,
)
from scope_batch.engine.session import CausalSession
from scope_batch.engine.text_encoder import PromptEncoder
from scope_batch.engine.transformer import CausalWan
from scope_batch.engine.vace_transformer import CausalVaceWan
from scope_batch.engine.vae_backends import TaeVae, WanVae
from scope_batch.engine.vae_stream import Vae
from scope_batch.events import Report
from scope_batch.kernels import reason_against
from scope_batch.models.folder import ModelFiles, find_models
from scope_batch.models.layout import VaeType
from scope_batch.models.lora.weights import read_loras
from scope_batch.models.modules import BuiltinLora, load_transformer, load_vae
from scope_batch.models.tae import TinyAutoencoder
from scope_batch.pipelines import PipelineSpec


@dataclass(frozen=True, slots=True)
class CausalEngine:
    """A causal pipeline on its device; implements `scope_batch.core.engine.Engine`. Pipelines differ only in `spec`.

    kernels  the transformer's blocks and the VAE use the kernels of `scope_batch.kernels`.
    graphs   sessions may replay forward passes as CUDA graphs.
    speed    see `EngineRequest`.
    """

    spec: PipelineSpec
    transformer: CausalWan | CausalVaceWan
    loras: LoraScales
    vae: Vae
    prompts: PromptEncoder
    device: torch.device
    noise_device: torch.device
    kernels: bool = False
    graphs: bool = False
    speed: str = "exact"

    @contextmanager
    def session(self, plan: Plan, report: Report) -> Iterator[CausalSession]:
        """Encode the plan's prompts and allocate the caches. They are freed at the end, also after an error."""
        with device_faults(None):
            self.prompts.prepare(texts_of(chunk.conditioning for chunk in plan.chunks), report)
        free_unreachable(self.device)
        with NoiseSource(plan, self.device, self.noise_device) as noise, torch.no_grad():
            with device_faults(0):
                session = CausalSession(
                    self.spec,
                    plan,
                    self.transformer,
                    self.loras,
                    self.vae,
                    self.prompts,
                    noise,
                    report,
                    graphs=self.graphs,
                )
            try:
                yield session
            finally:
                session.close()

    def expect_prompts(self, texts: Sequence[str]) -> None:
        """See `PromptedEngine`."""
        self.prompts.expected = tuple(texts)

    def peak_device_bytes(self) -> int:
        """Return the most device memory allocated so far, in bytes; 0 on the CPU."""
        return peak_bytes(self.device)

    def environment(self) -> dict[str, str]:
        """See `ReproducibleEngine`."""
        dtypes = (self.transformer.dtype, self.vae.dtype)
        names = [str(dtype).removeprefix("torch.") for dtype in dtypes]
        facts = {"dtype": names[0], "VAE dtype": names[1], "kernels": "fused" if self.kernels else "torch"}
        if self.speed == "high":
            facts["speed"] = self.speed
        if self.transformer.attention is not None:
            facts["attention"] = "FlashAttention 3, fp8" if self.speed == "high" else "FlashAttention 3"
        return environment(self.device) | facts


def load(request: EngineRequest, report: Report, *, builtin_lora: BuiltinLora = "merged") -> CausalEngine:
    """Load the pipeline of `request.spec`.

    builtin_lora  use of the pipeline's own LoRA; see `load_transformer`.
    Raises UnavailableError if the device or model files are missing, and JobError if files are damaged or do not fit.
    """
    exact_arithmetic(deterministic=request.deterministic)
    device = resolve_device(request.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dtype = resolve_dtype(request.dtype, device)
    vae_dtype = dtype if request.vae_dtype == "auto" else resolve_dtype(request.vae_dtype, device)
    if request.quantization:
        check_fp8(device, QUANTIZATION)
        import_torchao()
    if request.speed == "high":
        check_high_speed(request, device)
    low_vram = choose_low_vram(request, device, report)
    kernels = request.kernels == "auto" and reason_against(device) is None
    files = find_models(
        request.spec.id,
        request.models,
        vae_type=cast(VaeType, request.vae_type),
        builtin_lora=builtin_lora != "none",
        vace=request.vace,
        report=report,
    )
    kind: type[CausalWan | CausalVaceWan] = CausalVaceWan if request.vace else CausalWan
    loras = read_loras([lora.path for lora in request.loras], files, report)
    scales = [lora.scale for lora in request.loras]
    with device_faults(None):
        transformer = load_transformer(
            files,
            kind=kind,
            dtype=dtype,
            device=device,
            builtin_lora=builtin_lora,
            blocks_on=torch.device("cpu") if low_vram == "on" else device,
            merge=[(lora, scale) for lora, scale in zip(loras, scales, strict=True) if scale is not None],
            report=report,
        )
        branches = {i: lora for i, lora in enumerate(loras) if scales[i] is None}
        if request.quantization:
            check_loras(transformer, list(branches.values()), QUANTIZATION)
            quantize(transformer, fp8_config())
        if request.speed == "high":
            check_loras(transformer, list(branches.values()), HIGH_SPEED)
        lora_scales = LoraScales(transformer, branches)
        apply_low_vram(low_vram, transformer, dtype, device)
        if kernels:
            # Imported here because Triton exists only where a GPU may be.
            from scope_batch.engine.fused_blocks import use_fused_blocks

            use_fused_blocks(transformer, fp8=request.speed == "high")
        return CausalEngine(
            spec=request.spec,
            transformer=transformer,
            loras=lora_scales,
            vae=_vae(files, vae_dtype, device, report, kernels=kernels),
            prompts=PromptEncoder(files, device),
            device=device,
            noise_device=_noise_device(request.noise_device, device),
            kernels=kernels,
            speed=request.speed,
            graphs=kernels and low_vram == "off" and request.quantization is None,
        )


def _vae(files: ModelFiles, dtype: torch.dtype, device: torch.device, report: Report, *, kernels: bool) -> Vae:
    module = load_vae(files, dtype=dtype, device=device, report=report)
    if isinstance(module, TinyAutoencoder):
        return TaeVae(module, outputs_raw_latents=files.vae_type == "lighttae")
    return WanVae(module, kernels=kernels)


def _noise_device(name: str, device: torch.device) -> torch.device:
    """Resolve `noise_device`; "cuda" means the compute device if that is a GPU."""
    return device if name == device.type else resolve_device(name, "noise_device")
