"""examples/tiny_world: scenes obey their words, and what is trained is what the engine runs."""

from __future__ import annotations

import copy
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from examples.tiny_world import context_videos, export
from examples.tiny_world.adapters import add_low_rank, changes, load_changes
from examples.tiny_world.chunks import FrameLayout, Layout, next_chunk, rollout, to_latents, to_patches
from examples.tiny_world.context_videos import ContextVideos
from examples.tiny_world.control import KINDS, Control, Vace, draw_control
from examples.tiny_world.extras import frame_cases, half
from examples.tiny_world.judge import delay_of, draw_probes, judge, judge_stages
from examples.tiny_world.learning import (
    CHUNKS,
    OPENING,
    WORDINGS,
    Shelf,
    fill_shelf,
    layout_of,
    make_own,
    noisy_chunks,
    pair_layout,
    statistics,
    step_loss,
    thing_of_tokens,
)
from examples.tiny_world.long_videos import MORE, LongVideos
from examples.tiny_world.optimizer import Optimizer
from examples.tiny_world.scenes import CHOICES, GRID, NOUNS, Painter, draw_scenes, scenes_of
from examples.tiny_world.tae import CONFIG, run_clips
from examples.tiny_world.transformer import CHUNK, Runner, World, rotary_at, rotary_of
from examples.tiny_world.vae import ClipVae, fold_statistics, new_vae
from examples.tiny_world.words import TOKENS, prompts_of, token_ids, tokenizer
from scope_batch.core.conditioning import Blend, Prompt
from scope_batch.core.plan import Chunk, Plan
from scope_batch.engine.loader import CausalEngine
from scope_batch.engine.lora_scales import LoraScales
from scope_batch.engine.noise import draw
from scope_batch.engine.rope import RotaryTable
from scope_batch.engine.transformer import CausalWan, normalise_and_rotate
from scope_batch.engine.vace_transformer import CausalVaceWan, ChunkSelfAttention
from scope_batch.engine.vae_backends import WanVae
from scope_batch.engine.vae_stream import DecoderStream, EncoderStream
from scope_batch.events import silent
from scope_batch.models.folder import find_models
from scope_batch.models.modules import load_text_encoder, load_tokenizer, load_transformer, load_vae
from scope_batch.models.tae import MEMORY_BLOCKS, TinyAutoencoder
from scope_batch.models.tiny import build
from scope_batch.models.tiny.build import is_timed
from scope_batch.pipelines import PIPELINES
from scope_batch.pipelines.builtin import KREA
from tests.render.helpers import plan_of

CPU = torch.device("cpu")
SIZE = 32
"""Height and width in pixels."""
TOLD = ("a red ball on the left", "a blue star at night, spinning")


@pytest.fixture(scope="module")
def world() -> World:
    """Random weights in all layers: new ones change nothing."""
    torch.manual_seed(0)
    made = World(layers=2)
    with torch.no_grad():
        for parameter in made.wan.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return made


@pytest.fixture(scope="module")
def vae() -> ClipVae:
    torch.manual_seed(0)
    made = new_vae(CPU).requires_grad_(False)
    for name, parameter in made.named_parameters():
        if is_timed(name):
            parameter += 0.05 * torch.randn_like(parameter)
    return ClipVae(made)


def test_a_thing_moves_as_its_scene_tells() -> None:
    told = [{"noun": "ball", "place": "left", "motion": motion} for motion in ("right", "still")]
    pixels, thing = Painter(CPU).paint(scenes_of(told), torch.tensor([[0.0, 8.0]] * 2), 96, 160)
    columns = (thing * torch.arange(160)).sum((1, 3, 4)) / thing.sum((1, 3, 4))
    assert columns[:, 0].tolist() == pytest.approx([2 * GRID - 0.5] * 2, abs=0.5)
    assert columns[0, 1] - columns[0, 0] == pytest.approx(2 * GRID, abs=0.1) and columns[1, 1] == columns[1, 0]
    red, green, blue = (pixels[1, :, 0] * thing[1, :, 0]).sum((-1, -2))
    assert red > green and red > blue


