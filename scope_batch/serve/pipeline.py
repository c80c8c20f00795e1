"""Holds the pipeline that clients have loaded: its status, and the defaults that it gives to their requests."""

from __future__ import annotations

import json
import logging
import threading
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from scope_batch.errors import JobError, MissingInputError, UnavailableError
from scope_batch.job import Job
from scope_batch.job.faults import shown
from scope_batch.job.load import parse_job
from scope_batch.job.positions import Source
from scope_batch.jobs.worker import LoadOrder
from scope_batch.models import layout
from scope_batch.models.folder import TINY, find_models
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.processors import PROCESSORS
from scope_batch.serve.problem_documents import HttpProblem
from scope_batch.serve.requests import in_client_words, public_text
from scope_batch.serve.roots import Root

Status = Literal["not_loaded", "loading", "loaded", "error"]
MergeMode = Literal["runtime_peft", "permanent_merge"]
MAX_LORAS = 64
log = logging.getLogger(__name__)


class LoadedLora(BaseModel):
    """A LoRA file and its scale, as the client named them."""

    path: str
    scale: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] = 1.0


class LoraToLoad(LoadedLora):
    merge_mode: MergeMode | None = None


class LoadParams(BaseModel):
    """What holds for every request that does not say otherwise. Other keys are ignored, with a warning.

    lora_merge_mode  of LoRAs without one of their own. "runtime_peft": their scales can change without a new load;
                     "permanent_merge": they are merged into the weights where a request has one scale for all chunks.
    vace_enabled     load what VACE needs, too; by default where its files are there. Otherwise the first request with
                     control frames, masks or images loads it.
    """

    model_config = ConfigDict(extra="allow")

    height: int | None = None
    width: int | None = None
    seed: int | None = None
    base_seed: int | None = None
    loras: Annotated[list[LoraToLoad], Field(max_length=MAX_LORAS)] | None = None
    lora_merge_mode: MergeMode | None = None
    vae_type: str | None = None
    vace_enabled: bool | None = None
    quantization: str | None = None


class LoadRequest(BaseModel):
    """The last three are accepted from older clients and ignored."""

    pipeline_ids: Annotated[list[str], Field(max_length=16)]
    load_params: LoadParams | None = None
    connection_id: Any = None
    connection_info: Any = None
    user_id: Any = None


class LoadReply(BaseModel):
    message: str
    warnings: list[str] = []


class PipelineStatus(BaseModel):
    status: Status = "not_loaded"
    pipeline_id: str | None = None
    load_params: dict[str, Any] | None = None
    loaded_lora_adapters: list[LoadedLora] = []
    error: str | None = None


class Pipeline:
    """The pipeline that the workers have loaded, or are to load."""

    def __init__(self, loras: Root, models: str | None) -> None:
        self._loras, self.models = loras, models
        self._lock = threading.Lock()
        self._status = PipelineStatus()
        self._defaults: dict[str, Any] = {}
        self._order: LoadOrder | None = None

    @property
    def status(self) -> PipelineStatus:
        with self._lock:
            return self._status

    def load(self, request: LoadRequest) -> tuple[LoadReply, LoadOrder]:
        """Check the parameters and set the status to "loading". Returns what the workers are to load; `finish` follows.

        Raises HttpProblem for ids that name no pipeline, JobError or MissingInputError for wrong parameters.
        """
        pipeline_id = _main_pipeline(request.pipeline_ids)
        params = request.load_params or LoadParams()
        defaults = self._defaults_of(pipeline_id, params)
        order = LoadOrder(json.dumps({**defaults, "prompt": "-"}), self._with_vace(defaults, params))
        with self._lock:
            self._defaults, self._order = defaults, order
            self._status = PipelineStatus(
                status="loading",
                pipeline_id=pipeline_id,
                load_params=params.model_dump(exclude_none=True),
                loaded_lora_adapters=[LoadedLora(path=lora.path, scale=lora.scale) for lora in params.loras or ()],
            )
        warnings = [f"load_params.{key}: unknown key, ignored" for key in params.model_extra or ()]
        return LoadReply(message="Pipeline loading initiated successfully", warnings=warnings), order

    def finish(self, order: LoadOrder, error: str) -> None:
        """Set the status to "loaded", or to "error" if there is one; unless another load has begun meanwhile."""
        if error:
            log.error("the pipeline cannot be loaded: %s", error)
        with self._lock:
            if self._order is order:
                update = {"status": "error", "error": public_text(error, {})} if error else {"status": "loaded"}
                self._status = self._status.model_copy(update=update)

    def defaults_for(self, pipeline_id: Any) -> dict[str, Any]:
        """Return the fields that hold for a request. Raises HttpProblem unless its pipeline is the loaded one."""
        with self._lock:
            status, defaults = self._status, self._defaults
        if status.status != "loaded":
            raise HttpProblem(
                HTTPStatus.BAD_REQUEST, f"no pipeline is loaded (status: {status.status}); POST /api/v1/pipeline/load"
            )
        if pipeline_id not in (None, status.pipeline_id):
            raise HttpProblem(
                HTTPStatus.BAD_REQUEST,
                f"pipeline_id: the loaded pipeline is {status.pipeline_id}; load the other one first",
            )
        return defaults

    def _defaults_of(self, pipeline_id: str, params: LoadParams) -> dict[str, Any]:
        seed = params.seed if params.seed is not None else params.base_seed
        loras: dict[str, float] = {}
        for index, lora in enumerate(params.loras or ()):
            path = str(self._loras.path_of(lora.path))
            if path in loras:
                raise JobError(f"load_params.loras[{index}]: {shown(lora.path)}: the file is listed twice")
            loras[path] = lora.scale
        fields = {
            "pipeline_id": pipeline_id,
            "models": self.models,
            "height": params.height,
            "width": params.width,
            "seed": seed,
            "vae_type": params.vae_type,
            "quantization": params.quantization,
            "lora_scales": loras,
        }
        if any((lora.merge_mode or params.lora_merge_mode) == "runtime_peft" for lora in params.loras or ()):
            fields["lora_merge"] = "never"
        defaults = {name: value for name, value in fields.items() if value not in (None, {})}
        try:
            parse_job({**defaults, "prompt": "-"}, Source(name="load_params"))
        except (JobError, MissingInputError) as error:
            raise in_client_words(error, {}) from None
        return defaults

    def _with_vace(self, defaults: dict[str, Any], params: LoadParams) -> bool:
        if params.vace_enabled is not None:
            return params.vace_enabled
        if self.models == TINY or not layout.is_known(defaults["pipeline_id"]):
            return self.models == TINY
        try:
            vae_type = defaults.get("vae_type", Job.model_fields["vae_type"].default)
            find_models(defaults["pipeline_id"], self.models, vae_type=vae_type, vace=True)
        except UnavailableError:
            return False
        return True


def _main_pipeline(ids: list[str]) -> str:
    """Return the one pipeline among ids of processors and pipelines. Raises HttpProblem unless there is one."""
    pipelines = [name for name in ids if name in KNOWN_PIPELINES.ids()]
    unknown = [name for name in ids if name not in pipelines and name not in PROCESSORS.ids()]
    if unknown or len(pipelines) != 1:
        raise HttpProblem(HTTPStatus.BAD_REQUEST, f"pipeline_ids: must hold one of {', '.join(KNOWN_PIPELINES.ids())}")
    return pipelines[0]
