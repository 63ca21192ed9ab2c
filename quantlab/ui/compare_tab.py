"""The first tab: its components and how they are wired. What they do is in handlers.py."""

from dataclasses import dataclass, fields

import gradio as gr

from quantlab.errors import QuantlabError
from quantlab.settings import AppSettings
from quantlab.ui import choice as choices
from quantlab.ui import fragments, models, panels, picker, scripts
from quantlab.ui.choice import Choice
from quantlab.ui.handlers import Handlers
from quantlab.ui.services import Services

#: Events that compute on the device share one place: a second visitor queues.
DEVICE_QUEUE = {"concurrency_limit": 1, "concurrency_id": "gpu"}
SMALL = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Inputs:
    """The inputs, in the order of `Choice`'s fields."""

    model: gr.Dropdown
    precisions: picker.PrecisionPicker
    prompt: gr.Textbox
    max_new_tokens: gr.Slider
    sample: gr.Checkbox
    temperature: gr.Slider
    top_k: gr.Slider
    top_p: gr.Slider
    seed: gr.Number
    reference: gr.Dropdown
    compute_dtype: gr.Dropdown
    raw: gr.Checkbox
    race: gr.Checkbox

    def listed(self) -> list[gr.components.Component]:
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True)
class Panel:
    """A chart's figures with their table twin, and the column that holds them."""

    column: gr.Column
    plots: tuple[gr.Plot, ...]
    table: gr.HTML


@dataclass(frozen=True)
class Parts:
    """Every component that a handler fills."""

    inputs: Inputs
    about: gr.HTML
    examples: tuple[gr.Button, ...]
    compare: gr.Button
    stop: gr.Button
    status: gr.HTML
    problem: gr.HTML
    race_warning: gr.HTML
    link: gr.Textbox
    empty: gr.HTML
    tokens: gr.HTML
    legend: gr.HTML
    columns: tuple[gr.HTML, ...]
    charts: gr.Column
    panels: tuple[Panel, ...]

    def results(self) -> list[gr.components.Component | gr.Column]:
        """What a run fills, from the buttons to the charts."""
        drawn = [component for panel in self.panels for component in (panel.column, *panel.plots, panel.table)]
        head = [self.compare, self.stop, self.status, self.problem, self.empty, self.tokens, self.legend]
        return [*head, *self.columns, self.charts, *drawn]


def build(app: AppSettings, services: Services) -> None:
    """Make the tab inside the current Blocks, wired."""
    start = Choice(prompt=models.examples(choices.DEFAULT_MODEL, services.choices())[0][1])
    offers = _first_offers(start, app, services)
    with gr.Row(elem_id="choose"):
        with gr.Column(scale=6, min_width=300, elem_id="choose-model"):
            model, about, precisions = _model_inputs(start, offers, app, services)
        with gr.Column(scale=6, min_width=300, elem_id="choose-prompt"):
            prompt, examples = _prompt_inputs(start, services)
            with gr.Row(elem_id="actions"):
                compare = gr.Button("Compare", variant="primary", elem_id="compare", scale=3, min_width=110)
                stop = gr.Button("Stop", elem_id="stop", interactive=False, scale=1, min_width=70)
                copy = gr.Button("Copy link", elem_id="copy-link", scale=1, min_width=90)
            status = gr.HTML(fragments.said(""), elem_id="status", apply_default_css=False)
            settings, race_warning = _settings_inputs(start, offers, app)
    problem = gr.HTML("", elem_id="problem", apply_default_css=False)
    inputs = Inputs(model, precisions, prompt, *settings)
    link = gr.Textbox(visible="hidden", label="link")
    parts = Parts(inputs, about, examples, compare, stop, status, problem, race_warning, link, *_results(app))
    _wire(parts, copy, Handlers(parts, app, services))


def _first_offers(start: Choice, app: AppSettings, services: Services):
    """The bundled model's offers; none where it cannot be read, which the page then says on its own."""
    try:
        return services.offers(start.model, choices.placement(start, app))
    except QuantlabError:
        return ()


def _model_inputs(start: Choice, offers, app: AppSettings, services: Services):
    known = services.choices()
    model = gr.Dropdown(
        [name for name, _, _ in known],
        value=start.model,
        label="Model",
        info=None if app.public else "Pick one, or type a Hugging Face id or a folder",
        allow_custom_value=not app.public,
        elem_id="model",
    )
    about = gr.HTML(fragments.about_model(*models.about(start.model, known)), elem_id="about", apply_default_css=False)
    ticked = picker.default_ticks(offers, start.precisions, app.max_columns)
    return model, about, picker.picker(offers, ticked, app.max_columns)


