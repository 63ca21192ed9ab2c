"""Entry of a Space, and of `python app.py`: settings from the environment, then the page."""

import os
import sys

# Read by gradio and huggingface_hub while they are imported: the server asks nothing from outside by itself.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from quantlab.errors import QuantlabError
from quantlab.settings import app_settings


def main() -> None:
    try:
        settings = app_settings()
        if settings.zero_gpu:
            import spaces  # noqa: F401 - it patches torch, so it comes before anything that may touch CUDA

        from quantlab.ui.launch import serve

        serve(settings)
    except QuantlabError as error:
        sys.exit(f"quantlab: {error}")


if __name__ == "__main__":
    main()
