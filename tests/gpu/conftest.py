from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch

PARTS = ["config", "tokenizer", "longlive", "text_encoder", "lightvae", "vace", "loras"]
OTHER_PIPELINES = ["streamdiffusionv2", "memflow", "rewardforcing"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder `gpu`, and skip it where no CUDA device is."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, model_factory: ModuleType) -> Path:
    """The tiny random checkpoints of the parity cases, every pipeline. Read-only."""
    root: Path = model_factory.make(tmp_path_factory.mktemp("models"), parts=[*PARTS, *OTHER_PIPELINES])
    return root
