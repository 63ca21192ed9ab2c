"""A task of the harness's own, its questions fetched from a stand-in Hub over real HTTP."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quantlab.models.source import DEMO_FOLDER
from tests.models.hub_server import HubServer

DATASET = "datasets/Rowan/hellaswag"
ROOT = Path(__file__).resolve().parents[2]
#: The address of the Hub is read when the libraries are imported, so this is a program of its own.
PROGRAM = """
import json, logging, sys
import lm_eval
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer
from quantlab.fidelity.tasks import harness, score
from tests.loading import load
from quantlab.records import Model, Placement
from pathlib import Path

folder = Path(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(folder)
ours = score(load(Model("demo", "demo", folder), "fp32"), tokenizer, ["hellaswag"])["hellaswag"]
network = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
lm = HFLM(pretrained=network, tokenizer=tokenizer, batch_size=1)
# The index of ten thousand tasks is built once; what it holds is the harness's own.
index = harness._manager(bundled=False)
theirs = lm_eval.simple_evaluate(model=lm, tasks=["hellaswag"], log_samples=True, task_manager=index)
figures, samples = theirs["results"]["hellaswag"], theirs["samples"]["hellaswag"]
print(json.dumps({
    "ours": [ours.acc, ours.acc_se, ours.acc_norm, ours.acc_norm_se, list(ours.correct)],
    "theirs": [figures[f"{name},none"] for name in ("acc", "acc_stderr", "acc_norm", "acc_norm_stderr")]
    + [[sample["acc"] == 1 for sample in samples]],
}))
"""


def item(number: int) -> dict[str, object]:
    endings = [
        "puts it into the oven.",
        "flies over the sea and back again.",
        "stops.",
        "is a car, as everybody knows.",
    ]
    context = f"Step {number}: somebody bakes bread. She"
    return {
        "ind": number, "activity_label": "Baking bread", "ctx_a": context.removesuffix(" She"), "ctx_b": "She",
        "ctx": context, "endings": endings[number % 4 :] + endings[: number % 4], "source_id": f"activity~{number}",
        "split": "val", "split_type": "indomain", "label": str(number % 3),
    }  # fmt: skip


@pytest.fixture
def hub():
    # Equal files would be fetched once.
    parts = {"validation": range(24), "train": range(4)}
    files = {f"data/{name}.jsonl": "\n".join(json.dumps(item(i)) for i in part) for name, part in parts.items()}
    server = HubServer({DATASET: {"README.md": b""} | {name: text.encode() for name, text in files.items()}})
    yield server
    server.close()


@pytest.mark.slow
def test_a_task_by_name_is_fetched_and_scored_as_by_the_harness(hub, tmp_path):
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0",
           "PYTHONPATH": str(ROOT)}  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(DEMO_FOLDER)], env=os.environ | own, cwd=tmp_path, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2_000:]
    found = json.loads(ran.stdout.splitlines()[-1])
    assert hub.asked("validation.jsonl") and not hub.asked(".py", "GET")
    assert found["ours"][4] == found["theirs"][4] and {True, False} <= set(found["ours"][4])
    assert found["ours"][:4] == pytest.approx(found["theirs"][:4], rel=1e-9)
