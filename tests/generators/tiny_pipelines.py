"""Pipelines of diffusers with tiny random networks, saved to folders as training leaves them."""

import json

import torch

from drawbench.torchvision_ops import declare_missing_ops

declare_missing_ops()
import diffusers  # noqa: E402
import transformers  # noqa: E402
from diffusers.pipelines.deepfloyd_if.safety_checker import IFSafetyChecker  # noqa: E402
from diffusers.pipelines.deepfloyd_if.watermark import IFWatermarker  # noqa: E402
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel  # noqa: E402
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel  # noqa: E402
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker  # noqa: E402

DIM = 32
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def clip_tokenizer(folder):
    """Reads letters."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: n for n, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def clip_text(*, projection=False):
    """77 positions; the end of the text is the last letter of the vocabulary."""
    last = 2 * len(LETTERS) + 1
    config = transformers.CLIPTextConfig(
        vocab_size=last + 1, hidden_size=DIM, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=DIM, bos_token_id=last - 1, eos_token_id=last, pad_token_id=last,
    )  # fmt: skip
    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    return kind(config)


def clip_vision():
    return transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, projection_dim=8,
        image_size=16, patch_size=8,
    )  # fmt: skip


def image_reader():
    return transformers.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})


def unet(channels=4, out=None, *, size=8, dim=DIM, **more):
    return diffusers.UNet2DConditionModel(
        sample_size=size, in_channels=channels, out_channels=out or channels, block_out_channels=(16, 32),
        layers_per_block=1, norm_num_groups=8, attention_head_dim=more.pop("attention_head_dim", 4), cross_attention_dim=dim,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **more,
    )  # fmt: skip


def vae(latents=4, **more):
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latents, norm_num_groups=4, sample_size=16, **more,
    )  # fmt: skip


def pndm():
    return diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1, **BETAS)


def stable_diffusion(folder, *, refuses=None, seed=0):
    """``refuses``: with a safety checker, which withholds every image (True) or none (False)."""
    torch.manual_seed(seed)
    checker = None
    if refuses is not None:
        checker = StableDiffusionSafetyChecker(
            transformers.CLIPConfig(vision_config=clip_vision().to_dict(), projection_dim=8)
        )
        limit = -2.0 if refuses else 2.0  # A cosine is always above the one, never above the other.
        for name in ("concept_embeds_weights", "special_care_embeds_weights"):
            getattr(checker, name).data.fill_(limit)
    pipe = diffusers.StableDiffusionPipeline(
        vae=vae(), text_encoder=clip_text(), tokenizer=clip_tokenizer(folder / "tokenizer"), unet=unet(),
        scheduler=pndm(), safety_checker=checker, feature_extractor=image_reader() if checker else None,
        requires_safety_checker=checker is not None,
    )  # fmt: skip
    pipe.save_pretrained(folder)
    return folder


def sdxl(folder):
    torch.manual_seed(1)
    conditioned = unet(
        dim=2 * DIM, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + DIM, use_linear_projection=True,
    )  # fmt: skip
    diffusers.StableDiffusionXLPipeline(
        vae=vae(), text_encoder=clip_text(), text_encoder_2=clip_text(projection=True),
        tokenizer=clip_tokenizer(folder / "tokenizer"), tokenizer_2=clip_tokenizer(folder / "tokenizer_2"),
        unet=conditioned, scheduler=diffusers.EulerDiscreteScheduler(steps_offset=1, **BETAS), add_watermarker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def t5(dim=DIM):
    """A T5 that reads bytes."""
    config = transformers.T5Config(
        vocab_size=384, d_model=dim, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return transformers.T5EncoderModel(config)


def flux(folder):
    torch.manual_seed(2)
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=DIM, pooled_projection_dim=DIM, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    autoencoder = vae(1, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5)
    diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(), vae=autoencoder, text_encoder=clip_text(),
        tokenizer=clip_tokenizer(folder / "tokenizer"), text_encoder_2=t5(),
        tokenizer_2=transformers.ByT5Tokenizer(), transformer=transformer,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def ddpm():
    return diffusers.DDPMScheduler(
        variance_type="learned_range", beta_schedule="squaredcos_cap_v2", thresholding=True, sample_max_value=1.5
    )


def _if_filters(refuses):
    checker = IFSafetyChecker(transformers.CLIPConfig(vision_config=clip_vision().to_dict(), projection_dim=8))
    for head in (checker.p_head, checker.w_head):
        head.weight.data.zero_()
        head.bias.data.fill_(-1.0)
    if refuses:
        checker.p_head.bias.data.fill_(1.0)
    mark = IFWatermarker()
    mark.watermark_image.fill_(255)
    return {"safety_checker": checker, "feature_extractor": image_reader(), "watermarker": mark}


def if_stages(folder, *, refuses=False):
    """Returns the folders of the three stages: 16 and 32 pixels, and an x4 upscaler to 64."""
    torch.manual_seed(3)
    one, two, three = folder / "I", folder / "II", folder / "III"
    diffusers.IFPipeline(
        tokenizer=transformers.ByT5Tokenizer(), text_encoder=t5(), unet=unet(3, 6, size=16), scheduler=ddpm(),
        **_if_filters(refuses),
    ).save_pretrained(one)  # fmt: skip
    diffusers.IFSuperResolutionPipeline(
        tokenizer=transformers.ByT5Tokenizer(), text_encoder=t5(),
        unet=unet(6, 6, size=32, class_embed_type="timestep"), scheduler=ddpm(), image_noising_scheduler=ddpm(),
        **_if_filters(refuses),
    ).save_pretrained(two)  # fmt: skip
    diffusers.StableDiffusionUpscalePipeline(
        vae=vae(scaling_factor=0.08333), text_encoder=clip_text(), tokenizer=clip_tokenizer(three / "tokenizer"),
        unet=unet(7, 4, size=32, num_class_embeds=1000), low_res_scheduler=diffusers.DDPMScheduler(),
        scheduler=diffusers.DDIMScheduler(**BETAS),
    ).save_pretrained(three)  # fmt: skip
    return one, two, three


def karlo(folder):
    torch.manual_seed(4)

    def steps(**more):
        return diffusers.UnCLIPScheduler(num_train_timesteps=1000, **more)

    def enlarging():
        return diffusers.UNet2DModel(
            sample_size=16, in_channels=6, out_channels=3, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
            down_block_types=("ResnetDownsampleBlock2D",) * 2, up_block_types=("ResnetUpsampleBlock2D",) * 2,
        )  # fmt: skip

    decoder = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=3, out_channels=6, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"), attention_head_dim=4,
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        cross_attention_dim=DIM, class_embed_type="identity", resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    diffusers.UnCLIPPipeline(
        prior=diffusers.PriorTransformer(num_attention_heads=2, attention_head_dim=8, embedding_dim=DIM, num_layers=1),
        decoder=decoder, text_encoder=clip_text(projection=True), tokenizer=clip_tokenizer(folder / "tokenizer"),
        text_proj=UnCLIPTextProjModel(
            clip_embeddings_dim=DIM, time_embed_dim=64, cross_attention_dim=DIM, clip_extra_context_tokens=2
        ),
        super_res_first=enlarging(), super_res_last=enlarging(),
        prior_scheduler=steps(variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0),
        decoder_scheduler=steps(variance_type="learned_range", prediction_type="epsilon"),
        super_res_scheduler=steps(variance_type="fixed_small_log", prediction_type="epsilon"),
    ).save_pretrained(folder)  # fmt: skip
    index = folder / "model_index.json"  # As it stands in the published one.
    content = json.loads(index.read_text()) | {"text_proj": ["unclip", "UnCLIPTextProjModel"]}
    index.write_text(json.dumps(content))
    return folder


def ldm(folder):
    torch.manual_seed(5)
    (folder / "tokenizer").mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    (folder / "tokenizer" / "vocab.txt").write_text("\n".join(vocabulary))
    bert = LDMBertModel(
        LDMBertConfig(vocab_size=len(vocabulary), encoder_layers=1, encoder_ffn_dim=32, encoder_attention_heads=2,
                      d_model=DIM, max_position_embeddings=77, head_dim=8)
    )  # fmt: skip
    diffusers.LDMTextToImagePipeline(
        vqvae=vae(), bert=bert, tokenizer=transformers.BertTokenizer(str(folder / "tokenizer" / "vocab.txt")),
        unet=unet(), scheduler=diffusers.DDIMScheduler(**BETAS),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def kandinsky(folder):
    """Kandinsky 2.2 as it is published: a decoder, whose prior lies beside it in ``folder/prior``."""
    torch.manual_seed(6)
    vision = transformers.CLIPVisionConfig(
        hidden_size=DIM, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, projection_dim=DIM,
        image_size=16, patch_size=8,
    )  # fmt: skip
    diffusers.KandinskyV22PriorPipeline(
        prior=diffusers.PriorTransformer(num_attention_heads=2, attention_head_dim=8, embedding_dim=DIM, num_layers=1),
        image_encoder=transformers.CLIPVisionModelWithProjection(vision), text_encoder=clip_text(projection=True),
        tokenizer=clip_tokenizer(folder / "prior" / "tokenizer"), image_processor=image_reader(),
        scheduler=diffusers.UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0
        ),
    ).save_pretrained(folder / "prior")  # fmt: skip
    decoder = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"), attention_head_dim=4,
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        cross_attention_dim=DIM, addition_embed_type="image", encoder_hid_dim=DIM, encoder_hid_dim_type="image_proj",
        resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    movq = diffusers.VQModel(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4, num_vq_embeddings=12, norm_num_groups=4, norm_type="spatial", vq_embed_dim=4,
    )  # fmt: skip
    diffusers.KandinskyV22Pipeline(
        unet=decoder, movq=movq,
        scheduler=diffusers.DDPMScheduler(beta_schedule="linear", clip_sample=False, variance_type="learned_range", **{
            key: BETAS[key] for key in ("beta_start", "beta_end")
        }),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def sd3(folder):
    torch.manual_seed(7)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=32, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=2 * DIM, caption_projection_dim=32, pooled_projection_dim=2 * DIM, out_channels=4,
    )  # fmt: skip
    diffusers.StableDiffusion3Pipeline(
        transformer=transformer, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5),
        text_encoder=clip_text(projection=True), tokenizer=clip_tokenizer(folder / "tokenizer"),
        text_encoder_2=clip_text(projection=True), tokenizer_2=clip_tokenizer(folder / "tokenizer_2"),
        text_encoder_3=t5(2 * DIM), tokenizer_3=transformers.ByT5Tokenizer(),
    ).save_pretrained(folder)  # fmt: skip
    return folder
