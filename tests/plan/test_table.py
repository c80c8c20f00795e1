from __future__ import annotations

import io
import re

from rich.console import Console

from scope_batch.core.plan import Plan
from scope_batch.plan.view.table import render_plan
from tests.plan.helpers import plan, video_plan


def shown(plan: Plan, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    console.print(render_plan(plan))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(len(line) <= width for line in text.splitlines())
    return str(text)


def row(text: str, chunk: int) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [str(chunk)])


def test_a_row_shows_delivered_frames_event_and_seed() -> None:
    text = shown(plan({"chunk": 2, "text": "dog"}, num_frames=40))
    assert row(text, 2) == ["2", "21-32", "12", "recache:", "prompt", "change", "dog", "48"]
    assert row(text, 3) == ["3", "33-39", "7/12", "51"]


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


LORA = "/l/dissolve.safetensors"


def test_a_changing_value_has_a_row_of_blocks_and_a_column() -> None:
    text = shown(video_plan(noise_scale={0: 0.8, 49: 0.4}, lora_scales={LORA: {0: 0, 49: 1}}, num_frames=61))
    assert "noise          0.80 █▆▅▃▁ 0.40" in text
    assert "lora dissolve  0.00 ▁▃▅▆█ 1.00" in text
    assert row(text, 1)[-1] == "0.25"


def test_a_lora_that_does_not_change_is_in_the_headline() -> None:
    text = shown(plan(lora_scales={LORA: 0.8, "/l/x.safetensors": 1}))
    assert text.splitlines()[2] == "lora dissolve 0.80 (merged) · lora x 1.00 (merged)"
    assert "▁" not in text


def test_a_long_plan_shows_every_chunk_that_changes_and_samples_its_blocks() -> None:
    text = shown(plan({"chunk": 70, "lora_scales": {LORA: 1}}, num_frames=1200), width=80)
    rows = [line.split()[0] for line in text.splitlines() if line.split()[-1:] in (["0.00"], ["1.00"])]
    assert "0-69" not in rows and "70" in rows
    line = next(line for line in text.splitlines() if line.startswith("lora dissolve"))
    assert line.count("▁") + line.count("█") <= 60 and line.endswith("█ 1.00")
    ramp = shown(plan(lora_scales={LORA: {0: 0, 1199: 1}}, num_frames=1200))
    assert all(row(ramp, chunk) for chunk in range(100))


def test_many_loras_and_long_names_fit_the_terminal() -> None:
    names = {f"/l/{'x' * 50}{i}.safetensors": [0, i] for i in range(1, 9)}
    assert shown(plan(lora_scales=names)).count("…") >= 8


def test_of_a_long_table_the_middle_is_left_out_and_the_rest_counted() -> None:
    entries = [{"chunk": chunk, "text": f"scene {chunk}", "transition_num_steps": 9} for chunk in range(300)]
    text = shown(plan(*entries, num_frames=3600))
    assert [chunk for chunk in (0, 149, 251, 300) if row(text, chunk)] == [0, 149, 251, 300]
    assert "scene 150 " not in text and "101 rows are left out; --json shows every chunk" in text
    assert "-> chunk 49," in text and "-> chunk 50," not in text and "and 250 more" in text
    assert text.count("warning: ") == 51 and "more; --json lists them all" in text


def test_of_an_entry_placed_by_time_the_time_at_which_it_acts_is_shown() -> None:
    text = shown(video_plan({"time": 1.6, "text": "a dog"}))
    assert re.search(r"time 1.6 s +-> chunk 2, from frame 25 \(1.562 s\)", text)


def test_a_terminal_too_narrow_for_the_table_gets_paragraphs() -> None:
    text = shown(video_plan({"frame": 30, "text": "a dog that jumps over a puddle"}, noise_scale=[0.8, 0.6]), width=40)
    lines = text.splitlines()
    start = lines.index("chunk 2 · frames 25-37 · keep 13 · seed ")
    assert lines[start + 1 : start + 5] == [
        "42 · steps 500 750 · noise 0.60",
        "  event: cut: prompt change in video ",
        "mode",
        "  prompt: a dog that jumps over a puddle",
    ]
    assert "frame 30 -> chunk 2, from frame 25 text" in lines and "…" not in text.replace("▅", "")
