#!/usr/bin/env python3
# ruff: noqa
"""Write tiny random checkpoints in the file layout the causal Wan2.1 pipelines expect.

    python make_models.py OUT                              # everything the cases in cases/ need, float32, seed 0
    python make_models.py OUT --seed 3 --heads 3 --layers 5 --rank 4
    python make_models.py OUT --parts config tokenizer longlive text_encoder lightvae
    python make_models.py OUT --dtype bfloat16 --fp8-text-encoder
    python make_models.py OUT --parts wanvae               # full-width Wan 2.1 VAE (508 MB), not written by default

Every part has its own random stream (seed and part name), so a part has the same values whatever else is
written. numpy's legacy generator is used because its stream never changes between versions;
`--fingerprint` prints a hash per file to compare with cases/models.json.

Dependencies: numpy, torch, safetensors, tokenizers, transformers (the last two for the tokenizer only).
"""

import argparse
import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
HEAD_DIM = 128  # the pipelines assume 128 everywhere
WAN = dict(heads=2, layers=4, ffn=512, rank=8, user_rank=4)
T5 = dict(vocab_size=64, dim=4096, dim_attn=64, dim_ffn=96, num_heads=2, encoder_layers=2, decoder_layers=2)
WORDS = (
    "a cat dog bird walking jumping sleeping red blue green the in on forest city night day robot panda sitting "
    "snow river lamp fast slow old bright dark and with under car boat mountain"
).split()
PARTS = (
    "config tokenizer text_encoder longlive streamdiffusionv2 vace lightvae tae lighttae loras rewardforcing memflow"
).split()
EXTRA = ["wanvae"]


class Rng:
    """Named, version-independent stream of normals."""

    def __init__(self, seed, name):
        self.r = np.random.RandomState((zlib.crc32(name.encode()) + 7919 * seed) % 2**32)

    def __call__(self, *shape, k=1.0):
        return torch.from_numpy(self.r.standard_normal(shape).astype(np.float32) * np.float32(k))


# --------------------------------------------------------------------------------------------- transformer


def linear(s, rng, name, out, inp, k=None):
    s[name + ".weight"] = rng(out, inp, k=k or inp**-0.5)
    s[name + ".bias"] = rng(out, k=0.02)


def block(s, rng, name, d, f):
    s[f"{name}.modulation"] = rng(1, 6, d, k=0.3)
    s[f"{name}.norm3.weight"] = 1 + rng(d, k=0.1)
    s[f"{name}.norm3.bias"] = rng(d, k=0.1)
    for a in ("self_attn", "cross_attn"):
        for x in "qkvo":
            linear(s, rng, f"{name}.{a}.{x}", d, d)
        for x in "qk":
            s[f"{name}.{a}.norm_{x}.weight"] = 1 + rng(d, k=0.3)
    linear(s, rng, f"{name}.ffn.0", f, d)
    linear(s, rng, f"{name}.ffn.2", d, f)


def transformer(rng, c, text_dim=4096, freq_dim=256):
    d, s = c["heads"] * HEAD_DIM, {}
    s["patch_embedding.weight"] = rng(d, 16, 1, 2, 2, k=0.125)
    s["patch_embedding.bias"] = rng(d, k=0.02)
    linear(s, rng, "text_embedding.0", d, text_dim)
    linear(s, rng, "text_embedding.2", d, d)
    linear(s, rng, "time_embedding.0", d, freq_dim)
    linear(s, rng, "time_embedding.2", d, d)
    linear(s, rng, "time_projection.1", 6 * d, d)
    for i in range(c["layers"]):
        block(s, rng, f"blocks.{i}", d, c["ffn"])
    linear(s, rng, "head.head", 64, d)
    s["head.modulation"] = rng(1, 2, d, k=d**-0.5)
    return s


def vace(rng, c):
    d, s = c["heads"] * HEAD_DIM, {}
    s["vace_patch_embedding.weight"] = rng(d, 96, 1, 2, 2, k=0.05)
    s["vace_patch_embedding.bias"] = rng(d, k=0.02)
    for j in range(len(range(0, c["layers"], 2))):
        block(s, rng, f"vace_blocks.{j}", d, c["ffn"])
        if j == 0:
            linear(s, rng, f"vace_blocks.{j}.before_proj", d, d)
        linear(s, rng, f"vace_blocks.{j}.after_proj", d, d, k=0.3 * d**-0.5)
    return s


