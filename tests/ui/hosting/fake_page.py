"""`python app.py` on the fake services, each token of which takes `GAP` seconds."""

import os
from dataclasses import replace

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from quantlab.settings import app_settings
from quantlab.ui import launch
from tests.fakes import Script, services


def main() -> None:
    fakes = services(Script(0, float(os.environ["GAP"])))
    launch.real_services = lambda app, work: replace(fakes, compare=work.counted("compare", fakes.compare))
    launch._warm_up = lambda: None
    launch.serve(app_settings())


if __name__ == "__main__":
    main()
