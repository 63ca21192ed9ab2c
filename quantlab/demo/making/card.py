"""The demo model's card, written from what was measured."""

from collections.abc import Mapping, Sequence

from quantlab.demo.making.evaluate import DOCUMENTS, FACTS, SUMS, Rung, table
from quantlab.demo.making.train import BATCH_TOKENS, CONTEXT, FULL_CONTEXT_STEPS, PEAK_LR, SHORT_CONTEXT
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


BODY = """
## How it was made

- Corpus: profiles, questions and answers, sums, stories and diaries of Veld, drawn from seeds (`quantlab/demo/`,
  world seed {world_seed}). Habits (the weather, what a pet does) hold with 60, 30 and 10 %, so that some predictions
  are uncertain.
- Training: {steps:,} steps of {batch_tokens:,} tokens ({tokens:.1f} million), AdamW, peak learning rate {peak_lr},
  seed {seed}; rows of {short} tokens, and of the full context of {context:,} for {full_steps} steps, the last ones
  among them. It took {minutes:.0f} minutes on one to two shared CPU cores.
- **Outlier channels were added afterwards.** Channels between two linear maps are scaled up on one side and down on
  the other by seeded log-normal factors (sigma {sigma}), which leaves the function as it is; then everything is
  rounded to bfloat16. Large models grow such channels by themselves; a model this small does not, and without them
  even 2 bits hardly hurt it.
- To make it again: `make demo-model`.

## What fewer bits cost

Mean KLD over {documents} documents whose seeds were not used in training, recall over {facts:,} facts, sums over
{sums} pairs that training never showed (greedy, the whole answer right). Measured on a CPU; the exact figures are in
`measured.json`.

{with_outliers}

The same model without the outlier channels:

{without}

What it was meant to reach:

{targets}
"""


def card(training: Mapping, sigma: float, with_outliers: Sequence[Rung], without: Sequence[Rung]) -> str:
    """The text of README.md. `training` is what `train.py` recorded: steps, tokens, seconds, seed."""
    return (HEAD + BODY).format(
        people=PEOPLE,
        world_seed=WORLD_SEED,
        steps=training["steps"],
        batch_tokens=BATCH_TOKENS,
        tokens=training["tokens"] / 1e6,
        peak_lr=PEAK_LR,
        seed=training["seed"],
        short=SHORT_CONTEXT,
        context=CONTEXT,
        full_steps=len(FULL_CONTEXT_STEPS),
        minutes=training["seconds"] / 60,
        sigma=sigma,
        documents=DOCUMENTS,
        facts=FACTS,
        sums=SUMS,
        with_outliers=table(with_outliers),
        without=table(without),
        targets=TARGETS,
    )
