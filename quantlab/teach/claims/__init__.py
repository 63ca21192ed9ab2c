"""The tutorial's claims and four of today's beliefs, each with the rule that judges it; docs/claims.md has them all."""

from quantlab.records.claims import ClaimVerdict
from quantlab.teach.claims import of_code, of_memory, of_quality, of_speed, of_training
from quantlab.teach.claims.evidence import Evidence
from quantlab.teach.claims.judging import Claim

CLAIMS: tuple[Claim, ...] = (
    Claim(
        1, "8 or 4 bits instead of 32 save 75 to 90 % of the memory.", "bytes stored", ("quality",), of_memory.saving
    ),
    Claim(
        2,
        "The weights of a 7B model take 28 GB at 32 bits, 14 at 16, 7 at 8 and 3.5 at 4.",
        "the planner, Mistral-7B",
        ("plans",),
        of_memory.seven,
    ),
    Claim(
        3,
        "A 70B model takes 140 GB at 16 bits and 36 GB at 4, and then fits two cards of 24 GB.",
        "the planner, Llama-2-70B",
        ("plans",),
        of_memory.seventy,
    ),
    Claim(
        4,
        "Double quantization saves a further 0.4 bits per weight.",
        "bits per quantized weight of nf4 and nf4-dq",
        ("quality",),
        of_memory.double_quantization,
    ),
    Claim(
        5,
        "4 bits (nf4 with double quantization) lose 0.4 to 1 % of quality, plain 4 bits more.",
        "answers to tasks, paired",
        ("quality", "tasks"),
        of_quality.four_bits,
    ),
    Claim(
        6,
        "nf4 is better than plain int4 and fp4.",
        "KLD on one text, window by window",
        ("quality",),
        of_quality.nf4_best,
    ),
    Claim(
        7, "8 bits are lossless for most models.", "KLD against the noise floor", ("quality",), of_quality.eight_bits
    ),
    Claim(
        8,
        "4-bit inference by bitsandbytes is 10 to 15 % slower than 16 bits; GPTQ is as fast.",
        "decode speed side by side",
        ("quality",),
        of_speed.slower,
    ),
    Claim(
        9,
        "The first inference after quantizing on the fly is slower.",
        "first and later time to the first token, nf4",
        ("first",),
        of_speed.first_answer,
    ),
    Claim(
        10,
        "GPTQ needs calibration, takes longer to load, and loses more at 4 bits than bitsandbytes.",
        "times and KLD of gptq-4 and nf4",
        ("quality",),
        of_quality.gptq,
    ),
    Claim(
        11,
        "A 4-bit 7B model can be fine-tuned by LoRA in about 4 GB.",
        "the planner, Mistral-7B, and a training of the demo",
        ("plans", "training"),
        of_training.qlora,
    ),
    Claim(
        12,
        "LoRA adapters add about 0.2 % of the memory.",
        "the planner and a training of the demo, rank 16 on q_proj and v_proj",
        ("plans", "training"),
        of_training.adapters,
    ),
    Claim(
        13,
        "2 and 3 bits lose 5 to 10 % and are rarely better than 4.",
        "answers to tasks and KLD",
        ("quality", "tasks"),
        of_quality.few_bits,
    ),
    Claim(
        14,
        "int8 is wrong as the compute type of 4-bit weights; float16, bfloat16 and float32 are right.",
        "a program with each",
        ("trials",),
        of_code.int8_compute,
    ),
    Claim(
        15, "On a CPU a quantized model loses the speed-up.", "decode speed on the CPU", ("quality",), of_speed.on_cpu
    ),
    Claim(
        16, "Without a device map, layers are placed wrongly.", "placement over several devices", (), of_code.device_map
    ),
    Claim(
        17,
        "-0.4251, 0.1872 and -0.0031 fall into the 8-bit buckets -15, +6 and 0.",
        "their codes",
        ("codes",),
        of_code.buckets,
    ),
    Claim(
        18,
        "8 bits are faster and simpler than 4, with about twice the memory.",
        "speed and bytes of int8 and nf4",
        ("quality",),
        of_speed.eight_against_four,
    ),
    Claim(
        19,
        "Quantizing makes decoding slightly faster.",
        "decode speed side by side",
        ("quality",),
        of_speed.slightly_faster,
    ),
    Claim(
        20,
        "On a card of 12 GB a 4-bit 7B model leaves room for a batch of 4 to 8.",
        "the planner, RTX 3060, 4,096 tokens",
        ("plans",),
        of_memory.batch,
    ),
    Claim(21, "The tutorial's code runs as it is printed.", "running it", ("trials",), of_code.as_printed),
    Claim(22, "4 bits decode faster than 16.", "decode speed side by side", ("quality",), of_speed.four_faster),
    Claim(
        23,
        "8-bit keys and values are lossless.",
        "KLD through such a cache against the noise floor",
        ("quality",),
        of_quality.eight_bit_cache,
    ),
    Claim(
        24,
        "Merging an adapter changes nothing.",
        "KLD and answers of an adapter trained here, merged and quantized again",
        ("merges",),
        of_training.merging,
    ),
    Claim(
        25,
        "A Q4_K_M is a Q4_K_M, whoever made it.",
        "KLD with and without an importance matrix",
        ("quality",),
        of_quality.same_q4,
    ),
)


def judged(claim: Claim, found: Evidence) -> ClaimVerdict:
    """The verdict of one claim over what was found out. Pure: other figures give another verdict."""
    said = claim.judge(found)
    return ClaimVerdict(claim.number, claim.text, claim.tested_by, said.outcome, said.why, said.figures)
