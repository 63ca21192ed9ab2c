"""What leads from tab to tab: quality of what was asked, and prompts to what was measured."""

import gradio as gr

from quantlab.ui import scripts
from quantlab.ui.common import card
from quantlab.ui.common.tab import SMALL
from quantlab.ui.compare.handlers import Handlers
from quantlab.ui.finetune.parts import FinetuneParts
from quantlab.ui.quality.handlers import QualityHandlers


def wire_trained(tuned: FinetuneParts, asking: Handlers) -> None:
    """A button under a training that has ended sets the adapter beside its base in Compare."""
    there, wanted = asking.parts, asking.parts.inputs
    model, ticked, offered, dtype, prompt = tuned.led
    given = tuned.compare.click(
        asking.ask,
        [model, ticked, offered, dtype, prompt],
        [wanted.model, wanted.precisions, wanted.compute_dtype, wanted.prompt, wanted.reference, there.offered,
         there.about, *there.my_card.listed(), *there.examples],
        **SMALL,
    )  # fmt: skip
    given.then(None, None, None, js=scripts.to_tab("Compare")).then(None, None, None, js=scripts.CHOSEN)


def wire(asking: Handlers, measuring: QualityHandlers, quality_tab: gr.Tab) -> None:
    """Quality takes over the choice when it is opened; a button under its results gives it back."""
    there, here = asking.parts, measuring.parts
    chosen = [there.inputs.model, there.inputs.precisions, there.offered, there.inputs.compute_dtype]
    own = here.inputs
    taken = quality_tab.select(
        measuring.take_over,
        [*chosen, own.source, here.taken],
        [own.model, own.precisions, own.source, own.tasks, own.reference, own.compute_dtype, here.offered, here.taken,
         here.about, *here.my_card.listed()],
        **SMALL,
    )  # fmt: skip
    taken.then(None, None, None, js=scripts.CHOSEN)
    chosen = [own.model, own.precisions, here.offered, own.compute_dtype]
    wanted = there.inputs
    given = here.ask.click(
        asking.ask,
        [*chosen, wanted.prompt],
        [wanted.model, wanted.precisions, wanted.compute_dtype, wanted.prompt, wanted.reference, there.offered,
         there.about, *there.my_card.listed(), *there.examples],
        **SMALL,
    )  # fmt: skip
    # A card that is named on one tab is the other's: Quality takes it over when it is opened.
    gr.on(
        card.changes(here.my_card),
        asking.card,
        [here.my_card.card, here.my_card.context, wanted.model, wanted.compute_dtype, there.offered],
        [there.offered, wanted.precisions, there.my_card.kept, *there.my_card.listed()],
        trigger_mode="always_last",
        **SMALL,
    )
    given.then(None, None, None, js=scripts.to_tab("Compare")).then(None, None, None, js=scripts.CHOSEN)
