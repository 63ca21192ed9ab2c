"""The plan as a whole: against what was measured, against plain loops, and at its edges."""

from dataclasses import replace

import pytest
import torch
import transformers

import quantlab
from quantlab.errors import BadInput, ModelError
from quantlab.methods import PRECISIONS, method_of
from quantlab.models.shapes import shape_tensors
from quantlab.records import Card, ModelNumbers, ResolvedPlacement
from quantlab.settings import AppSettings
from quantlab.teach.plan import planning, subject
from quantlab.teach.plan.asked import Asked
from quantlab.teach.plan.cards import CARDS, MEMORIES, card
from quantlab.teach.plan.memory import most
from tests import tiny

MISTRAL, SEVENTY = "shape:Mistral-7B-v0.3", "shape:Llama-2-70B"
NUMBERS = ModelNumbers(32, 4_096, 32, 14_336, 32_768, 8, 128)
APP = AppSettings(public=False)


def test_the_weights_of_a_shape_are_what_a_load_of_it_took():
    """Measured: Mistral-7B-v0.3 loaded at both."""
    found = quantlab.plan(MISTRAL, ["nf4", "bf16"])
    assert [it.stored_bytes for it in found.precisions] == [4_463_286_784, 14_496_047_616]
    for planned in found.precisions:
        assert planned.total_bytes == planned.stored_bytes + planned.kv_cache_bytes + planned.activation_bytes
    assert found.weights == 7_248_023_552 and found.model_context == 32_768


def test_the_same_numbers_typed_give_the_same_plan():
    typed, named = (quantlab.plan(it, ["nf4", "q4_k_m"], 2_000, 3, card=24) for it in (NUMBERS, MISTRAL))
    for one, other in zip(typed.precisions, named.precisions, strict=True):
        assert one.parts == other.parts and one.total_bytes == other.total_bytes
        assert one.fits[0].largest_batch == other.fits[0].largest_batch
    assert typed.weights == named.weights and typed.model_context is None


def test_what_is_said_of_seventy_billion_weights():
    """In 16 bits 140 GB; in 4 bits it fits two cards of 24 GB."""
    found = quantlab.plan(SEVENTY, ["bf16", "nf4-dq"], card="RTX 3090")
    wide, narrow = (it.fits[0] for it in found.precisions)
    assert found.precision("bf16").stored_bytes == pytest.approx(140e9, rel=0.02)
    assert found.precision("nf4-dq").stored_bytes == pytest.approx(36e9, rel=0.02)
    assert not narrow.fits and narrow.cards == 2 and wide.cards == 6


def test_a_card_of_12_gb_has_room_for_a_batch_at_4_bits():
    fit = quantlab.plan(MISTRAL, ["nf4"], card="RTX 3060").precision("nf4").fits[0]
    assert 4 <= fit.largest_batch <= 8
    again = quantlab.plan(MISTRAL, ["nf4"], batch=fit.largest_batch, card="RTX 3060").precision("nf4")
    assert again.fits[0].fits
    more = quantlab.plan(MISTRAL, ["nf4"], batch=fit.largest_batch + 1, card="RTX 3060").precision("nf4")
    assert not more.fits[0].fits


@pytest.mark.parametrize("name", ["bf16", "int8", "nf4"])
def test_the_longest_context_is_the_last_that_fits(name):
    fit = quantlab.plan(MISTRAL, [name], card="T4").precision(name).fits[0]
    assert quantlab.plan(MISTRAL, [name], fit.longest_context, card="T4").precision(name).fits[0].fits
    if fit.longest_context < 32_768:
        assert not quantlab.plan(MISTRAL, [name], fit.longest_context + 1, card="T4").precision(name).fits[0].fits


def test_a_card_of_exactly_the_bytes_fits_and_one_byte_less_does_not():
    total = quantlab.plan(MISTRAL, ["nf4"]).precision("nf4").total_bytes
    asked = Asked(("nf4",))
    exact, less = (
        planning.planned(MISTRAL, asked, (Card("it", n),), APP).precisions[0].fits[0] for n in (total, total - 1)
    )
    assert exact.fits and exact.left == 0 and exact.cards == 1 and exact.outside == 0
    assert not less.fits and less.outside == 1 and less.cards == 2


