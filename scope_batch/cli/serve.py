"""`serve`: the options of the HTTP server, and its run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import platformdirs
import typer

from scope_batch.cli.device_options import Dtype
from scope_batch.cli.environment import prepare_libraries
from scope_batch.cli.values import check_device, parse_bytes, parse_duration
from scope_batch.errors import UnavailableError, UsageError

_WHERE, _ACCESS, _JOBS = "Folders", "Access", "Jobs"


class OnDisconnect(StrEnum):
    cancel = "cancel"
    resume = "continue"


Host = Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.", rich_help_panel=_ACCESS)]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.", rich_help_panel=_ACCESS)]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        envvar="SCOPE_BATCH_TOKEN",
        help="What clients must send as Authorization: Bearer TOKEN, 16 to 256 letters, digits and . _ ~ -; needed "
        "where other machines reach the address.",
        rich_help_panel=_ACCESS,
    ),
]
TokenInPath = Annotated[
    bool,
    typer.Option("--token-in-path", help="Accept the token as /t/TOKEN before the path, too.", rich_help_panel=_ACCESS),
]
AllowHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="Another name under which clients reach the server. May be repeated.",
        rich_help_panel=_ACCESS,
    ),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]",
        help="Device to compute on. May be repeated: one worker each.",
        rich_help_panel=_JOBS,
    ),
]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Number format of the model.", rich_help_panel=_JOBS)]
Queue = Annotated[
    int, typer.Option(min=0, metavar="N", help="Jobs that may wait; others get 409.", rich_help_panel=_JOBS)
]
Disconnect = Annotated[
    OnDisconnect,
    typer.Option("--on-disconnect", help="What happens to a job whose client has left.", rich_help_panel=_JOBS),
]
Keep = Annotated[
    float,
    typer.Option(
        parser=parse_duration,
        metavar="TIME",
        help="How long uploads and outputs are kept, such as 90m or 24h.",
        rich_help_panel=_JOBS,
    ),
]
MaxUploads = Annotated[
    int,
    typer.Option(
        "--max-uploads",
        parser=parse_bytes,
        metavar="SIZE",
        help="What all uploads and added assets together may take on the disk, such as 500MB; others get 507.",
        rich_help_panel=_JOBS,
    ),
]
ChunkTimeout = Annotated[
    float,
    typer.Option(
        "--chunk-timeout",
        parser=parse_duration,
        metavar="TIME",
        help="A worker whose chunk takes longer is killed, and its job fails; so is one that makes no progress "
        "for so long while it loads models, prepares a job or ends its output.",
        rich_help_panel=_JOBS,
    ),
]
ModelsOption = Annotated[
    str | None,
    typer.Option(
        "--models", metavar="DIR|tiny", help="Folder of model files, or the built-in set.", rich_help_panel=_WHERE
    ),
]
LoraRoot = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="LoRAs that requests may name; default: $DAYDREAM_SCOPE_LORA_DIR, else lora in the models folder.",
        rich_help_panel=_WHERE,
    ),
]
AssetsRoot = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Images and videos that requests may name; default: $DAYDREAM_SCOPE_ASSETS_DIR, else assets beside the "
        "models folder.",
        rich_help_panel=_WHERE,
    ),
]
StateDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Jobs, uploads and outputs; default: the user's state folder.", rich_help_panel=_WHERE
    ),
]


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token: Token = None,
    token_in_path: TokenInPath = False,
    allow_host: AllowHosts = None,
    device: Devices = None,
    dtype: DtypeOption = Dtype.auto,
    queue: Queue = 0,
    on_disconnect: Disconnect = OnDisconnect.cancel,
    keep: Keep = "24h",  # type: ignore[assignment]  # typer parses a default like an argument
    max_uploads: MaxUploads = "64GB",  # type: ignore[assignment]  # as above
    chunk_timeout: ChunkTimeout = "1h",  # type: ignore[assignment]  # as above
    models: ModelsOption = None,
    lora_root: LoraRoot = None,
    assets_root: AssetsRoot = None,
    state_dir: StateDir = None,
) -> None:
    """Serve renders over HTTP, in the protocol of Scope's batch endpoint, until a signal."""
    devices = device or ["auto"]
    for name in devices:
        check_device(name)
    prepare_libraries(verbose=False, deterministic=False)
    try:
        from scope_batch.serve.guard import Access
        from scope_batch.serve.server import ServerSettings, serve
        from scope_batch.serve.service import Policy
        from scope_batch.serve.uploads import UploadLimits
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "starlette", "uvicorn"):
            raise
        raise UnavailableError(f"serve needs {error.name}: pip install 'scope-batch[serve]'") from error
    from scope_batch.render.options import RenderOptions

    if len(set(devices)) < len(devices):
        raise UsageError("--device: each device may be given once")
    settings = ServerSettings(
        state_dir=state_dir or platformdirs.user_state_path("scope-batch", appauthor=False),
        port=port,
        access=Access(host, frozenset(name.lower() for name in allow_host or []), token, token_in_path),
        policy=Policy(
            most_active=len(devices) + queue, workers=len(devices), on_disconnect=on_disconnect.value, keep_s=keep
        ),
        limits=UploadLimits(all_bytes=max_uploads),
        chunk_timeout_s=chunk_timeout,
        options=RenderOptions(dtype=dtype.value),
        devices=tuple(devices),
        models=models,
        lora_root=lora_root,
        assets_root=assets_root,
    )
    serve(settings, lambda url: typer.echo(f"serving on {url}", err=True))
