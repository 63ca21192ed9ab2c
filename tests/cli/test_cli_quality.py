"""`quantlab quality` and `quantlab history` as somebody at a terminal meets them."""

import json

import pytest

from quantlab import cli
from quantlab.errors import Stopped
from quantlab.runs.compare import variant_cache

QUALITY = ["quality", "--windows", "1", "--no-layers", "--compute-dtype", "float32"]


@pytest.fixture(autouse=True)
def history(tmp_path, monkeypatch):
    """A history of the test's own, and no variant left behind."""
    from quantlab.settings import app_settings

    monkeypatch.setenv("QUANTLAB_HISTORY_FILE", str(tmp_path / "history.sqlite"))
    app_settings.cache_clear()
    yield
    app_settings.cache_clear()
    variant_cache().drop_unused()


@pytest.mark.slow
def test_json_has_the_figures_that_are_promised(capsys):
    assert cli.main([*QUALITY, "--precisions", "fp32,nf4", "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    promised = {"model", "reference", "text", "tokens", "machine", "versions", "noise_floor", "runs"}
    assert promised <= data.keys() and data["reference"] == "fp32" and data["text"]["scored"] == 255
    run = next(run for run in data["runs"] if run["precision"] == "nf4")
    assert {"precision", "error", "stored_bytes", "decode_tokens_per_s", "fidelity", "tasks"} <= run.keys()
    found = run["fidelity"]
    assert {"kld", "kld_reverse", "same_top", "delta_p", "ppl", "nonfinite"} <= found.keys()
    assert {"mean", "se", "median", "p90", "p99", "p999", "max", "buckets"} <= found["kld"].keys()
    assert len(found["kld"]["buckets"]) == 5 and 0 < found["kld"]["mean"] < found["kld"]["max"]
    assert found["delta_p"].keys() == {"mean", "rms"} and found["ppl"].keys() == {"value", "se", "ratio", "ratio_se"}
    assert run["stored_bytes"] > 10**6 and run["decode_tokens_per_s"] > 0


@pytest.mark.slow
def test_the_table_names_every_column_and_the_advice_follows(capsys, tmp_path):
    text = tmp_path / "mine.txt"
    text.write_text("Veld is an island. The people of Veld like stories about bees and boats. " * 60)
    assert cli.main([*QUALITY, "--precisions", "fp32,rtn-8,nosuch", "--text", str(text)]) == cli.REFUSED
    assert cli.main([*QUALITY, "--precisions", "fp32,rtn-8", "--text", str(text), "--memory", "4"]) == 0
    told = capsys.readouterr().out
    assert "mine.txt" in told and "rtn-8" in told and "noise floor" in told and "Smallest under" in told
    assert all(len(line) <= 80 for line in told.splitlines())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--text", "nosuch.txt"], "cannot be read"),
        (["--text", "."], "cannot be read"),
        (["--text", ""], "No text was named"),
        (["--tasks", ",,"], "names no task"),
        (["--kld-bound", "0"], "larger than zero"),
        (["--memory", "-1"], "larger than zero"),
        (["--memory", "inf"], "larger than zero"),
        (["--kld-bound", "nan"], "larger than zero"),
        (["--windows", "0"], "At least one window"),
        (["--model", "shape:bench-100m"], "random weights"),
        (["--reference", "nf4"], "not among"),
        (["--json", "/no/such/folder/x.json"], "no folder"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_two_lines(capsys, arguments, told):
    assert cli.main([*QUALITY, "--precisions", "fp32", *arguments]) == cli.REFUSED
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "name", "told"),
    [
        (["--model", "demo"], "demo", "The text is demo, which suits this model"),
        (["--model", "smollm2"], "english", "The text is english, which suits this model"),
        (["--model", "owner/name"], "english", "--text names another."),
        (["--model", "demo", "--text", "english"], "english", ""),
        (["--model", "smollm2", "--text", "demo"], "demo", ""),
        (["--text", "wikitext2"], "wikitext2", ""),
    ],
)
def test_without_a_name_the_text_suits_the_model_and_is_told(capsys, monkeypatch, arguments, name, told):
    reads = []

    def measure(history, request, stop, on):
        reads.append(request.text.name)
        raise Stopped
        yield

    monkeypatch.setattr("quantlab.runs.recorded.recorded_quality", measure)
    monkeypatch.setattr("quantlab.fidelity.wikitext.content", lambda: "An encyclopaedia. " * 100)
    assert cli.main(["quality", *arguments, "--precisions", "fp32"]) == cli.INTERRUPTED
    said = capsys.readouterr()
    assert reads == [name] and told in said.err and not said.out
    assert told or "The text is" not in said.err


def test_a_text_shorter_than_a_window_is_refused(capsys, tmp_path):
    (tmp_path / "short.txt").write_text("Too short.")
    assert cli.main([*QUALITY, "--precisions", "fp32", "--text", str(tmp_path / "short.txt")]) == cli.REFUSED
    assert "one window takes 512" in capsys.readouterr().err


@pytest.mark.slow
def test_what_was_measured_is_listed_shown_exported_imported_and_deleted(capsys, tmp_path):
    assert cli.main([*QUALITY, "--precisions", "fp32,rtn-8"]) == 0
    capsys.readouterr()
    assert cli.main(["history", "list", "rtn-8"]) == 0
    assert "quality" in (listed := capsys.readouterr().out) and "fp32, rtn-8" in listed
    assert cli.main(["history", "list", "nothing-like-this"]) == 0 and not capsys.readouterr().out
    assert cli.main(["history", "show", "1"]) == 0 and "rtn-8" in capsys.readouterr().out
    for ending, sign in (("json", '"schema"'), ("csv", "precision"), ("md", "| "), ("html", "<!doctype html")):
        file = tmp_path / f"out.{ending}"
        assert cli.main(["history", "export", "1", str(file)]) == 0
        assert sign in file.read_text().lower()
    capsys.readouterr()
    assert cli.main(["history", "export", "1", "-"]) == 0
    assert capsys.readouterr().out == (tmp_path / "out.json").read_text() + "\n"
    assert cli.main(["history", "export", "1", "-", "--format", "md"]) == 0 and "| rtn-8 |" in capsys.readouterr().out
    assert cli.main(["history", "import", str(tmp_path / "out.json")]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == "2" and "kept as 2: quality of demo (fp32, rtn-8), measured" in told.err
    assert cli.main(["history", "delete", "1"]) == 0
    assert cli.main(["history", "show", "1"]) == cli.REFUSED and "has no entry 1" in capsys.readouterr().err
    assert cli.main(["history", "resume", "2"]) == cli.REFUSED and "came from a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["export", "1", "out.pdf"], "no known ending"),
        (["export", "1", f"{'l' * 300}.json"], "cannot be written"),
        (["import", "/no/such/file.json"], "cannot be read"),
        (["import", __file__], "no JSON"),
        (["delete", "7"], "has no entry 7"),
    ],
)
def test_wrong_input_to_the_history_is_refused(capsys, arguments, told):
    assert cli.main(["history", *arguments]) == cli.REFUSED
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_the_same_comparison_is_replayed_and_says_so(capsys):
    asked = ["compare", "--precisions", "fp32,rtn-8", "--max-new-tokens", "4", "--compute-dtype", "float32"]
    assert cli.main(asked) == 0 and "Nothing ran" not in capsys.readouterr().out
    assert cli.main(asked) == 0 and "Nothing ran: this was measured on" in capsys.readouterr().out
    assert cli.main([*asked, "--fresh"]) == 0 and "Nothing ran" not in capsys.readouterr().out