def test_most_is_the_largest_that_fits():
    for limit in (1, 7, 100):
        for edge in (0, 1, limit // 2, limit, limit + 5):
            assert most(lambda n, edge=edge: n <= edge, limit) == min(edge, limit)


@pytest.mark.parametrize("size", ["RTX 3060", "30GB", "1 GB"])
def test_the_inverse_is_the_most_bits_of_all_plans(size):
    for found in quantlab.which_fit(size, ["shape:Qwen3-0.6B", MISTRAL], 2_048):
        fitting = []
        for name, chosen in PRECISIONS.items():
            planned = quantlab.plan(found.model, [name], 2_048, card=size).precisions[0]
            if chosen.bits <= 16 and not planned.refused and planned.fits[0].fits:
                fitting.append(chosen.bits)
        assert (found.planned.bits if found.planned else None) == max(fitting, default=None)


def test_the_inverse_tells_of_a_model_that_cannot_be_read_and_goes_on():
    broken, whole = quantlab.which_fit(24, ["/nowhere/at/all", MISTRAL])
    assert broken.planned is None and "There is no folder" in broken.why
    assert whole.planned.precision == "bf16", "no more bits than it was published with"


def test_keys_and_values_in_fewer_bits_leave_room_for_more():
    wide, narrow = (quantlab.plan(MISTRAL, ["nf4"], kv=kv, card="T4").precision("nf4") for kv in ("auto", "q4_0"))
    assert narrow.kv_cache_bytes == wide.kv_cache_bytes * 18 // 64 and (wide.kv, narrow.kv) == ("bf16", "q4_0")
    assert narrow.fits[0].largest_batch > wide.fits[0].largest_batch
    pieces = quantlab.plan(MISTRAL, ["nf4"], 8_192, piece=512).precision("nf4")
    assert pieces.activation_bytes == quantlab.plan(MISTRAL, ["nf4"], 512).precision("nf4").activation_bytes


def test_every_precision_has_a_plan_or_a_reason():
    found = quantlab.plan(MISTRAL, tuple(PRECISIONS))
    refused = {it.precision for it in found.precisions if it.refused}
    assert refused == {"stored"}
    for planned in found.precisions:
        chosen = PRECISIONS[planned.precision]
        if planned.refused:
            continue
        # There are scales wherever there are fewer bits than 16.
        assert (planned.parts["quantization"] > 0) == (chosen.bits < 16)
        assert found.weights * chosen.bits / 8 * 0.99 < planned.stored_bytes
        method, checkpoint = method_of(chosen), subject.subject(MISTRAL, APP).checkpoint
        assert planned.stored_bytes == method.estimate(chosen, ResolvedPlacement("cuda", "bfloat16"), checkpoint)


def test_what_needs_a_gpu_is_no_plan_for_main_memory():
    (on_card, in_memory) = (quantlab.plan(MISTRAL, ["ao-int4"], card=it).precisions[0] for it in (24, "32 GB memory"))
    assert not on_card.refused and "needs an NVIDIA GPU" in in_memory.refused


def test_a_context_beyond_the_models_is_planned_and_told():
    found = quantlab.plan("demo", ["bf16"], 4_096)
    assert "more than the model was made for (1,024)" in found.notes[0] and found.precisions[0].total_bytes > 0
    assert quantlab.plan("demo", ["bf16"], 1_024).notes == ()


def test_where_no_context_is_named_the_model_s_own_is_the_most():
    found, named = quantlab.plan("demo", ["bf16"], finetune="lora"), quantlab.plan("demo", ["bf16"], 1_024)
    assert found.context == 1_024 and found.precisions == named.precisions
    assert found.notes == ("No context was named: it is planned for the 1,024 tokens that the model was made for.",)
    assert found.finetuned == quantlab.plan("demo", ["bf16"], 1_024, finetune="lora").finetuned
    large = quantlab.plan(MISTRAL, ["bf16"])
    assert large.context == 4_096 and large.notes == quantlab.plan(MISTRAL, ["bf16"], 4_096).notes
    assert quantlab.plan(NUMBERS, ["bf16"]).context == 4_096, "of typed numbers no limit is known"
    (one,), (same,) = (quantlab.which_fit("12GB", ["demo"], it) for it in (None, 1_024))
    assert one == same


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"context": 0}, "context cannot be 0"),
        ({"context": -5}, "context cannot be -5"),
        ({"context": 2.5}, "context cannot be 2.5"),
        ({"batch": 0}, "batch cannot be 0"),
        ({"batch": True}, "batch cannot be True"),
        ({"piece": 0}, "cannot be read 0 tokens at once"),
        ({"kv": "q9"}, "Unknown type of the KV cache"),
        ({"precisions": ["nf5"]}, "Unknown precision 'nf5'"),
        ({"precisions": ["nf4", "nf4"]}, "more than once: nf4"),
        ({"compute_dtype": "int8"}, "int8 cannot be a compute dtype"),
        ({"card": 0}, "cannot have '0' of memory"),
        ({"card": "0MB"}, "cannot have '0MB' of memory"),
        ({"card": float("nan")}, "cannot have 'nan' of memory"),
        ({"card": "inf GB"}, "cannot have 'inf GB' of memory"),
        ({"card": "-8GB"}, "cannot have '-8GB' of memory"),
        ({"card": "a big one"}, "Unknown card 'a big one'"),
        ({"card": ""}, "No card was named"),
        ({"finetune": "half"}, "Unknown kind of fine-tuning 'half'"),
        ({"finetune": "lora", "rank": 0}, "rank of an adapter cannot be 0"),
        ({"finetune": "lora", "targets": ["attn"]}, "Unknown layer 'attn'"),
        ({"finetune": "qlora", "targets": []}, "No layer was named"),
    ],
)
def test_what_cannot_be_asked_is_told(more, what):
    with pytest.raises(BadInput, match=what) as told:
        quantlab.plan(MISTRAL, **more)
    assert told.value.advice


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"heads": 33, "head_dim": None}, "does not divide among 33 attention heads"),
        ({"key_value_heads": 5}, "cannot share 5 key-value heads evenly"),
        ({"layers": 0}, "Layers cannot be 0"),
        ({"layers": 10**9}, "Layers cannot be 1000000000"),
        ({"vocabulary": "many"}, "Vocabulary cannot be 'many'"),
        ({"hidden_size": 1.5}, "Hidden size cannot be 1.5"),
        ({"intermediate_size": None}, "MLP size was left empty"),
    ],
)
def test_numbers_that_are_none_are_told(more, what):
    with pytest.raises(BadInput, match=what):
        quantlab.plan(replace(NUMBERS, **more))