@pytest.mark.parametrize("size", ["small", "medium", "big"])
@pytest.mark.parametrize("motion", ["left", "right", "up"])
def test_what_leaves_the_picture_comes_in_again_at_once(motion: str, size: str) -> None:
    scene = scenes_of([{"noun": "box", "motion": motion, "size": size}])
    _, thing = Painter(CPU).paint(scene, torch.arange(1.0, 160)[None], 128, 224)
    frames = "".join("shown" if share > 0 else "-" for share in thing.sum((0, 1, 3, 4)))
    assert 0 < max(map(len, frames.split("shown"))) < 8  # out of sight for less than two latent frames


def test_a_drawn_scene_is_judged_right_in_every_feature() -> None:
    probes, painter, chunks = draw_probes(1), Painter(CPU), 4
    video, _ = painter.clip(probes.before, probes.after, 21, 45, 96, 160)
    found: dict[str, dict[str, list[bool]]] = {}
    judge_stages(painter, probes, 0, chunks, video, found)
    assert {stage: {key: [True] for key in (*CHOICES, "path")} for stage in found} == found


def test_a_thing_that_is_ahead_is_judged_at_its_own_moment() -> None:
    painter, time = Painter(CPU), torch.arange(4.0)[None]
    scene = scenes_of([{"noun": "car", "motion": "right", "ground": "city"}])
    ahead, _ = painter.paint(scene, time + 22, 96, 160)
    delay = delay_of(painter, scene, time, ahead)
    assert delay == 22 and all(judge(painter, scene, time + delay, ahead)["motion"])
    assert not judge(painter, scene, time, ahead)["place"][0]


def test_another_thing_at_another_place_is_judged_wrong_in_these_features() -> None:
    scenes, other = (
        scenes_of([{"noun": n, "place": p, "motion": "still", "ground": "sea"}])
        for n, p in (("ball", "left"), ("car", "right"))
    )
    painter, time = Painter(CPU), torch.zeros(1, 1)
    found = judge(painter, scenes, time, painter.paint(other, time, 96, 160)[0])
    assert not any(found[key][0] for key in ("place", "path")) and found["light"] == found["ground"] == [True]


def test_a_clip_changes_its_scene_where_it_is_told_to() -> None:
    first, second = (scenes_of([{"noun": noun, "motion": "still"}]) for noun in ("nothing", "ball"))
    _, thing = Painter(CPU).clip(first, second, 5, 9, 32, 32)
    assert [bool(frame.any()) for frame in thing[0, 0]] == [False] * 5 + [True] * 4


def test_every_word_of_a_prompt_is_one_token() -> None:
    splitter = tokenizer()
    for prompt in prompts_of(draw_scenes(300, torch.Generator().manual_seed(0)), seed=0):
        words = prompt.replace(",", "").replace(".", "").split()
        assert [token for token in splitter.encode(prompt).tokens if len(token) > 2] == [
            *("\u2581" + word for word in words if len(word) > 1), "</s>"
        ]  # fmt: skip
        assert len(splitter.encode(prompt).ids) <= TOKENS


def test_a_clip_through_the_vae_is_what_the_streams_make(vae: ClipVae) -> None:
    pixels = torch.rand(1, 3, 9, SIZE, SIZE) * 2 - 1
    latents = vae.encode(pixels)[0]
    streamed = EncoderStream(WanVae(vae.vae), normalised=False).encode(pixels)
    torch.testing.assert_close(latents, streamed.transpose(1, 2), atol=1e-5, rtol=1e-4)
    frames, _ = DecoderStream(WanVae(vae.vae)).decode(_normalised(latents).transpose(1, 2))
    made = vae.decode(latents)[0].clamp(-1, 1).add(1).mul(127.5).permute(1, 2, 3, 0)
    assert (made - frames).abs().max() < 0.6


def _normalised(latents: Tensor) -> Tensor:
    mean, deviation = statistics(CPU)
    return (latents - mean) / deviation


def test_folded_statistics_are_wans(vae: ClipVae) -> None:
    pixels = torch.rand(1, 3, 9, SIZE, SIZE) * 2 - 1
    before = vae.encode(pixels)[0]
    made = vae.decode(before)
    fold_statistics(vae.vae, before.mean((0, 2, 3, 4)), before.std((0, 2, 3, 4)))
    after = _normalised(vae.encode(pixels)[0])
    assert after.mean((0, 2, 3, 4)).abs().max() < 1e-4 and (after.std((0, 2, 3, 4)) - 1).abs().max() < 1e-3
    torch.testing.assert_close(vae.decode(vae.encode(pixels)[0]), made, atol=1e-4, rtol=1e-4)


