"""Small random checkpoints of transformers' model types: two layers of width 32, seeded, made without any download."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEADS = {
    "SEQUENCE_CLASSIFICATION": "text-classification",
    "IMAGE_CLASSIFICATION": "image-classification",
    "AUDIO_CLASSIFICATION": "audio-classification",
    "OBJECT_DETECTION": "object-detection",
    "SEMANTIC_SEGMENTATION": "semantic-segmentation",
    "UNIVERSAL_SEGMENTATION": "image-segmentation",
    "DEPTH_ESTIMATION": "depth-estimation",
    "ZERO_SHOT_IMAGE_CLASSIFICATION": "zero-shot-image-classification",
    "ZERO_SHOT_OBJECT_DETECTION": "zero-shot-object-detection",
    "CTC": "automatic-speech-recognition",
    "TOKEN_CLASSIFICATION": "token-classification",
    "QUESTION_ANSWERING": "question-answering",
    "MASKED_LM": "fill-mask",
    "SEQ_TO_SEQ_CAUSAL_LM": "text2text-generation",
    "SPEECH_SEQ_2_SEQ": "automatic-speech-recognition",
    "VISION_2_SEQ": "image-to-text",
    "CAUSAL_LM": "text-generation",
    "MASK_GENERATION": "mask-generation",
    "KEYPOINT_DETECTION": "keypoint-detection",
    "IMAGE_TO_IMAGE": "image-to-image",
    "TIME_SERIES_PREDICTION": "time-series-forecasting",
    "TIME_SERIES_CLASSIFICATION": "time-series-classification",
    "VIDEO_CLASSIFICATION": "video-classification",
    "TEXT_TO_WAVEFORM": "text-to-audio",
    "BASE": "feature-extraction",
}
"""transformers' mappings from model types to classes, in the order in which one class of a type is chosen."""

_WIDTH, _LAYERS, _HEADS, _WORDS = 32, 2, 4, 120

_NUMBERS = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "embed_dim", "dim", "emb_dim", "projection_dim", "embedding_size",
         "vision_feature_dim", "hidden_dim", "output_dim", "encoder_hidden_dim", "text_embed_dim", "n_embed",
         "mask_feature_size", "feature_size", "decoder_hidden_size", "model_dim", "neck_hidden_sizes_dim",
         "output_hidden_size", "embedding_dim", "d_embed", "output_channels", "conv_dim", "hidden_channels"), _WIDTH),
    **dict.fromkeys(
        ("intermediate_size", "d_ff", "n_inner", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_inner",
         "mlp_dim", "dim_feedforward", "encoder_feedforward_dim", "moe_intermediate_size", "decoder_ff_dim",
         "feed_forward_proj_dim", "ffn_hidden_size", "shared_expert_intermediate_size", "decoder_intermediate_size",
         "dim_ff", "decoder_ffn_hidden", "mlp_intermediate_size"), 2 * _WIDTH),
    **dict.fromkeys(
        ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers", "depth",
         "num_decoder_layers", "num_encoder_layers", "num_blocks", "decoder_num_hidden_layers", "layers",
         "encoder_num_layers", "decoder_num_layers", "n_blocks", "decoder_depth", "num_conv_layers"), _LAYERS),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads", "decoder_attention_heads",
         "decoder_num_attention_heads", "encoder_num_attention_heads", "num_decoder_attention_heads"), _HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "multi_query_group_num"), 2),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), _WORDS),
    **dict.fromkeys(
        ("max_position_embeddings", "n_positions", "n_ctx", "max_source_positions", "max_target_positions",
         "max_seq_len", "max_sequence_length"), 64),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "moe_topk"), 2),
    "num_queries": 8, "num_pos_feats": 16, "head_dim": 8, "attention_head_size": 8, "d_kv": 8,
    "q_lora_rank": 16, "kv_lora_rank": 16,
    "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "rotary_dim": 4, "encoder_layerdrop": 0.0,
    "layerdrop": 0.0, "num_mel_bins": 16, "image_size": 64, "max_position": 64, "entity_vocab_size": 20,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "num_labels": 3, "vocab_size_or_config": _WORDS,
}  # fmt: skip
"""Small values of the settings whose names the configurations share."""

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "sep_token_id", "cls_token_id")

