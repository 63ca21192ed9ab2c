"""The tasks that come with quantlab: their questions lie in `assets/tasks/`, in the harness's own format."""

from dataclasses import dataclass

from quantlab.settings import ASSETS

FOLDER = ASSETS / "tasks"


@dataclass(frozen=True)
class BundledTask:
    """A task that needs no network. `about` says in a sentence what it asks."""

    name: str
    about: str


BUNDLED = {
    task.name: task
    for task in (
        BundledTask("demo_facts", "Who lives where, does what, eats what in the demo's world: learnt by heart."),
        BundledTask("demo_sums", "Sums that the demo model was never shown: worked out, not remembered."),
        BundledTask("demo_stories", "How a new story about known people goes on: remembered and read."),
        BundledTask("demo_grammar", "Which of four orders of the same words is a sentence, in a new story."),
        BundledTask(
            "demo_newcomers",
            "Facts about people who came after its training, word for word: known to it after fine-tuning alone.",
        ),
    )
}


def task_names() -> tuple[BundledTask, ...]:
    """The bundled tasks. Every other task of lm-evaluation-harness can be named too."""
    return tuple(BUNDLED.values())
