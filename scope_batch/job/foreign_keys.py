"""Maps keys of diffusers, ComfyUI, Deforum, A1111 and other programs to the fields that mean the same here."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NO_GUIDANCE = "these models run without guidance; describe in the prompt what to show"
_NO_SAMPLER = "each pipeline has its own sampler; denoising_steps lists its timesteps"
_NO_CAMERA = "no camera is moved; motion comes from the prompt, an input video or control frames"
_NO_STILLS = "the only output is video"
_ONE_VIDEO = "one job is one video; several seeds are a sweep, sweep: {seed: [42, 1042]}"
_OPTION = "an option of the command line: {}"
_CHUNKS = "chunks are connected by the KV cache, they do not overlap"
_UNTIL_NEXT = "an entry holds until another one changes it"
_NOISE = "noise_scale: 0 keeps the input, 1 ignores it"
_STEPS = "denoising_steps: a list of timesteps, such as [1000, 750, 500, 250]"
_LORAS = "lora_scales: {file.safetensors: 0.8}"
_ENTRIES = "chunk_specs: [{time: 2.5, text: a dog}]"
_SUFFIX = "output: its suffix chooses the format"


def _spread(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {key: advice for keys, advice in rows for key in keys.split()}


_EVERYWHERE = _spread(
    [
        ("negative negative_prompt negative_prompts neg_prompt uncond", _NO_GUIDANCE),
        ("guidance guidance_scale cfg cfg_scale cfg_value cfg_rescale true_cfg_scale", _NO_GUIDANCE),
        ("steps num_steps num_inference_steps inference_steps sampling_steps sample_steps", _STEPS),
        ("timesteps denoising_step_list sigmas", _STEPS),
        ("sampler sampler_name scheduler shift flow_shift eta clip_skip", _NO_SAMPLER),
        ("strength denoise denoising_strength noise noise_strength strength_schedule denoise_strength", _NOISE),
        ("lora loras lora_path lora_paths lora_weights lora_list adapters lora_name lora_file", _LORAS),
        ("lora_scale lora_strength lora_weight strength_model strength_clip", _LORAS),
        ("noise_seed random_seed manual_seed seeds rng", "seed"),
        ("image init_image start_image first_image image_path input_image first_frame start_frame_image",
         "first_frame_image"),
        ("last_image end_image last_frame end_frame_image tail_image", "last_frame_image"),
        ("ref_image ref_images reference_image reference_images subject_ref_images src_ref_images vace_ref_image",
         "vace_ref_images"),
        ("src_video control control_video control_path control_frames depth depth_video conditioning_video pose",
         "vace_frames: depth, pose, edges or the like"),
        ("mask masks mask_video mask_path src_mask mask_image", "vace_masks: white = generate"),
        ("controlnet_conditioning_scale conditioning_scale control_scale context_scale vace_scale vace_strength "
         "control_strength", "vace_context_scale"),
        ("zoom angle translation_x translation_y translation_z rotation_3d_x rotation_3d_y rotation_3d_z fov "
         "animation_mode diffusion_cadence cadence motion_bucket_id camera", _NO_CAMERA),
        ("overlap context_overlap context_length context_stride context_frames sliding_window window_size", _CHUNKS),
        ("restore_faces hires_fix enable_hr tiling upscale upscaler face_detailer", _NO_STILLS),
    ]
)  # fmt: skip

_OF_JOB = _spread(
    [
        ("text positive positive_prompt caption", "prompt"),
        ("prompts", "prompt: a text, or a list of {text, weight}"),
        ("animation_prompts prompt_schedule prompt_travel timeline segments keyframes schedule scenes shots clips "
         "chunks", _ENTRIES),
        ("size resolution image_size video_size dimensions aspect aspect_ratio", "height and width, multiples of 16"),
        ("w", "width"),
        ("h", "height"),
        ("frames length max_frames video_length frame_count n_frames num_video_frames total_frames frame_num",
         "num_frames"),
        ("duration seconds duration_s video_seconds", "num_frames: seconds times fps"),
        ("frame_rate framerate rate frames_per_second output_fps", "fps"),
        ("output_path out outfile output_file save_path filename filename_prefix output_dir outdir result_path "
         "save_dir output_name", "output"),
        ("format output_format container", _SUFFIX),
        ("video_path input input_video source init_video video_init_path video_input source_video input_file",
         "input_path"),
        ("model model_id model_name pipeline pipeline_name", "pipeline_id"),
        ("checkpoint ckpt ckpt_name ckpt_path model_path models_dir model_dir pretrained_model_name_or_path "
         "base_model models_path", "models: the folder of model files; pipeline_id chooses the model"),
        ("vae vae_name vae_path", "vae_type"),
        ("quantize quant fp8 precision_mode", "quantization"),
        ("device", _OPTION.format("--device")),
        ("dtype torch_dtype precision", _OPTION.format("--dtype")),
        ("low_vram lowvram offload cpu_offload enable_model_cpu_offload block_swap blocks_to_swap",
         _OPTION.format("--low-vram")),
        ("overwrite force skip_existing timeout deterministic preview latents",
         "an option of the command line (scope-batch render --help)"),
        ("sweep", "a single job; render and plan take a sweep"),
        ("batch_size batch_count num_videos num_videos_per_prompt n_iter n_samples", _ONE_VIDEO),
        ("codec crf preset pix_fmt quality bitrate vcodec", "video: {codec, crf, preset, pix_fmt}"),
        ("sound audio_path soundtrack music audio_file", "audio: a file, or the word input"),
        ("pre_processor preprocessor preprocessors", "pre_processor_id"),
        ("post_processor postprocessor postprocessors", "post_processor_id"),
        ("name title description comment notes", "a comment begins with #, and the file's name is the job's"),
    ]
)  # fmt: skip

_OF_ENTRY = _spread(
    [
        ("prompt positive positive_prompt caption", "text; several that blend: prompts"),
        ("start start_time at timestamp t seconds begin", "time: seconds or MM:SS.mmm"),
        ("start_frame frame_index at_frame", "frame"),
        ("index idx id chunk_index", "chunk"),
        ("end end_time end_frame stop duration length until num_frames", _UNTIL_NEXT),
        ("transition transition_steps transition_frames transition_duration fade fade_steps blend_steps",
         "transition_num_steps: a number of chunks"),
        ("interpolation interpolation_method blend_method", "prompt_interpolation_method or transition_method"),
        ("reset cut hard_cut new_scene scene_cut", "reset_cache"),
        ("input_path video video_path input", "input_video"),
    ]
)  # fmt: skip

_OF_PROMPT = _spread([("prompt caption", "text"), ("strength scale share", "weight")])
_OF_ENCODER = _spread(
    [
        ("quality qp cq", "crf"),
        ("vcodec encoder video_codec", "codec"),
        ("pixel_format pixfmt", "pix_fmt"),
        ("format container", _SUFFIX),
        ("frame_rate framerate", "fps, a field of the job"),
    ]
)
_OF_OUTPUT = _OF_ENCODER | _spread([("file filename name output out", "path")])
_OF_PROCESSOR = _spread([("name processor", "id"), ("parameters args arguments options config settings", "params")])

BY_MODEL = {
    "Job": _EVERYWHERE | _OF_JOB,
    "ChunkSpec": _EVERYWHERE | _OF_ENTRY,
    "WeightedPrompt": _OF_PROMPT,
    "Output": _OF_OUTPUT,
    "Encoder": _OF_ENCODER,
    "ProcessorUse": _OF_PROCESSOR,
}
"""Model that lacks the key -> advice. It begins with the field that replaces the key, if there is one."""


def advice_for_key(key: str, model: str) -> str | None:
    """Return the field that replaces a key, or the reason why there is none. None for a key that is in no table."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()
    return BY_MODEL.get(model, {}).get(re.sub(r"[\s.-]+", "_", snake))