def _prompt_inputs(start: Choice, services: Services):
    prompt = gr.Textbox(
        start.prompt, label="Prompt", lines=9, max_lines=14, elem_id="prompt", placeholder="What shall they answer?"
    )
    with gr.Row(elem_id="examples"):
        gr.HTML('<span class="faint" id="examples-label">Examples</span>', apply_default_css=False)
        shown = models.examples(start.model, services.choices())
        examples = tuple(gr.Button(label, size="sm", min_width=64, scale=0) for label, _ in shown)
    return prompt, examples


def _settings_inputs(start: Choice, offers, app: AppSettings):
    names = [offer.precision.name for offer in offers]
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        new_tokens = gr.Slider(
            1, app.max_new_tokens, min(start.max_new_tokens, app.max_new_tokens), step=1, label="New tokens"
        )
        with gr.Row():
            reference = gr.Dropdown([choices.MOST_PRECISE, *names], value=start.reference, label="Reference")
            dtype = gr.Dropdown(list(choices.COMPUTE_DTYPES), value=start.compute_dtype, label="Compute dtype")
        sample = gr.Checkbox(start.sample, label="Sample (off: the likeliest token every time, greedy)")
        with gr.Row():
            temperature = gr.Slider(0.1, 2.0, start.temperature, step=0.05, label="Temperature")
            top_k = gr.Slider(0, 200, start.top_k, step=1, label="Top-k (0: off)")
        with gr.Row():
            top_p = gr.Slider(0.05, 1.0, start.top_p, step=0.01, label="Top-p")
            seed = gr.Number(start.seed, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
        raw = gr.Checkbox(start.raw, label="Raw prompt (without the model's chat template)")
        race = gr.Checkbox(start.race, label="Race (all at once)")
        warning = gr.HTML(fragments.RACE_WARNING, visible=False, apply_default_css=False)
    return (new_tokens, sample, temperature, top_k, top_p, seed, reference, dtype, raw, race), warning


def _results(app: AppSettings):
    empty = gr.HTML(fragments.EMPTY, elem_id="empty", apply_default_css=False)
    tokens = gr.HTML("", elem_id="prompt-tokens", apply_default_css=False)
    legend = gr.HTML("", elem_id="legend", apply_default_css=False)
    with gr.Row(elem_id="columns"):
        columns = tuple(
            # Always there: an empty one takes no room, and one that were mounted while it streams would miss updates.
            gr.HTML("", elem_classes="column", apply_default_css=False)
            for _ in range(app.max_columns)
        )
    with gr.Column(visible=False, elem_id="charts") as charts:
        made = tuple(_panel(chart) for chart in panels.CHARTS)
    return empty, tokens, legend, columns, charts, made


def _panel(chart: panels.Chart) -> Panel:
    with gr.Column(elem_id=f"panel-{chart.key}", min_width=280) as column:
        gr.HTML(panels.head(chart), apply_default_css=False)
        plots = tuple(
            gr.Plot(label=f"{chart.title}: {part}", show_label=False, container=False, elem_classes="as-chart")
            for part in chart.parts
        )
        table = gr.HTML("", elem_classes="as-table", apply_default_css=False)
    return Panel(column, plots, table)


def _wire(parts: Parts, copy: gr.Button, handlers: Handlers) -> None:
    inputs = parts.inputs.listed()
    begun = gr.on(
        [parts.compare.click, parts.inputs.prompt.submit],
        handlers.begin,
        inputs,
        [*parts.results(), parts.link],
        **SMALL,
    )
    begun.then(None, parts.link, js=scripts.SHOW_LINK)
    begun.then(handlers.compare, inputs, parts.results(), show_progress="hidden", api_name="compare", **DEVICE_QUEUE)
    parts.stop.click(handlers.stop, None, [parts.stop, parts.status], **SMALL)
    copy.click(handlers.link, inputs, [parts.link, parts.status], **SMALL).then(None, parts.link, js=scripts.COPY_LINK)
    for index, button in enumerate(parts.examples):
        button.click(handlers.example(index), parts.inputs.model, parts.inputs.prompt, **SMALL)
    estimated = [parts.about, parts.inputs.precisions, parts.inputs.reference, parts.problem]
    gr.on(
        [parts.inputs.model.input, parts.inputs.compute_dtype.input],
        handlers.estimate,
        [parts.inputs.model, parts.inputs.compute_dtype, parts.inputs.precisions],
        [*estimated, *parts.examples],
        show_progress="hidden",
        concurrency_limit=4,
        api_visibility="private",
    )
    parts.inputs.race.change(handlers.race, parts.inputs.race, parts.race_warning, **SMALL)
    blocks = gr.context.Context.root_block
    blocks.load(handlers.restore, None, [*inputs, *estimated[:1], parts.problem, *parts.examples], **SMALL)
    blocks.unload(handlers.leave)
