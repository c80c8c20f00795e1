from __future__ import annotations

import io

from rich.console import Console

from scope_batch.chunk import Plan
from scope_batch.plan.table import render_plan
from tests.plan.helpers import plan, video_plan


def shown(plan: Plan, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    console.print(render_plan(plan))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(len(line) <= width for line in text.splitlines())
    return str(text)


def row(text: str, chunk: int) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [str(chunk)])


def test_a_row_tells_frames_kept_latents_what_happens_and_the_seed() -> None:
    text = shown(plan({"chunk": 2, "text": "dog"}, num_frames=40))
    assert row(text, 2) == ["2", "21-32", "12", "3", "recache:", "prompt", "change", "dog", "48"]
    assert row(text, 3) == ["3", "33-39", "7/12", "3", "51"]


def test_a_transition_shows_its_step_and_share() -> None:
    text = shown(plan({"chunk": 1, "text": "dog", "transition_num_steps": 3}), width=120)
    assert "2/3 (50%) to dog" in text


def test_values_that_never_change_are_in_the_headline_and_have_no_column() -> None:
    text = shown(plan(), width=120)
    assert text.splitlines()[1] == "steps 1000 750 500 250"
    assert "noise" not in text


def test_values_that_change_have_a_column() -> None:
    text = shown(video_plan(noise_scale=[0.8, 0.6]), width=120)
    assert row(text, 0)[-3:] == ["700", "750", "0.80"] and row(text, 1)[-3:] == ["500", "750", "0.60"]


def test_the_controller_shows_its_range() -> None:
    text = shown(video_plan(), width=160)
    assert "steps 510-690 750 · noise controller 0.61-0.79" in text


def test_landings_sizes_notes_and_warnings_follow() -> None:
    text = shown(video_plan({"frame": 30, "text": "dog"}), width=120)
    assert "frame 30  -> chunk 2, from frame 25  text" in text
    assert "size: 53.1 MB as npy, forecast for mp4 about 1.8 MB" in text
    assert "warning: hard cut at chunk 2 (frame 25)" in text


def test_a_prompt_with_markup_is_shown_as_it_is() -> None:
    assert "[bold]x[/nope]" in shown(plan(prompt="[bold]x[/nope]"), width=120)


def test_a_long_plan_folds_runs_of_like_chunks() -> None:
    text = shown(plan({"frame": 300, "text": "dog"}, num_frames=3000), width=100)
    assert "1-24" in text and "26-249" in text and row(text, 250)[1] == "2997-2999"


def test_the_smallest_and_the_fullest_plan_fit_eighty_columns() -> None:
    words = "a long prompt of many words that goes on and on, " * 20
    shown(plan(num_frames=1, prompt=words))
    shown(
        video_plan(
            {"chunk": 1, "text": words}, {"chunk": 2, "denoising_steps": [900, 800, 700]}, noise_scale=[0.5, 0.6]
        )
    )