def test_a_model_that_does_not_exist_and_one_that_is_none_are_told(tmp_path):
    with pytest.raises(ModelError, match="There is no folder"):
        quantlab.plan("/nowhere/at/all")
    with pytest.raises(BadInput, match="Unknown shape"):
        quantlab.plan("shape:Nobody-7B")
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    network = transformers.BertModel(transformers.BertConfig(**sizes, intermediate_size=64))
    network.save_pretrained(tmp_path)
    tiny.letters().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="reads a text in both directions"):
        quantlab.plan(str(tmp_path))


def test_in_public_every_shape_is_planned_and_no_path():
    app = AppSettings(public=True)
    assert planning.planned(SEVENTY, Asked(("nf4",)), (), app).precisions[0].stored_bytes > 36e9
    for name in ("/etc", "owner/name", "./model.gguf"):
        with pytest.raises(BadInput, match="Unknown model"):
            subject.subject(name, app)


@pytest.mark.parametrize("typed", ["RTX 3060", "rtx3060", "NVIDIA GeForce RTX 3060", "12288 MiB", "12 GiB"])
def test_a_card_is_known_by_its_name_and_by_its_size(typed):
    assert card(typed).nbytes == 12_288 * 2**20


def test_cards_have_a_source_and_sizes_their_unit():
    assert all(it.source and not it.shared for it in CARDS) and all(it.shared for it in MEMORIES)
    assert [it.nbytes for it in CARDS] == sorted(it.nbytes for it in CARDS)
    assert len({it.name for it in (*CARDS, *MEMORIES)}) == len(CARDS) + len(MEMORIES)
    assert [card(it).nbytes for it in (12, "12GB", "12,5 gb", "500MB")] == [12e9, 12e9, 12.5e9, 5e8]


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> str:
    return str(tiny.write(tmp_path_factory.mktemp("small"), "qwen2-untied-biases").folder)


