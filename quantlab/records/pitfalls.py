"""What goes wrong again and again with quantized models, and whether it does here; see `quantlab doctor`."""

from dataclasses import dataclass
from typing import Literal

State = Literal["fine", "take care", "wrong", "not looked at"]
FINE: State = "fine"
CARE: State = "take care"
WRONG: State = "wrong"
UNSEEN: State = "not looked at"


@dataclass(frozen=True)
class Pitfall:
    """One pitfall. `effect` is what it does, `seen` how it was noticed here, `change` what to do, empty where there is
    nothing; `code` is the line that does it, where one does.
    """

    name: str
    state: State
    effect: str
    seen: str
    change: str = ""
    code: str = ""