def lora_targets(c):
    d, f = c["heads"] * HEAD_DIM, c["ffn"]
    for i in range(c["layers"]):
        for n, o, k in [(f"{a}.{x}", d, d) for a in ("self_attn", "cross_attn") for x in "qkvo"] + [
            ("ffn.0", f, d),
            ("ffn.2", d, f),
        ]:
            yield f"blocks.{i}.{n}", o, k


def lora(rng, c, rank, k):
    """{module: (A [rank, in], B [out, rank])}"""
    return {n: (rng(rank, i, k=i**-0.5), rng(o, rank, k=k * rank**-0.5)) for n, o, i in lora_targets(c)}


def peft_lora(ab):
    s = {}
    for n, (a, b) in ab.items():
        s[f"base_model.model.{n}.lora_A.weight"], s[f"base_model.model.{n}.lora_B.weight"] = a, b
    return s


def user_lora_files(ab):
    """One delta (B @ A for every module) in the formats found in the wild."""
    rank = next(iter(ab.values()))[0].shape[0]
    names = dict(zip("qkvo", ("to_q", "to_k", "to_v", "to_out.0")))

    def diffusers(n):
        _, i, m, x = n.split(".")
        return f"transformer.blocks.{i}." + (
            f"ffn.{'net.0.proj' if x == '0' else 'net.2'}"
            if m == "ffn"
            else f"{'attn1' if m == 'self_attn' else 'attn2'}.{names[x]}"
        )

    def pack(key, down, up, alpha=None):
        s = {}
        for n, (a, b) in ab.items():
            s[f"{key(n)}.{down}.weight"] = a.clone()
            s[f"{key(n)}.{up}.weight"] = b * (rank / alpha) if alpha else b.clone()  # powers of two: exact
            if alpha:
                s[f"{key(n)}.alpha"] = torch.tensor(float(alpha))
        return s

    comfy, bare, kohya = "diffusion_model.{}".format, "{}".format, lambda n: "lora_unet_" + n.replace(".", "_")
    return {
        "style": pack(comfy, "lora_A", "lora_B"),  # no alpha: scaling 1
        "style_alpha": pack(comfy, "lora_A", "lora_B", alpha=rank / 2),  # A/B with alpha = rank/2, B doubled
        "style_downup": pack(comfy, "lora_down", "lora_up", alpha=rank / 2),
        "style_kohya": pack(kohya, "lora_down", "lora_up", alpha=rank / 2),
        "style_kohya_noalpha": pack(kohya, "lora_down", "lora_up"),
        "style_diffusers": pack(diffusers, "lora_A", "lora_B"),
        "style_bare": pack(bare, "lora_A", "lora_B"),
        "style_peft": peft_lora({n: (a.clone(), b.clone()) for n, (a, b) in ab.items()}),
    }


# --------------------------------------------------------------------------------------------- text encoder


def text_encoder(rng):
    c, s = T5, {}
    d, a, f = c["dim"], c["dim_attn"], c["dim_ffn"]
    s["token_embedding.weight"] = rng(c["vocab_size"], d)
    for i in range(c["encoder_layers"]):
        b = f"blocks.{i}"
        s[f"{b}.norm1.weight"] = 1 + rng(d, k=0.1)
        for x, k in (("q", 0.5), ("k", 1), ("v", 1)):
            s[f"{b}.attn.{x}.weight"] = rng(a, d, k=k * d**-0.5)
        s[f"{b}.attn.o.weight"] = rng(d, a, k=a**-0.5)
        s[f"{b}.norm2.weight"] = 1 + rng(d, k=0.1)
        s[f"{b}.ffn.gate.0.weight"] = rng(f, d, k=d**-0.5)
        s[f"{b}.ffn.fc1.weight"] = rng(f, d, k=d**-0.5)
        s[f"{b}.ffn.fc2.weight"] = rng(d, f, k=f**-0.5)
        s[f"{b}.pos_embedding.embedding.weight"] = rng(32, c["num_heads"])
    s["norm.weight"] = (1 + rng(d, k=0.1)) * 0.5
    return s


