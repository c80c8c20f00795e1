"""Holds the pipeline that clients have loaded: its status, and the defaults that it gives to their requests."""

from __future__ import annotations

import logging
import threading
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from scope_batch.errors import JobError, MissingInputError, ScopeBatchError
from scope_batch.job.load import parse_job
from scope_batch.job.positions import Source
from scope_batch.models.folder import TINY, find_models
from scope_batch.pipelines import KNOWN_PIPELINES
from scope_batch.processors import PROCESSORS
from scope_batch.serve.problem_documents import HttpProblem
from scope_batch.serve.requests import public_text
from scope_batch.serve.roots import Root

Status = Literal["not_loaded", "loading", "loaded", "error"]
MAX_LORAS = 64
log = logging.getLogger(__name__)


class LoadedLora(BaseModel):
    """A LoRA file and its scale, as the client named them."""

    path: str
    scale: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] = 1.0


class LoadParams(BaseModel):
    """What holds for every request that does not say otherwise. Other keys are ignored, with a warning."""

    model_config = ConfigDict(extra="allow")

    height: int | None = None
    width: int | None = None
    seed: int | None = None
    base_seed: int | None = None
    loras: Annotated[list[LoadedLora], Field(max_length=MAX_LORAS)] | None = None
    lora_merge_mode: str | None = None
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
    """The loaded pipeline. "loaded" means that its model files are there and its parameters are valid; the worker reads
    the weights for the first request and keeps them."""

    def __init__(self, loras: Root, models: str | None) -> None:
        self._loras, self.models = loras, models
        self._lock = threading.Lock()
        self._status = PipelineStatus()
        self._defaults: dict[str, Any] = {}

    @property
    def status(self) -> PipelineStatus:
        with self._lock:
            return self._status

    def load(self, request: LoadRequest) -> LoadReply:
        """Set the status to "loading" and check the parameters. `finish` is to follow.

        Raises HttpProblem for ids that name no pipeline, JobError or MissingInputError for wrong parameters.
        """
        pipeline_id = _main_pipeline(request.pipeline_ids)
        params = request.load_params or LoadParams()
        defaults = self._defaults_of(pipeline_id, params)
        with self._lock:
            self._defaults = defaults
            self._status = PipelineStatus(
                status="loading",
                pipeline_id=pipeline_id,
                load_params=params.model_dump(exclude_none=True),
                loaded_lora_adapters=params.loras or [],
            )
        return LoadReply(
            message="Pipeline loading initiated successfully",
            warnings=[f"load_params.{key}: unknown key, ignored" for key in params.model_extra or ()],
        )

    def finish(self) -> None:
        """Look for the model files; the status becomes "loaded" or "error"."""
        status = self.status
        assert status.pipeline_id is not None
        try:
            if KNOWN_PIPELINES.get(status.pipeline_id).needs_models and self.models != TINY:
                find_models(status.pipeline_id, self.models)
            done = status.model_copy(update={"status": "loaded"})
        except ScopeBatchError as error:
            log.error("%s cannot be loaded: %s", status.pipeline_id, error)
            done = status.model_copy(update={"status": "error", "error": public_text(str(error), {})})
        with self._lock:
            if self._status is status:  # else another load has begun meanwhile
                self._status = done

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
        fields = {
            "pipeline_id": pipeline_id,
            "models": self.models,
            "height": params.height,
            "width": params.width,
            "seed": seed,
            "vae_type": params.vae_type,
            "quantization": params.quantization,
            "lora_scales": {str(self._loras.path_of(lora.path)): lora.scale for lora in params.loras or ()},
        }
        defaults = {name: value for name, value in fields.items() if value not in (None, {})}
        try:
            parse_job({**defaults, "prompt": "-"}, Source(name="load_params"))
        except (JobError, MissingInputError) as error:
            raise type(error)(*(public_text(line, {}) for line in error.problems), more=error.more) from None
        return defaults


def _main_pipeline(ids: list[str]) -> str:
    """Return the one pipeline among ids of processors and pipelines. Raises HttpProblem unless there is one."""
    pipelines = [name for name in ids if name in KNOWN_PIPELINES.ids()]
    unknown = [name for name in ids if name not in pipelines and name not in PROCESSORS.ids()]
    if unknown or len(pipelines) != 1:
        raise HttpProblem(HTTPStatus.BAD_REQUEST, f"pipeline_ids: must hold one of {', '.join(KNOWN_PIPELINES.ids())}")
    return pipelines[0]
