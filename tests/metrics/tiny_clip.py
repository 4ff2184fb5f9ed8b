"""A small seeded CLIP in two forms: an open_clip folder, and the same weights as a folder of transformers' CLIPModel."""

import json

import torch

from drawbench.torchvision_ops import declare_missing_ops

declare_missing_ops()
import open_clip  # noqa: E402

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]


def save_open_clip(path, seed=0, quick_gelu=False):
    """Writes a folder as open_clip reads it, and returns the model."""
    torch.manual_seed(seed)
    model = open_clip.CLIP(**json.loads(json.dumps(CONFIG)), quick_gelu=quick_gelu)
    for parameter in model.parameters():  # Larger than as initialised, so that pairs are told apart.
        if parameter.ndim > 1:
            parameter.data *= 3
    path.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path / "open_clip_pytorch_model.bin")
    (path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {**CONFIG, "quick_gelu": quick_gelu}, "preprocess_cfg": {"mean": MEAN, "std": STD}})
    )
    return model.eval()


def save_transformers(path, model, activation="gelu"):
    """Writes the weights of an open_clip model as a CLIPModel with tokenizer and preprocessor; returns the CLIPModel."""
    import transformers

    def tower(cfg, heads, **more):
        return {
            "hidden_size": cfg["width"],
            "intermediate_size": 4 * cfg["width"],
            "num_hidden_layers": cfg["layers"],
            "num_attention_heads": heads,
            "hidden_act": activation,
            **more,
        }

    vision, text = CONFIG["vision_cfg"], CONFIG["text_cfg"]
    config = transformers.CLIPConfig(
        vision_config=tower(vision, vision["width"] // vision["head_width"], image_size=32, patch_size=8),
        text_config=tower(
            text,
            text["heads"],
            vocab_size=text["vocab_size"],
            max_position_embeddings=text["context_length"],
            bos_token_id=49406,
            eos_token_id=49407,
        ),
        projection_dim=CONFIG["embed_dim"],
    )
    theirs = transformers.CLIPModel(config).eval()
    theirs.load_state_dict(converted(model.state_dict()), strict=True)
    theirs.save_pretrained(path)
    save_tokenizer(path)
    (path / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "CLIPImageProcessor",
                "crop_size": 32,
                "size": 32,
                "do_center_crop": True,
                "do_normalize": True,
                "do_resize": True,
                "image_mean": MEAN,
                "image_std": STD,
                "resample": 3,
            }
        )
    )
    return theirs


def save_tokenizer(path):
    """Writes OpenAI's vocabulary, which ships with open_clip, as transformers keeps it."""
    bpe = open_clip.get_tokenizer("ViT-B-32")
    named = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {named.get(token, token): number for token, number in bpe.encoder.items()}
    (path / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    merges = sorted(bpe.bpe_ranks, key=bpe.bpe_ranks.get)
    (path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n", "utf-8")
    (path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})
    )


def converted(state):
    """Returns open_clip's tensors under transformers' names: one projection is three there, and matrices lie transposed."""
    named = {
        "logit_scale": state["logit_scale"],
        "text_projection.weight": state["text_projection"].T.contiguous(),
        "visual_projection.weight": state["visual.proj"].T.contiguous(),
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
    }
    norms = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }
    for ours, theirs in norms.items():
        named |= {f"{theirs}.{part}": state[f"{ours}.{part}"] for part in ("weight", "bias")}
    for prefix, tower in (("visual.", "vision_model"), ("", "text_model")):
        layers = sum(key.startswith(f"{prefix}transformer.resblocks.") and key.endswith("ln_1.weight") for key in state)
        for layer in range(layers):
            a, b = f"{prefix}transformer.resblocks.{layer}", f"{tower}.encoder.layers.{layer}"
            for part in ("weight", "bias"):
                rows = state[f"{a}.attn.in_proj_{part}"].chunk(3)
                named |= {f"{b}.self_attn.{x}_proj.{part}": row for x, row in zip("qkv", rows, strict=True)}
                for ours, theirs in (
                    ("attn.out_proj", "self_attn.out_proj"),
                    ("ln_1", "layer_norm1"),
                    ("ln_2", "layer_norm2"),
                    ("mlp.c_fc", "mlp.fc1"),
                    ("mlp.c_proj", "mlp.fc2"),
                ):
                    named[f"{b}.{theirs}.{part}"] = state[f"{a}.{ours}.{part}"]
    return named