def tokenizer(folder):
    """Word-level stand-in with UMT5's special ids (pad 0, eos 1, unk 2); eos is appended."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = {"<pad>": 0, "</s>": 1, "<unk>": 2, **{w: i + 3 for i, w in enumerate(WORDS)}}
    t = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(tokenizer_object=t, pad_token="<pad>", eos_token="</s>", unk_token="<unk>").save_pretrained(
        folder
    )


# --------------------------------------------------------------------------------------------- VAEs


def wan_vae(rng, shapes):
    """Weights that keep a signal alive through the network: unit gain convs, unit norms, a scaled last conv."""
    s = {}
    for n, sh in shapes.items():
        if n.endswith("gamma"):
            s[n] = 1 + rng(*sh, k=0.1)
        elif n.endswith("bias"):
            s[n] = rng(*sh, k=0.05)
        else:
            fan = int(np.prod(sh[1:]))
            gain = {"decoder.head.2.weight": 0.55, "encoder.head.2.weight": 2.0}.get(n, 1.4 if "residual" in n else 1.0)
            s[n] = rng(*sh, k=gain * fan**-0.5)
    s["decoder.head.2.bias"] = torch.zeros(3)
    w = s["decoder.head.2.weight"]  # no constant offset, or every image gets a colour cast
    w -= w.double().mean(dim=(1, 2, 3, 4), keepdim=True).float()
    return s


def tae(rng, shapes):
    s = {}
    for n, sh in shapes.items():
        if n.endswith("bias"):
            s[n] = rng(*sh, k=0.05)
            continue
        fan = int(np.prod(sh[1:]))
        gain = 1.4
        if ".conv.4." in n:
            gain = 0.5  # residual branch of a memory block
        elif n == "encoder.17.weight":
            gain = 1.5
        elif n == "decoder.22.weight":
            gain = 0.045
        s[n] = rng(*sh, k=gain * fan**-0.5)
    s["decoder.22.bias"] = torch.full((3,), 0.5)  # this decoder works on [0, 1]
    w = s["decoder.22.weight"]
    w -= w.double().mean(dim=(1, 2, 3), keepdim=True).float()
    return s


# --------------------------------------------------------------------------------------------- files


def cast(s, dtype):
    return {k: v.to(dtype).contiguous() for k, v in s.items()}


def cast_text_encoder(s, dtype, fp8):
    mat = lambda k: ".attn." in k or ".ffn." in k
    return {
        k: v.to(torch.float8_e4m3fn if fp8 and mat(k) else (torch.bfloat16 if fp8 else dtype)).contiguous()
        for k, v in s.items()
    }


def make(root, seed=0, parts=PARTS, dtype=torch.float32, fp8_text_encoder=False, **dims):
    root, c = Path(root), {**WAN, **{k: v for k, v in dims.items() if v}}
    shapes = json.loads((HERE / "shapes.json").read_text())
    rng = lambda name: Rng(seed, name)

    def put(path, obj):
        path = root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            path.write_text(json.dumps(obj, indent=1) + "\n")
        elif path.suffix == ".safetensors":
            save_file(obj, path)
        else:
            torch.save(obj, path)

    model = lambda s: {"model." + k: v for k, v in cast(s, dtype).items()}
    for p in parts:
        if p == "config":
            put(
                "Wan2.1-T2V-1.3B/config.json",
                {
                    "_class_name": "WanModel",
                    "_diffusers_version": "0.30.0",
                    "dim": c["heads"] * HEAD_DIM,
                    "eps": 1e-06,
                    "ffn_dim": c["ffn"],
                    "freq_dim": 256,
                    "in_dim": 16,
                    "model_type": "t2v",
                    "num_heads": c["heads"],
                    "num_layers": c["layers"],
                    "out_dim": 16,
                    "text_len": 512,
                },
            )
            for d in (
                "WanVideo_comfy",
                "Autoencoders",
                "LongLive-1.3B",
                "StreamDiffusionV2",
                "Reward-Forcing-T2V-1.3B",
                "MemFlow",
            ):
                put(f"{d}/config.json", {})
        elif p == "tokenizer":
            (root / "Wan2.1-T2V-1.3B/google/umt5-xxl").mkdir(parents=True, exist_ok=True)
            tokenizer(root / "Wan2.1-T2V-1.3B/google/umt5-xxl")
        elif p == "text_encoder":
            put(
                "WanVideo_comfy/umt5-xxl-enc-fp8_e4m3fn.safetensors",
                cast_text_encoder(text_encoder(rng(p)), dtype, fp8_text_encoder),
            )
        elif p == "longlive":
            put("LongLive-1.3B/models/longlive_base.pt", {"generator": model(transformer(rng(p), c))})
            put(
                "LongLive-1.3B/models/lora.pt",
                {"generator_lora": cast(peft_lora(lora(rng(p + "_lora"), c, c["rank"], 0.2)), dtype)},
            )
        elif p == "streamdiffusionv2":
            put("StreamDiffusionV2/wan_causal_dmd_v2v/model.pt", {"generator": model(transformer(rng(p), c))})
        elif p == "rewardforcing":
            put("Reward-Forcing-T2V-1.3B/rewardforcing.pt", model(transformer(rng(p), c)))
        elif p == "memflow":
            put("MemFlow/base.pt", {"generator": model(transformer(rng(p), c))})
            put(
                "MemFlow/lora.pt", {"generator_lora": cast(peft_lora(lora(rng(p + "_lora"), c, c["rank"], 0.2)), dtype)}
            )
        elif p == "vace":
            put("WanVideo_comfy/Wan2_1-VACE_module_1_3B_bf16.safetensors", cast(vace(rng(p), c), dtype))
        elif p == "loras":
            for n, s in user_lora_files(lora(rng(p), c, c["user_rank"], 0.5)).items():
                put(f"lora/{n}.safetensors", cast(s, dtype))
            half = {
                n: ab
                for n, ab in lora(rng("loras2"), c, c["user_rank"], 0.5).items()
                if "self_attn" in n and int(n.split(".")[1]) % 2
            }
            put(
                "lora/partial.safetensors", cast(user_lora_files(half)["style"], dtype)
            )  # odd blocks, self attention only
        elif p in ("lightvae", "wanvae"):
            path = "Autoencoders/lightvaew2_1.pth" if p == "lightvae" else "Wan2.1-T2V-1.3B/Wan2.1_VAE.pth"
            put(path, cast(wan_vae(rng(p), shapes["light_vae" if p == "lightvae" else "wan_vae"]), dtype))
        elif p in ("tae", "lighttae"):
            put(f"Autoencoders/{p}w2_1.pth", cast(tae(rng(p), shapes["tae"]), dtype))
        else:
            raise SystemExit(f"unknown part {p}: {PARTS + EXTRA}")
    return root


def fingerprint(root):
    out = {}
    for p in sorted(Path(root).rglob("*")):
        if p.suffix not in (".pt", ".pth", ".safetensors"):
            continue
        s = load_file(p) if p.suffix == ".safetensors" else torch.load(p, map_location="cpu", weights_only=True)
        s = s.get("generator", s.get("generator_lora", s))
        h = hashlib.sha256()
        for k in sorted(s):
            h.update(
                k.encode()
                + str(tuple(s[k].shape)).encode()
                + s[k].contiguous().flatten().view(torch.uint8).numpy().tobytes()
            )
        out[str(p.relative_to(root))] = {"tensors": len(s), "sha256": h.hexdigest()[:16]}
    return out


if __name__ == "__main__":
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("out")
    a.add_argument("--seed", type=int, default=0)
    for k, v in WAN.items():
        a.add_argument("--" + k.replace("_", "-"), type=int, default=v)
    a.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS + EXTRA)
    a.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    a.add_argument(
        "--fp8-text-encoder", action="store_true", help="attention/ffn matrices in float8_e4m3fn, the rest bfloat16"
    )
    a.add_argument("--fingerprint", action="store_true", help="print a hash per file")
    o = a.parse_args()
    make(o.out, o.seed, o.parts, getattr(torch, o.dtype), o.fp8_text_encoder, **{k: getattr(o, k) for k in WAN})
    if o.fingerprint:
        print(json.dumps(fingerprint(o.out), indent=1))
