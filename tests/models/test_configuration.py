"""A configuration chooses sizes and never code; transformers is imported by one thread at a time."""

import json
import subprocess
import sys
import textwrap

import pytest

from quantlab.errors import ModelError
from quantlab.models.configuration import configuration

KEYS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation")


@pytest.mark.parametrize("key", KEYS)
def test_code_that_a_configuration_names_is_left_out(key):
    made = configuration({"model_type": "llama", "hidden_size": 64, key: "owner/kernel"}, "tiny")
    assert "owner/kernel" not in json.dumps(made.to_dict()) and made._attn_implementation != "owner/kernel"
    assert made.hidden_size == 64


@pytest.mark.parametrize("key", KEYS)
def test_in_a_part_of_it_too(key):
    text = {"hidden_size": 64, "num_hidden_layers": 2, key: "owner/kernel"}
    made = configuration({"model_type": "gemma3", "text_config": text}, "tiny")
    assert made.text_config.hidden_size == 64 and made.text_config._attn_implementation != "owner/kernel"


@pytest.mark.parametrize("key", ["return_dict", "output_attentions", "output_hidden_states"])
def test_the_form_of_answers_is_ours_to_choose(key):
    made = configuration({"model_type": "llama", key: key != "return_dict"}, "tiny")
    assert getattr(made, key) is (key == "return_dict")


def program(source: str) -> str:
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_no_kernel_is_fetched_though_a_package_for_it_is_installed(tmp_path):
    """One that would fetch and run compiled code: here it writes down that it was asked."""
    package = tmp_path / "kernels"
    package.mkdir()
    asked = tmp_path / "asked"
    (package / "__init__.py").write_text(
        f"open({str(asked)!r}, 'a').write('imported ')\n__version__ = '0.12.0'\n"
        f"def get_kernel(name, **_options):\n    open({str(asked)!r}, 'a').write(name)\n    raise RuntimeError(name)\n"
    )
    program(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from quantlab.checkpoints.load import load_variant
        from quantlab.methods import precision
        from quantlab.models import resolve
        from quantlab.records import ResolvedPlacement, Variant, silent
        from quantlab.settings import AppSettings
        for name in ("fp32", "nf4"):
            model = resolve("demo", AppSettings())
            brought = load_variant(Variant(model, precision(name), ResolvedPlacement("cpu", "float32")), silent)
            session = brought.loaded.start()
            session.forward([5, 6, 7])
            session.forward([8])
    """)
    assert not asked.exists()


@pytest.mark.slow
def test_threads_that_all_come_first_find_whole_modules():
    """The first visitor after a start asked for a tokenizer while the imports in the background were half done."""
    told = program("""
        import threading
        from quantlab import models
        from quantlab.models.quiet import import_transformers
        from quantlab.models.tokenizer import load_tokenizer
        from quantlab.settings import AppSettings
        model, failed = models.resolve("demo", AppSettings()), []
        def ask():
            try:
                load_tokenizer(model)
            except BaseException as error:
                failed.append(repr(error))
        threads = [threading.Thread(target=import_transformers), *(threading.Thread(target=ask) for _ in range(3))]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(failed)
    """)
    assert told.strip() == "[]"


def test_a_kind_that_transformers_does_not_know_is_one_sentence():
    with pytest.raises(ModelError, match=r"does not know the kind of mine \(model_type 'frobnicator'\)") as refused:
        configuration({"model_type": "frobnicator"}, "mine")
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hidden_act": "swigloo"}, "Unknown activation function 'swigloo' in config.json (hidden_act) of it."),
        ({"hidden_act": "Silu"}, "Unknown activation function 'Silu' in config.json (hidden_act) of it."),
        ({"rope_parameters": {"rope_type": "spiral", "rope_theta": 1e4}}, "Unknown rope_type 'spiral' in config.json"),
    ],
)
def test_a_value_that_transformers_does_not_know_is_named_with_its_setting(values, said):
    from quantlab.methods.skeleton import network

    small = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 1, **values}
    with pytest.raises(ModelError) as caught:
        network(small, "it")
    assert said in str(caught.value) and "KeyError" not in str(caught.value)


def test_another_key_that_is_missed_is_no_value_of_the_file():
    from quantlab.models.configuration import unknown_value

    assert unknown_value(KeyError("layers"), {"hidden_act": "silu"}) is None
    assert unknown_value(ValueError("silu"), {"hidden_act": "silu"}) is None
