import pytest

from scope_batch.errors import JobError, UsageError
from scope_batch.job import load_text
from scope_batch.job.overrides import parse_key


def refuse(override: str) -> str:
    with pytest.raises((JobError, UsageError)) as caught:
        load_text("prompt: a\nchunk_specs: [{chunk: 1}]", name="j", overrides=[override])
    return f"{caught.value.exit_code} {caught.value}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "2 --set seed: has no value; write --set seed=VALUE"),
        ("=1", "2 --set : not a key such as seed, video.crf or chunk_specs.0.text"),
        ("a..b=1", "2 --set a..b: not a key such as seed, video.crf or chunk_specs.0.text"),
        ("prompt.x=1", "65 --set prompt.x: prompt is a single value, it has no x"),
        (
            "chunk_specs.2.text=1",
            "65 --set chunk_specs.2.text: chunk_specs is a list, it takes an index in 0..1 (the last one appends)",
        ),
        ("seed=[1", "65 --set seed: not valid YAML: a list [ is not closed by ], or a text in it needs quotes"),
        ("seed=x", "65 --set seed: seed: must be a whole number or a list of them, not 'x'"),
        ("sed=1", "65 --set sed: sed: unknown key (did you mean seed?)"),
        ("input_path=", "65 --set input_path: input_path: must be a path, not empty"),
    ],
)
def test_a_bad_override_is_one_line(override: str, message: str) -> None:
    assert refuse(override) == message


@pytest.mark.parametrize("key", ["lora_scales.a.b.safetensors.1", "lora_scales.'a.b.safetensors'.1"])
def test_the_file_of_a_lora_needs_no_quotes(key: str) -> None:
    assert parse_key(key) == ("lora_scales", "a.b.safetensors", "1")


def test_a_key_with_dots_is_quoted() -> None:
    assert parse_key("lora_scales.'a.b'") == ("lora_scales", "a.b")
    assert parse_key('lora_scales."a.b".0') == ("lora_scales", "a.b", "0")


def test_an_empty_value_is_not_the_default() -> None:
    with pytest.raises(UsageError, match="--set seed=: the value is empty"):
        load_text("prompt: a", name="job.yaml", overrides=["seed="])


def test_null_removes_a_path_from_a_job() -> None:
    job = load_text(
        "prompt: a\nvace_frames: a.npy\noutput: a.mp4", name="j", overrides=["vace_frames=null", "output=null"]
    )
    assert job.vace_frames is None and job.output == ()
    assert load_text("prompt: a", name="j", overrides=["vace_frames=./null"]).vace_frames is not None


@pytest.mark.parametrize(
    ("overrides", "warnings"),
    [
        (["seed=1", "seed=2"], ("--set seed=1 has no effect: --set seed=2 comes later",)),
        (["video.crf=9", "video=null"], ("--set video.crf=9 has no effect: --set video=null comes later",)),
        (["seed=1", "seed=1"], ()),
        (["video={crf: 9}", "video.crf=8"], ()),
    ],
)
def test_an_override_that_a_later_one_replaces_is_a_warning(overrides: list[str], warnings: tuple[str, ...]) -> None:
    assert load_text("prompt: a", name="j", overrides=overrides).source.warnings == warnings


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("prompt: a photo #1 of a cat",
         ("j:1:9: prompt: '#1 of a cat' is a comment, no part of the text; quotes keep it in",)),
        ("prompt: a cat  # in the rain", ()),
        ("prompt: 'a photo #1'", ()),
        ("prompt: a\nchunk_specs: [{chunk: 1, text: dusk #sunset\n}]",
         ("j:2:32: chunk_specs[0].text: '#sunset' is a comment, no part of the text; quotes keep it in",)),
        ("prompt: a#1", ()),
    ],
)  # fmt: skip
def test_a_comment_that_looks_like_part_of_a_prompt_is_a_warning(text: str, warnings: tuple[str, ...]) -> None:
    assert load_text(text, name="j").source.warnings == warnings
