"""Defines the options about the device and the models as types, with their names and help texts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

_MACHINE = "Device"


class Dtype(StrEnum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class LowVram(StrEnum):
    auto = "auto"
    off = "off"
    on = "on"
    cast = "cast"


class Kernels(StrEnum):
    auto = "auto"
    off = "off"


Models = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|tiny|random",
        help="Folder of model files; tiny: the built-in set; random: random numbers in the published sizes.",
        rich_help_panel=_MACHINE,
    ),
]
Device = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda[:N]", help="Device to compute on.", rich_help_panel=_MACHINE)
]
RenderDevices = Annotated[
    str,
    typer.Option(
        metavar="DEVICES",
        help="Device to compute on: auto, cpu, cuda or cuda:N. Several, as in cuda:0,cuda:1 or all, render several "
        "jobs at a time, each in a process of its own; cpu:N does so on N shares of the cores.",
        rich_help_panel=_MACHINE,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Render on a Ray cluster, a job on each of its GPUs, or CPUs: auto, or HOST:PORT of its head node. The "
        "working directory, outputs and work folders must be on storage that all its nodes share.",
        rich_help_panel=_MACHINE,
    ),
]
RayWorkers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Ask Ray for so many workers, also if the cluster has to grow for them.",
        rich_help_panel=_MACHINE,
    ),
]
DtypeOption = Annotated[Dtype, typer.Option("--dtype", help="Number format of the model.", rich_help_panel=_MACHINE)]
LowVramOption = Annotated[
    LowVram,
    typer.Option(
        "--low-vram",
        help="on: the transformer's blocks are kept in host memory (same frames, slower). cast: they are stored in fp8 "
        "(other frames). auto: on if the forecast does not fit.",
        rich_help_panel=_MACHINE,
    ),
]
KernelsOption = Annotated[
    Kernels,
    typer.Option(
        "--kernels",
        help="auto: use the program's own CUDA kernels where the GPU supports them (faster; last bits differ). off: "
        "torch's alone.",
        rich_help_panel=_MACHINE,
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option("--deterministic", help="Produce the same bytes every time, also on a GPU.", rich_help_panel=_MACHINE),
]
