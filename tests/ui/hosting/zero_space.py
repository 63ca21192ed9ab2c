"""app.py as a ZeroGPU Space runs it, with the real package `spaces`, on a machine that has a CPU build of torch.

What that build lacks is put in its place: the version of CUDA, and in a worker the GPU, so that what is lent there is
the CPU (`QUANTLAB_DEVICE=cpu`). Outside a worker `spaces` gives out its own stand-in for CUDA, which is real here.
`residents` as an argument: load what is resident, write as JSON what that is and how many bytes lie on "CUDA".
"""

import functools
import json
import os
import runpy
import sys

# Before `spaces`: the two ask whether CUDA is there, and need of it what this build has not.
os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
import bitsandbytes  # noqa: F401
import torch

if torch.version.cuda is None:
    torch.version.cuda = "12.8"
    torch._C._cuda_init = lambda: None
    torch.cuda._is_in_bad_fork = functools.partial(bool)

import spaces  # noqa: F401
from spaces.zero import torch as emulated
from spaces.zero.torch import patching


def residents() -> dict[str, object]:
    from quantlab.settings import app_settings
    from quantlab.ui.hosting import zero

    zero.load_residents(app_settings())
    nbytes = patching.size()
    return {"residents": sorted(zero._residents), "bytes": nbytes, "packed": patching.pack()}


if __name__ == "__main__":
    if sys.argv[1:] == ["residents"]:
        print(json.dumps(residents()))
    else:
        emulated.init = lambda nvidia_uuid: None
        emulated.move = lambda callback=None: None
        runpy.run_path("app.py", run_name="__main__")