_SWIN = {
    "model_type": "swin", "embed_dim": 16, "depths": [1] * 4, "num_heads": [2] * 4, "window_size": 4, "image_size": 64,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip
_MASKS = {
    "backbone_config": _SWIN, "hidden_dim": 32, "encoder_feedforward_dim": 64, "dim_feedforward": 64,
    "encoder_layers": 2, "decoder_layers": 3, "num_attention_heads": 4, "num_queries": 8,
}  # fmt: skip
_DETECTOR = {
    "backbone_config": {"model_type": "rt_detr_resnet", "embedding_size": 16, "hidden_sizes": [16, 24, 32, 40],
                        "depths": [1, 1, 2, 1], "layer_type": "bottleneck",
                        "out_features": ["stage2", "stage3", "stage4"]},
    "encoder_in_channels": [24, 32, 40], "decoder_in_channels": [32, 32, 32], "encoder_hidden_dim": 32,
    "encoder_layers": 1, "decoder_layers": 2, "num_queries": 8, "num_feature_levels": 3, "anchor_image_size": None,
    "num_denoising": 0,
}  # fmt: skip

OVERRIDES: Mapping[str, Mapping[str, Any]] = {
    "xlm-roberta": {"max_position_embeddings": 66},
    "reformer": {"axial_pos_shape": [8, 8], "axial_pos_embds_dim": [8, 24], "attn_layers": ["local", "local"],
                 "attention_head_size": 8},
    "longformer": {"attention_window": 4},
    "big_bird": {"attention_type": "original_full"},
    "swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    "swinv2": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    "swin2sr": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    "donut-swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "regnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 8},
    "convnext": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]},
    "convnextv2": {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]},
    "audio-spectrogram-transformer": {"max_length": 32, "patch_size": 4, "frequency_stride": 4, "time_stride": 4},
    "funnel": {"block_sizes": [1, 1], "d_head": 8},
    "bigbird_pegasus": {"attention_type": "original_full"},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2},
    "esm": {"pad_token_id": 1, "mask_token_id": 4, "vocab_size": 33},
    "maskformer": {"backbone_config": _SWIN, "mask_feature_size": 32, "fpn_feature_size": 32, "decoder_config":
                   {"model_type": "detr", "decoder_layers": 2, "encoder_layers": 2, "d_model": 32,
                   "decoder_attention_heads": 4, "encoder_attention_heads": 4, "decoder_ffn_dim": 64,
                   "encoder_ffn_dim": 64, "num_queries": 8}},
    "mask2former": {**_MASKS, "feature_size": 32, "mask_feature_size": 32},
    "oneformer": {**_MASKS, "conv_dim": 32, "mask_dim": 32, "text_encoder_width": 32, "text_encoder_num_layers": 1,
                  "text_encoder_vocab_size": 120, "text_encoder_context_length": 16, "task_seq_len": 16},
    "nemotron": {"num_key_value_heads": 2},
    "ministral": {"num_key_value_heads": 2, "head_dim": 8},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 16},
    "time_series_transformer": {"prediction_length": 4},
    "informer": {"prediction_length": 4},
    "autoformer": {"prediction_length": 4},
    "rt_detr": _DETECTOR,
    "rt_detr_v2": _DETECTOR,
    "d_fine": {**_DETECTOR, "decoder_n_points": [2, 2, 2], "backbone_config": {
        "model_type": "hgnet_v2", "stem_channels": [3, 8, 8], "stage_in_channels": [8, 16, 24, 32],
        "stage_mid_channels": [8, 8, 16, 16], "stage_out_channels": [16, 24, 32, 40], "stage_num_blocks": [1] * 4,
        "stage_numb_of_layers": [1] * 4, "stage_downsample": [False, True, True, True],
        "stage_light_block": [False, False, True, True], "stage_kernel_size": [3, 3, 5, 5], "embedding_size": 8,
        "hidden_sizes": [16, 24, 32, 40], "depths": [1] * 4, "out_features": ["stage2", "stage3", "stage4"]}},
    "gemma3n_text": {"num_hidden_layers": 5, "layer_types": ["sliding_attention"] * 4 + ["full_attention"]},
    "mctct": {"num_conv_layers": 1, "conv_kernel": [7], "conv_stride": [3]},
}  # fmt: skip
"""Settings of types that the shared names do not make small or valid."""

