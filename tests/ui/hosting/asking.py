"""A comparison asked for by a client of the API."""

from gradio_client import Client

from quantlab.ui.compare.form import FIELDS, Choice


def ask(client: Client, **changes: object) -> str:
    """What the page would show after a comparison of two precisions of the demo, but for `changes`."""
    choice = Choice(model="demo", precisions=("fp32", "nf4"), prompt="Once upon a time", max_new_tokens=8)
    values = {**choice.__dict__, **changes}
    arguments = [list(v) if isinstance(v, tuple) else v for v in (values[name] for name in FIELDS)]
    return str(client.predict(*arguments, api_name="/compare"))
