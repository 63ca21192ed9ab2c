"""The components of the tab Claims."""

from dataclasses import dataclass

import gradio as gr


@dataclass(frozen=True)
class ClaimsParts:
    """`found` holds the verdicts by their numbers, those of earlier tests too."""

    model: gr.Dropdown
    which: gr.Dropdown
    start: gr.Button
    stop: gr.Button
    status: gr.HTML
    claims: gr.HTML
    found: gr.State