@pytest.mark.parametrize(("rank", "targets"), [(4, ("q_proj", "v_proj")), (16, ("down_proj",)), (2, ("all-linear",))])
def test_adapters_are_two_matrices_for_each_layer_that_is_named(small, rank, targets):
    counted = 0
    for name, module in transformers.AutoModelForCausalLM.from_pretrained(small).named_modules():
        wanted = name.rpartition(".")[2] in targets or (targets == ("all-linear",) and name != "lm_head")
        if isinstance(module, torch.nn.Linear) and wanted:
            down, up = (
                torch.nn.Linear(module.in_features, rank, False),
                torch.nn.Linear(rank, module.out_features, False),
            )
            counted += down.weight.numel() + up.weight.numel()
    found = quantlab.plan(small, ["bf16"], 64, finetune="lora", rank=rank, targets=targets).finetuned
    assert found.trainable == counted > 0 and found.parts["adapters"] == found.parts["gradients"] == 4 * counted
    assert found.parts["weights"] == quantlab.plan(small, ["bf16"]).precision("bf16").stored_bytes
    assert (found.base, found.rank, found.targets) == ("bf16", rank, targets)


def test_the_states_of_the_optimizer_are_those_that_torch_keeps(small):
    network = transformers.AutoModelForCausalLM.from_pretrained(small, dtype=torch.float32)
    optimizer = torch.optim.AdamW(network.parameters())
    ids = torch.tensor([[5, 6, 7, 8]])
    network(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    moments = sum(state[key].nbytes for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq"))
    copies = sum(4 * it.numel() for it in network.parameters())
    found = quantlab.plan(small, ["bf16"], 64, finetune="full").finetuned
    assert found.parts["optimizer"] == moments + copies
    assert found.trainable == sum(it.numel() for it in network.parameters()) == found.parts["gradients"] // 2


def test_qlora_lies_on_the_double_quantized_weights_and_needs_the_least(small):
    plans = {kind: quantlab.plan(MISTRAL, finetune=kind).finetuned for kind in ("full", "lora", "qlora")}
    assert plans["qlora"].parts["weights"] == quantlab.plan(MISTRAL, ["nf4-dq"]).precisions[0].stored_bytes
    assert plans["full"].total_bytes > plans["lora"].total_bytes > plans["qlora"].total_bytes
    assert plans["full"].total_bytes == pytest.approx(16 * 7.25e9, rel=0.05), "ZeRO's 16 bytes a parameter"
    # "Adapters add about 0.2 % of the memory", at rank 16 on queries and values.
    assert 0.0005 < plans["lora"].parts["adapters"] / plans["lora"].parts["weights"] < 0.005
    kept = quantlab.plan(MISTRAL, finetune="lora", checkpointing=False).finetuned
    assert kept.parts["activations"] > 5 * plans["lora"].parts["activations"]


def test_what_is_quantized_already_is_planned_as_it_is_stored():
    """Of its files' tensors; nothing is trained on it."""
    from quantlab.records import Checkpoint, TensorInfo

    config = subject.subject(NUMBERS, APP).checkpoint.config
    plain = {name: it for name, it in shape_tensors(dict(config)).items() if "q_proj" not in name}
    packed = {
        "model.layers.0.self_attn.q_proj.qweight": TensorInfo((512, 4_096), "I32"),
        "model.layers.0.self_attn.q_proj.scales": TensorInfo((32, 4_096), "F16"),
        "model.layers.0.self_attn.q_proj.qzeros": TensorInfo((32, 512), "I32"),
    }
    settings = dict(config) | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}
    checkpoint = Checkpoint(settings, plain | packed, 0, "gptq")
    found = replace(subject.subject(NUMBERS, APP), checkpoint=checkpoint)
    assert found.precisions == ("stored",)
    planned = planning._planned(found, PRECISIONS["stored"], Asked(), ())
    assert planned.parts["quantization"] == 32 * 4_096 * 2 + 32 * 512 * 4
    wide = sum(2 * torch.Size(it.shape).numel() for it in plain.values())
    assert planned.stored_bytes == wide + planned.parts["quantization"] + 512 * 4_096 * 4
    assert "already" in planning._planned(found, PRECISIONS["nf4"], Asked(), ()).refused