_CONVOLUTION = {
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 3, 3],
    "conv_stride": [5, 2, 2],
    "num_feat_extract_layers": 3,
}
"""The feature encoder of the wav2vec2 family."""


def classes(every: bool = False) -> list[tuple[str, str, str]]:
    """Return (model type, class, task) of one class of every type, or of every class, in a fixed order."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    rows: dict[tuple[str, str], str] = {}
    for head, task in HEADS.items():
        name = "MODEL_MAPPING_NAMES" if head == "BASE" else f"MODEL_FOR_{head}_MAPPING_NAMES"
        for model_type, names in getattr(modeling_auto, name).items():
            for class_name in (names,) if isinstance(names, str) else names:
                rows.setdefault((model_type, class_name), task)
    chosen: dict[Any, tuple[str, str, str]] = {}
    for (model_type, class_name), task in rows.items():
        if model_type in CONFIG_MAPPING_NAMES:
            chosen.setdefault((model_type, class_name) if every else model_type, (model_type, class_name, task))
    return sorted(chosen.values())


def config(model_type: str) -> Any:
    """Return a small configuration of a model type: the shared names' small values where its class has them."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = CONFIG_MAPPING[model_type]
    if model_type in ("vision-encoder-decoder", "speech-encoder-decoder", "encoder-decoder"):
        first = {"vision": "vit", "speech": "wav2vec2"}.get(model_type.split("-")[0], "bert")
        return kind.from_encoder_decoder_configs(config(first), config("bert"))
    if model_type == "vision-text-dual-encoder":
        return kind.from_vision_text_configs(config("clip_vision_model"), config("bert"))
    if model_type == "musicgen":
        return kind.from_sub_models_config(config("t5"), config("encodec"), config("musicgen_decoder"))
    return kind(**small(kind(), model_type))


def small(default: Any, model_type: str | None = None) -> dict[str, Any]:
    """Return the arguments that make a default configuration small; nested configurations become small too."""
    from transformers import PretrainedConfig

    accepted = set(inspect.signature(type(default).__init__).parameters) | set(vars(default))
    arguments: dict[str, Any] = {}
    for name in accepted:
        value = getattr(default, name, None)
        if isinstance(value, PretrainedConfig):
            arguments[name] = {**small(value, value.model_type), "model_type": value.model_type}
        elif (name in _NUMBERS and isinstance(value, int) and not isinstance(value, bool)) or name == "num_labels":
            arguments[name] = _NUMBERS[name]
        elif name in _TOKENS and isinstance(value, int):
            arguments[name] = min(value, 2)
        elif name == "layer_types" and isinstance(value, (list, tuple)):
            arguments[name] = list(value[-_LAYERS:])
        elif name.endswith("token_id") and isinstance(value, int) and value >= _WORDS:
            arguments[name] = _WORDS - 1
        elif name.endswith("dropout") and isinstance(value, float):
            arguments[name] = 0.0
    if {"conv_kernel", "conv_stride", "conv_dim"} <= accepted and isinstance(default.conv_dim, (list, tuple)):
        arguments.update(_CONVOLUTION)
    # A configuration takes its backbone apart in place.
    arguments.update(copy.deepcopy(dict(OVERRIDES.get(model_type or default.model_type, {}))))
    arguments.pop("max_length", None) if default.model_type != "audio-spectrogram-transformer" else None
    return arguments


def module(model_type: str, class_name: str) -> Any:
    """Return a module with the small configuration of its type; its weights are random."""
    import transformers

    return getattr(transformers, class_name)(config(model_type)).eval()


def save(model_type: str, class_name: str, folder: Path) -> None:
    """Write a seeded checkpoint of a class."""
    import torch

    torch.manual_seed(0)
    network = module(model_type, class_name)
    for parameter in network.parameters():  # weights of zero would hide what a wrong graph loses
        if parameter.is_floating_point() and not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.02)
    network.save_pretrained(folder)
