"""The page. Gradio lives here and in app.py, nowhere else."""

import os

# Gradio reads it when it is imported, and asks the network for its newest version unless it says no.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# What it warns of is refused in our own words, or means nothing here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from gradio import component_meta

# Beside each module that subclasses a component it writes a stub, which grows stale and is read in the module's place.
component_meta.create_or_modify_pyi = lambda *_told: None
