"""The architectures that GPTQ and AWQ take here, by `model_type`: known without importing anything heavy.

Text models whose checkpoint, written by gptqmodel 7.6, plain transformers loads again with nothing missing and gives
nearly the original's answers. Left out are those whose joined matrices it takes apart without transformers doing the
same (phi3, glm, falcon), those that transformers cannot load quantized (gpt2, gpt_bigcode), and mixtures of experts.
"""

ARCHITECTURES = frozenset(
    """
    bloom codegen cohere cohere2 ernie4_5 exaone4 gemma gemma2 gemma3_text gpt_neo gptj granite hunyuan_v1_dense llama
    ministral3 mistral olmo2 olmo3 opt phi qwen2 qwen3 seed_oss smollm3 stablelm starcoder2
    """.split()
)
#: AWQ also has to know which layers stand before which, and gptqmodel does not for all of them.
AWQ_ARCHITECTURES = ARCHITECTURES - {"bloom", "codegen", "cohere2", "gemma3_text", "gptj", "starcoder2"}
