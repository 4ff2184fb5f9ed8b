"""Tiny detectors with random weights, saved as transformers saves published ones; the tokenizers' files are made here."""

import torch

from drawbench.torchvision_ops import declare_missing_ops

declare_missing_ops()

from transformers import (  # noqa: E402  after the operators are declared
    BertConfig,
    BertTokenizer,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2Processor,
    SwinConfig,
)
from transformers.models.grounding_dino.image_processing_grounding_dino import GroundingDinoImageProcessor  # noqa: E402
from transformers.models.owlv2.image_processing_owlv2 import Owlv2ImageProcessor  # noqa: E402

WORDS = [
    "a",
    "photo",
    "of",
    "red",
    "blue",
    "cyan",
    "circle",
    "square",
    "triangle",
    "cross",
    "ring",
    "cat",
    "cell",
    "phone",
]


def save_owlv2(folder, *, seed=0, size=96):
    tokenizer = _clip_tokenizer()
    end = len(tokenizer) - 1
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 16, "bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": size, "patch_size": 16,
    }  # fmt: skip
    torch.manual_seed(seed)
    network = Owlv2ForObjectDetection(Owlv2Config(text_config=text, vision_config=vision, projection_dim=32)).eval()
    with torch.no_grad():  # Boxes of ordinary sizes, on the grid of patches.
        network.box_head.dense2.weight *= 0.02
    network.save_pretrained(folder)
    images = Owlv2ImageProcessor(size={"height": size, "width": size})
    Owlv2Processor(images, tokenizer).save_pretrained(folder)
    return network


def save_grounding_dino(folder, *, seed=0):
    tokenizer = _bert_tokenizer()
    torch.manual_seed(seed)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2], window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        ),
        d_model=32, encoder_layers=1, encoder_ffn_dim=32, encoder_attention_heads=2, decoder_layers=2,
        decoder_ffn_dim=32, decoder_attention_heads=2, num_queries=12, num_feature_levels=4,
        encoder_n_points=2, decoder_n_points=2,
    )  # fmt: skip
    network = GroundingDinoForObjectDetection(config).eval()
    network.save_pretrained(folder)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 160})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return network


def _clip_tokenizer():
    """Letters only, no merges: every word is spelt."""
    letters = "abcdefghijklmnopqrstuvwxyz-"
    vocab = {
        "!": 0
    }  # As published: padding is 0, for a query that begins with 0 is masked, and the end has the highest id.
    for letter in letters:
        vocab |= {letter: len(vocab), letter + "</w>": len(vocab) + 1}
    for word in WORDS:
        vocab.setdefault(word + "</w>", len(vocab))
    merges = []
    for word in WORDS:  # Pairs from the left, so that known words are single tokens.
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            vocab.setdefault("".join(pair), len(vocab))
            if pair not in merges:
                merges.append(pair)
            parts = ["".join(pair), *parts[2:]]
    vocab |= {"<|startoftext|>": len(vocab), "<|endoftext|>": len(vocab) + 1}
    return CLIPTokenizer(vocab=vocab, merges=merges, pad_token="!", model_max_length=16)


def _bert_tokenizer():
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "-", *WORDS]
    vocab = dict.fromkeys([*words, *letters, *(f"##{letter}" for letter in letters)])
    return BertTokenizer(vocab={word: number for number, word in enumerate(vocab)}, do_lower_case=True)
