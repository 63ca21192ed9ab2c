"""The page's look as Gradio's own variables: one accent colour, quiet greys, contrast that holds in light and dark."""

import gradio as gr

ACCENT = gr.themes.Color(
    "#eef3ff", "#dfe8ff", "#c3d3ff", "#9bb6ff", "#8aaaff", "#4a74e0", "#2a56c6", "#2249a8", "#1e3f8d", "#1b3672",
    "#132650",
)  # fmt: skip


#: Pairs of a value for light and one, `_dark`, for dark.
VARIABLES = dict(
    body_background_fill="#f6f7f9",
    body_background_fill_dark="#0f1217",
    body_text_color="#1b2027",
    body_text_color_dark="#e6e9ee",
    body_text_color_subdued="#56606e",
    body_text_color_subdued_dark="#a1abb9",
    background_fill_primary="#ffffff",
    background_fill_primary_dark="#171b22",
    # The page of the password, which no style sheet reaches, lies on this; else it is of two grounds.
    panel_background_fill="*background_fill_primary",
    panel_background_fill_dark="*background_fill_primary",
    background_fill_secondary="#f6f7f9",
    background_fill_secondary_dark="#0f1217",
    border_color_primary="#dde1e7",
    border_color_primary_dark="#2b323d",
    block_background_fill="#ffffff",
    block_background_fill_dark="#171b22",
    block_border_color="#dde1e7",
    block_border_color_dark="#2b323d",
    block_border_width="1px",
    block_shadow="none",
    block_label_text_color="#3c4653",
    block_label_text_color_dark="#c3cbd6",
    block_title_text_color="#3c4653",
    block_title_text_color_dark="#c3cbd6",
    block_title_text_weight="600",
    block_info_text_color="#56606e",
    block_info_text_color_dark="#a1abb9",
    input_background_fill="#ffffff",
    input_background_fill_dark="#11151b",
    input_border_color="#c4cad3",
    input_border_color_dark="#3a4350",
    button_primary_background_fill="#2a56c6",
    button_primary_background_fill_hover="#2249a8",
    button_primary_text_color="#ffffff",
    button_primary_background_fill_dark="#8aaaff",
    button_primary_background_fill_hover_dark="#a8c0ff",
    button_primary_text_color_dark="#0b1530",
    button_secondary_background_fill="#ffffff",
    button_secondary_background_fill_hover="#eef0f4",
    button_secondary_text_color="#1b2027",
    button_secondary_border_color="#c4cad3",
    button_secondary_background_fill_dark="#1e242d",
    button_secondary_background_fill_hover_dark="#29313c",
    button_secondary_text_color_dark="#e6e9ee",
    button_secondary_border_color_dark="#3a4350",
    button_border_width="1px",
    slider_color="#2a56c6",
    slider_color_dark="#8aaaff",
    link_text_color="#2a56c6",
    link_text_color_dark="#8aaaff",
)


def theme() -> gr.themes.Base:
    """Gradio's default theme with our colours. The accent on white has a contrast of 6.5, white on it the same."""
    return gr.themes.Default(
        primary_hue=ACCENT,
        secondary_hue=ACCENT,
        neutral_hue=gr.themes.colors.slate,
        # The semi-bold cut that Gradio ships holds a few letters only; its bold one is whole.
        font=(gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=(gr.themes.LocalFont("IBM Plex Mono", weights=(400,)), "ui-monospace", "monospace"),
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md,
        spacing_size=gr.themes.sizes.spacing_md,
    ).set(**VARIABLES)