class Prompts:
    """A stand-in for `PromptEncoder` over the text encoder of a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def prepare(self, texts: list[str], report: object) -> None:
        pass

    @torch.no_grad()
    def __call__(self, text: str) -> Tensor:
        ids = token_ids([text], tokenizer())
        ids = ids[:, : int((ids > 0).sum())]
        return torch.nn.functional.pad(
            self.world.text(input_ids=ids).last_hidden_state[0], (0, 0, 0, 512 - ids.shape[1])
        )


def _plan(pipeline: str, switch: int, chunks: int) -> Plan:
    spec, made, first, latent = PIPELINES[pipeline], [], 0, 0
    for index in range(chunks):
        frames, latents = (count("text", first=not index) for count in (spec.chunk_frames, spec.chunk_latents))
        recached = index == switch and spec.on_prompt_change == "recache"
        made.append(
            Chunk(
                index=index, first_frame=first, frames=frames, keep=frames, latents=latents, start_latent=latent,
                mode="text", cut_reason=None if index else "start", text_changed=index in (0, switch),
                recache_reason="prompt change" if recached else None, seed=42, noise_scale=None,
                conditioning=Blend((Prompt(TOLD[index >= switch]),)), denoising_steps=spec.steps_text,
                noise_controller=False,
            )
        )  # fmt: skip
        first, latent = first + frames, latent + latents
    return Plan(pipeline, first, Fraction(16), SIZE, SIZE, tuple(made))


@pytest.mark.parametrize(("pipeline", "switch", "chunks"), [("longlive", 2, 4), ("streamdiffusionv2", 7, 11)])
def test_a_rollout_is_what_the_engine_makes(
    pipeline: str, switch: int, chunks: int, world: World, vae: ClipVae
) -> None:
    plan, single = _plan(pipeline, switch, chunks), pipeline == "streamdiffusionv2"  # each of 12 latent frames
    transformer = CausalWan.from_config(world.wan.config).requires_grad_(False)
    transformer.load_state_dict(world.wan.state_dict())
    engine = CausalEngine(
        PIPELINES[pipeline], transformer, LoraScales(transformer, {}), WanVae(vae.vae), Prompts(world), CPU, CPU
    )  # type: ignore[arg-type]
    with engine.session(plan, silent) as session:
        wanted = torch.cat([torch.from_numpy(session.generate(chunk).latents()) for chunk in plan.chunks])
    drawn = [draw(chunk, SIZE, SIZE, device=CPU) for chunk in plan.chunks]
    by_step = [torch.cat([noise.initial[0] for noise in drawn])]
    by_step += [torch.cat(step) for step in zip(*(noise.steps for noise in drawn), strict=True)]
    groups, first = (12, plan.chunks[switch].start_latent) if single else (4, switch)
    patches = [to_patches(noise.transpose(0, 1)[None]).view(1, groups, -1, 64) for noise in by_step]
    with torch.no_grad():
        before, after = world.read(token_ids(list(TOLD), tokenizer())).split(1)
    made = rollout(
        Runner(world), (before, after), range(groups), SIZE // 16, SIZE // 16, first,
        lambda group, step: patches[step][:, group, None], single=single,
    ).view(1, 4, -1, 64)  # fmt: skip
    torch.testing.assert_close(to_latents(made, SIZE // 8, SIZE // 8)[0].transpose(0, 1), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("switch", "late"), [(0, False), (3, False), (3, True)])
def test_attention_of_all_groups_at_once_is_that_of_each(switch: int, late: bool) -> None:
    layout = Layout(4, (0, 3), switch, late)
    query, key, value = (torch.randn(2, 6, 5, 8, requires_grad=True) for _ in range(3))
    made = layout.attend(0, query, key, value)
    one_by_one = []
    for group in range(6):
        seen = [*layout.attended(group), group]
        k, v = (torch.cat([every[:, i] for i in seen], 1) for every in (key, value))
        one_by_one.append(torch.nn.functional.scaled_dot_product_attention(query[:, group], k, v))
    wanted = torch.stack(one_by_one, 1)
    torch.testing.assert_close(made, wanted)
    gradients = [torch.autograd.grad(x.square().sum(), (query, key, value), retain_graph=True) for x in (made, wanted)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("switch", "moved"), [(0, 0), (3, 30)])
def test_a_step_of_the_training_lowers_the_loss(switch: int, moved: int) -> None:
    torch.manual_seed(0)
    world, shelf = World(layers=1), _shelf(switch)
    optimizer, layout = Optimizer(world), layout_of(switch, moved=bool(moved))
    optimizer.rate.fill_(2e-3)
    losses = []
    for _ in range(4):
        torch.manual_seed(1)
        loss = step_loss(Runner(world), shelf, layout, rotary_of(layout.groups, 2, 2, CPU, moved), 2, 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


def test_openings_are_learnt_from_the_prompt_alone(vae: ClipVae) -> None:
    shelf = fill_shelf(vae, Painter(CPU), SIZE, SIZE, 0, 3, seed=0, chunks=1)
    assert shelf.openings and shelf.thing.shape == shelf.patches.shape[:3] == (3, 1, 12)
    step_loss(Runner(World(layers=1)), shelf, OPENING, rotary_of((0,), 2, 2, CPU), 2, 0.0).backward()


def test_a_late_clip_is_the_end_of_a_long_one(vae: ClipVae) -> None:
    late = fill_shelf(vae, Painter(CPU), SIZE, SIZE, 0, 1, seed=0, late=2)
    long = fill_shelf(vae, Painter(CPU), SIZE, SIZE, 0, 1, seed=0, chunks=CHUNKS + 2)
    kept = [0, *range(3, CHUNKS + 2)]
    torch.testing.assert_close(late.patches, long.patches[:, kept], atol=2e-2, rtol=2e-2)
    assert torch.equal(late.thing, long.thing[:, kept])


def test_own_clips_are_rollouts(vae: ClipVae, world: World) -> None:
    shelf = fill_shelf(vae, Painter(CPU), SIZE, SIZE, 0, 1, seed=0)
    shelf.own = shelf.patches.clone()
    torch.manual_seed(3)
    own = make_own(Runner(world), shelf, 1)
    torch.manual_seed(3)
    _, wording = torch.randint(1, (1,)), int(torch.randint(WORDINGS, (1,)))
    with torch.no_grad():
        prompts = world.read(shelf.tokens[0, :, wording]).split(1)
    made = rollout(Runner(world), prompts, range(CHUNKS), 2, 2, 0, lambda *_: torch.randn(1, 1, 12, 64)).bfloat16()
    assert torch.equal(own, made) and torch.equal(shelf.own, own)


def test_chunks_whose_past_is_missing_are_not_trained() -> None:
    assert set(noisy_chunks(0, moved=True)) == {0, *range(3, CHUNKS)}
    assert set(noisy_chunks(4, moved=True)) == {4, 5, 6}


@pytest.mark.parametrize("single", [False, True])
def test_a_video_carried_on_is_that_of_one_long_rollout(vae: ClipVae, world: World, *, single: bool) -> None:
    shelf = fill_shelf(vae, Painter(CPU), SIZE, SIZE, 0, 2, seed=0, late=1)
    scenes = draw_scenes(2, torch.Generator().manual_seed(0))
    videos = LongVideos(Runner(world), vae, Painter(CPU), shelf, scenes, single)
    torch.manual_seed(3)
    videos.carry_on()
    videos.carry_on()
    torch.manual_seed(3)
    wording = torch.randint(WORDINGS, (2,))
    with torch.no_grad():
        prompt = world.read(shelf.tokens[torch.arange(2), 1, wording])
    chunks, each = 1 + 3 * MORE, CHUNK if single else 1
    long = rollout(
        Runner(world), (prompt, prompt), range(each * chunks), 2, 2, 0,
        lambda *_: torch.randn(2, 1, 12 // each, 64), single=single,
    ).view(2, chunks, 12, 64)  # fmt: skip
    assert shelf.own is not None and shelf.late == chunks - CHUNKS
    torch.testing.assert_close(shelf.own, long[:, [0, *range(chunks - MORE, chunks)]].bfloat16())


def test_the_true_clip_of_a_video_that_is_ahead_is_drawn_at_its_own_moment(vae: ClipVae, world: World) -> None:
    scenes = scenes_of([{"noun": "box", "motion": "right", "ground": "city"}])
    shelf = fill_shelf(vae, Painter(CPU), SIZE, 64, 0, 1, seed=0, late=1)
    videos = LongVideos(Runner(world), vae, Painter(CPU), shelf, scenes)
    videos.carry_on()
    first, ahead = videos.time.clone(), 3  # latent frames
    begin = first[:, None] + 4 * ahead - 9
    pixels, thing = Painter(CPU).paint(scenes, begin + torch.arange(9 + 12 * MORE), SIZE, 64)
    wanted = to_patches(_normalised(vae.encode(pixels)[0]))[:, 1:]
    assert shelf.own is not None
    shelf.own[:, 1:] = wanted
    videos._draw(slice(0, 1))
    assert videos.time.tolist() == [first.item() + 12 * MORE + 4 * ahead]
    torch.testing.assert_close(shelf.patches[:, 1:].float(), wanted, atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(shelf.thing[:, 1:], thing_of_tokens(thing)[:, 1:])


def test_late_clips_of_single_frames_are_renewed_in_place_at_their_true_positions(vae: ClipVae, world: World) -> None:
    cases, renew = frame_cases(vae, Painter(CPU), Runner(world), toy=True)
    late, layout, rotary = cases[-1]
    patches, own = late.patches, late.own
    assert [shelf.own is None for shelf, _, _ in cases] == [True, True, True, False] and own is not None
    true = patches.clone()
    for chunks in (2 * MORE + 1, 3 * MORE + 1):
        renew()
        places = [0, 1, 2, *range(CHUNK * (chunks - MORE), CHUNK * chunks)]
        wanted = rotary_at(tuple(places[frame] for frame in layout.groups), *late.grid, CPU)
        assert torch.equal(rotary, wanted)
    assert late.patches is patches and late.own is own and not torch.equal(own[:, :3], true[:, :3])
    assert torch.equal(patches[:, :3], true[:, :3]) and not torch.equal(patches[:, 3:], true[:, 3:])
    step_loss(Runner(world), late, layout, rotary, 2, 1.0).backward()


def _shelf(switch: int) -> Shelf:
    patches = torch.randn(2, CHUNKS, 12, 64).bfloat16()
    return Shelf(32, 32, switch, patches, torch.zeros(2, CHUNKS, 12), torch.randint(1, 99, (2, 2, 4, TOKENS)))


def test_what_is_packed_is_laid_out_for_the_engine(
    world: World, vae: ClipVae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt, weights = tmp_path / "learnt", tmp_path / "weights"
    learnt.mkdir()
    save_file(vae.vae.state_dict(), learnt / "vae.safetensors")
    state = {key: tensor.clone() for key, tensor in world.state_dict().items() if "embed_tokens" not in key}
    save_file(state, learnt / "average.safetensors")
    export.pack(learnt, weights)
    monkeypatch.setattr(build, "WEIGHTS", weights)
    monkeypatch.setenv("SCOPE_BATCH_CACHE", str(tmp_path / "cache"))
    files = find_models("longlive", "tiny")
    transformer = load_transformer(files, kind=CausalWan, dtype=torch.float32, device=CPU)
    torch.testing.assert_close(transformer.state_dict(), dict(world.wan.state_dict()), atol=2e-3, rtol=1e-3)
    loaded = load_vae(files, dtype=torch.float32, device=CPU)
    for key, tensor in vae.vae.state_dict().items():
        torch.testing.assert_close(
            loaded.state_dict()[key], tensor, atol=1e-3 + float(tensor.abs().max()) / 254, rtol=0
        )
    ids = load_tokenizer(files)(TOLD[0]).input_ids
    assert ids == tokenizer().encode(TOLD[0]).ids
    rows = load_text_encoder(files, device=CPU)(torch.tensor([ids])).last_hidden_state
    torch.testing.assert_close(rows, world.states(torch.tensor([ids])), atol=2e-2, rtol=1e-2)
    export.unpack(weights, tmp_path / "again")
    again = load_file(tmp_path / "again" / "average.safetensors")
    assert again.keys() == state.keys()


def test_groups_of_single_frames_attend_as_streamdiffusionv2() -> None:
    layout = FrameLayout(9, (0, 1, 6), recached=False)
    assert [layout.attended(group) for group in (0, 1, 2, 5)] == [(1,), (0,), (0, 1), (0, 1, 2, 3, 4)]
    assert [layout.attended(group) for group in (9, 10, 11)] == [(10,), (9,), (0, 1, 2, 4, 5)]


def test_without_a_recache_earlier_groups_keep_their_prompt() -> None:
    layout = Layout(4, (0, 3), switch=2, recached=False)
    assert [layout.prompt(group) for group in range(6)] == [0, 0, 1, 1, 0, 1] and layout.attended(1) == (0,)


def test_a_pair_begins_in_the_middle_of_its_scene(vae: ClipVae) -> None:
    shelf = fill_shelf(vae, Painter(CPU), SIZE, SIZE, 1, 2, seed=0, chunks=2, anywhere=True)
    layout = pair_layout(1)
    assert shelf.pairs and layout.noisy == (1,) and layout.prompt(0) == 1
    step_loss(Runner(World(layers=1)), shelf, layout, rotary_of(layout.groups, 2, 2, CPU), 2, 0.0).backward()


def test_chunks_with_a_context_are_what_krea_makes(world: World, vae: ClipVae) -> None:
    size, change = 64, {"chunk": 2, "text": TOLD[1]}
    job = {"pipeline_id": KREA.id, "models": "tiny", "prompt": TOLD[0], "height": size, "width": size}
    plan = plan_of(job, num_frames=33, chunk_specs=[change])
    transformer = CausalWan.from_config(world.wan.config).requires_grad_(False)
    transformer.load_state_dict(world.wan.state_dict())
    engine = CausalEngine(KREA, transformer, LoraScales(transformer, {}), WanVae(vae.vae), Prompts(world), CPU, CPU)
    with engine.session(plan, silent) as session:
        latents = [torch.from_numpy(session.generate(chunk).latents()) for chunk in plan.chunks]
    wanted = [to_patches(made.transpose(0, 1)[None]) for made in latents]
    videos = ContextVideos(Runner(world), vae, Painter(CPU), size, size, 1, seed=0)
    videos.context = wanted[0]
    for chunk in plan.chunks[1:]:
        drawn = draw(chunk, size, size, device=CPU)
        noises = [to_patches(x.transpose(1, 2)) for x in (drawn.initial, *(step[None] for step in drawn.steps))]
        with torch.no_grad():
            prompt = world.read(token_ids([TOLD[chunk.index >= 2]], tokenizer()))
            made = next_chunk(Runner(world), prompt, videos.context, 4, 4, noises.__getitem__)
            torch.testing.assert_close(made, wanted[chunk.index], atol=1e-4, rtol=1e-4)
            videos._follow(slice(0, 1), made)


def test_a_video_with_a_context_is_followed_at_its_own_moment(vae: ClipVae, world: World) -> None:
    videos = ContextVideos(Runner(world), vae, Painter(CPU), SIZE, 64, 2, seed=0)
    videos.scenes = scenes_of([{"noun": "box", "motion": motion, "ground": "city"} for motion in ("right", "still")])
    moments = videos.time[:, None] + 8 + torch.arange(-9, 12)  # two latent frames ahead
    seen = _normalised(vae.encode(videos.painter.paint(videos.scenes, moments, SIZE, 64)[0])[0])
    videos.context, made = to_patches(seen).split(1, 1)
    drawn = videos.painter.paint(videos.scenes, moments, SIZE, 64)[0]
    videos.vae = SimpleNamespace(encode=vae.encode, decode=lambda _: drawn)  # the random one blurs
    videos._follow(slice(0, 2), made)
    assert videos.time.tolist() == [9 + 12 + 8, 9 + 12]


def test_after_a_change_of_prompt_a_thing_begins_again_unless_it_continues(
    vae: ClipVae, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = ContextVideos(Runner(world), vae, Painter(CPU), SIZE, SIZE, 3, seed=0)
    videos.scenes = scenes_of([{"noun": "box", "motion": "right"}] * 3)
    videos.time[:] = 33.0
    after = scenes_of([{"noun": "cat", "motion": motion} for motion in ("right", "left", "left")])
    monkeypatch.setattr(context_videos, "draw_scenes", lambda *_: after)
    videos._change(torch.tensor([True, True, False]))
    assert videos.time.tolist() == [33, 1, 33]
    assert videos.scenes.noun.tolist() == [after.noun[0], after.noun[1], NOUNS.index("box")]


def test_own_contexts_are_trained_towards_the_chunks_after_them(vae: ClipVae, world: World) -> None:
    torch.manual_seed(0)
    videos = ContextVideos(Runner(world), vae, Painter(CPU), SIZE, 64, 1, seed=0)
    context, shelf = videos.context.clone(), videos.shelf
    moments, scenes = videos.time[:, None] + torch.arange(-9, 12), videos.scenes
    videos.carry_on()
    pixels, thing = videos.painter.paint(scenes, moments, SIZE, 64)
    true = to_patches(_normalised(vae.encode(pixels)[0]))[0, 1]
    torch.testing.assert_close(shelf.patches[0].float(), torch.stack([context[0, 0], true]), atol=2e-2, rtol=2e-2)
    assert torch.equal(shelf.thing[0, 1], thing_of_tokens(thing)[0, 1])
    assert bool(shelf.tokens[:, 1, 0, 0].all()) and len(shelf.patches) == 4


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])
def test_a_control_shows_what_is_kept(kind: str) -> None:
    scenes = draw_scenes(2, torch.Generator().manual_seed(0))
    real, shown, masks, _ = draw_control(Painter(CPU), scenes, kind, 9, 32, 32, torch.Generator().manual_seed(1))
    kept = (masks == 0).expand_as(real)
    assert kind in ("depth", "edges", "inpainting") or bool((shown[~kept] == 0).all())
    torch.testing.assert_close(real[kept], shown[kept])
    assert bool(kept.any()) == (kind in ("inpainting", "keyframes"))


@torch.no_grad()
def test_hints_are_those_of_the_engine(world: World) -> None:
    vace = Vace(world)
    for parameter in vace.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    model = CausalVaceWan.from_config(world.wan.config, vace_layers=[0, 1], vace_in_channels=96)
    model.load_state_dict(world.wan.state_dict() | vace.state_dict())
    context, x = torch.randn(1, 96, 3, 4, 4), torch.randn(1, 12, 128)
    text, modulation = torch.randn(1, 5, 128), torch.randn(1, 6, 128)
    rotary = RotaryTable(128, 2, 2, 3, CPU).at(range(3))
    state, wanted = model.vace_patch_embedding(context).flatten(2).transpose(1, 2), []
    for block in model.vace_blocks:
        block.attn1.set_processor(ChunkSelfAttention(normalise_and_rotate))
        hint, state = block(x, text, state, modulation, rotary)
        wanted.append(hint)
    add = Control(vace, Runner(world), to_patches(context), text, (2, 2)).start(x, modulation, torch.zeros(5))
    made = [add(layer, torch.zeros_like(x)) for layer in (0, 1)]
    torch.testing.assert_close(made, wanted, atol=1e-4, rtol=1e-4)


def test_changes_of_low_rank_are_merged_as_they_were_trained(world: World) -> None:
    changing = copy.deepcopy(world)
    add_low_rank(changing, 2, ends=True)
    with torch.no_grad():
        for parameter in changing.wan.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    merged = build.changed(dict(world.wan.state_dict()), changes(changing, ends=True))
    layer = "blocks.1.attn1.to_q.weight"
    torch.testing.assert_close(merged[layer].float(), changing.wan.blocks[1].attn1.to_q.weight, atol=1e-3, rtol=1e-3)
    assert torch.equal(merged["proj_out.bias"], changing.wan.proj_out.bias)


def test_a_training_carries_on_from_saved_changes(world: World) -> None:
    first, second = copy.deepcopy(world), copy.deepcopy(world)
    for one in (first, second):
        add_low_rank(one, 2, ends=True)
    with torch.no_grad():
        for parameter in changes(first, ends=True).values():
            parameter += 0.05 * torch.randn_like(parameter)
    saved = half(changes(first, ends=True))
    load_changes(second, saved, ends=True)
    again = half(changes(second, ends=True))
    assert again.keys() == saved.keys() and all(torch.equal(again[key], saved[key]) for key in saved)


def test_the_auto_encoder_over_a_clip_is_what_its_stream_makes() -> None:
    model = TinyAutoencoder(CONFIG).requires_grad_(False)
    latents = torch.randn(1, 3, 16, 4, 4)
    memory: list[Tensor | None] = [None] * MEMORY_BLOCKS
    streamed = torch.cat([model.decode(latent[None], memory) for latent in latents[0]])
    torch.testing.assert_close(run_clips(model.decoder, latents)[0], streamed, atol=1e-5, rtol=1e-4)
