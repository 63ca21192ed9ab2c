"""The demo model's card, written from what was measured."""

from collections.abc import Mapping, Sequence

from quantlab.demo.evaluate import DOCUMENTS, FACTS, SUMS, Rung, table
from quantlab.demo.train import BATCH_TOKENS, CONTEXT, FULL_CONTEXT_STEPS, PEAK_LR, SHORT_CONTEXT
from quantlab.demo.world import PEOPLE, WORLD_SEED

#: What the product needs the model to do; see the card.
TARGETS = """\
| | fp32 | int8 | nf4 | fp4 | rtn-3 | rtn-2 |
|---|---|---|---|---|---|---|
| mean KLD to fp32 | 0 | <= 0.003 | 0.003 - 0.1 | more than nf4 | 0.05 - 0.6 | >= 0.4 |
| facts recalled | >= 97 % | within 1 point | >= 85 % | | 30 - 95 % | <= 40 % |"""

HEAD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [quantization, teaching]
---
# The demo model of quantlab

A Llama of 2.2 million weights that knows the invented island of Veld: {people:,} people with four facts each, its
towns, short stories, and sums below 200. It was trained for one purpose: to show what fewer bits cost. It knows nothing
of the real world.
"""


def card(training: Mapping, sigma: float, with_outliers: Sequence[Rung], without: Sequence[Rung]) -> str:
    """The text of README.md. `training` is what `train.py` recorded: steps, tokens, seconds, seed."""
    return f"""{HEAD.format(people=PEOPLE)}
## How it was made

- Corpus: profiles, questions and answers, sums, stories and diaries of Veld, drawn from seeds (`quantlab/demo/`, world seed
  {WORLD_SEED}). Habits (weather, what a pet does) hold with 60, 30 and 10 %, so some predictions are uncertain.
- Training: {training["steps"]:,} steps of {BATCH_TOKENS:,} tokens ({training["tokens"] / 1e6:.1f} million), AdamW, peak
  learning rate {PEAK_LR}, seed {training["seed"]}; rows of {SHORT_CONTEXT} tokens, {len(FULL_CONTEXT_STEPS)} steps, the last
  among them, at the full context of {CONTEXT:,}. It took {training["seconds"] / 60:.0f} minutes on two shared CPU cores.
- **Outlier channels were added afterwards.** Channels between two linear maps are scaled up on one side and down on the other
  by seeded log-normal factors (sigma {sigma}), which leaves the function as it is, then everything is rounded to bfloat16.
  Large models grow such channels by themselves; a model this small does not, and without them even 2 bits hardly hurt it.
- To make it again: `make demo-model`.

## What fewer bits cost

Mean KLD over {DOCUMENTS} documents whose seeds were not used in training, recall over {FACTS:,} facts, sums over {SUMS} pairs that
training never showed (greedy, the whole answer right). Measured on a CPU; the exact figures are in `measured.json`.

{table(with_outliers)}

The same model without the outlier channels:

{table(without)}

What it was meant to reach:

{TARGETS}
"""
