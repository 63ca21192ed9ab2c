"""Loaded variants, kept until others need their memory.

`lease` pins a variant while it is in use. Two askers of one variant load it once, and one variant loads at a time, so
that no two count on the same free bytes. When a new one does not fit into the byte budget, or the device runs out of
memory, the least recently used variants without a lease go first.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from quantlab.errors import OutOfMemory
from quantlab.records import LoadOrigin, Model, Progress, Variant, silent
from quantlab.runtime.session import LoadedModel, Storage


@dataclass(frozen=True)
class LoadResult:
    """A variant just loaded: whether it was quantized now or read as it lay on disk, and how long quantizing took.

    `build_s` is None where loading quantizes. `stored` is what it kept before its first product, None where nothing has
    run yet.
    """

    loaded: LoadedModel
    origin: LoadOrigin = "built"
    build_s: float | None = None
    stored: Storage | None = None


@dataclass(frozen=True)
class Need:
    """Bytes that a variant will take of the memory of these devices together."""

    devices: tuple[str, ...]
    nbytes: int


Loader = Callable[[Variant, Progress], LoadResult]
#: How often an asker who waits for another one's load looks whether it was told to stop.
_WAIT_S = 0.1


@dataclass(frozen=True)
class _Ready:
    """What a load brought; `stored` was read right after it."""

    brought: LoadResult
    stored: Storage


@dataclass
class _Entry:
    """One variant, loading (`ready` None) or ready."""

    ready: _Ready | None = None
    leases: int = 0


@dataclass(frozen=True)
class Lease:
    """A pinned variant: how it came (`origin`), in how many seconds, and what it stored right after its load."""

    loaded: LoadedModel
    stored: Storage
    origin: LoadOrigin
    load_s: float
    build_s: float | None = None


@dataclass
class VariantCache:
    """`load` brings a variant into memory and `estimate` says beforehand how many bytes it will take.

    `budget(device, held)` says how many bytes all variants on a device may take, given that they hold `held` now.
    `needs` says which devices have to hold how much of a variant; None: its placement's all of the estimate.
    """

    load: Loader
    estimate: Callable[[Variant], int]
    budget: Callable[[str, int], int]
    needs: Callable[[Variant], tuple[Need, ...]] | None = None
    #: How many variants were dropped from memory.
    evictions: int = 0
    _entries: OrderedDict[Variant, _Entry] = field(default_factory=OrderedDict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def lease(self, variant: Variant, progress: Progress = silent) -> Iterator[Lease]:
        """Pin a variant, loading it where it is not there yet.

        Raises OutOfMemory where it does not fit beside what is in use, and whatever the load raises.
        """
        begun = time.perf_counter()
        entry, ready, origin = self._acquire(variant, progress)
        try:
            took = time.perf_counter() - begun
            yield Lease(ready.brought.loaded, ready.stored, origin, took, ready.brought.build_s)
        finally:
            with self._changed:
                entry.leases -= 1
                self._changed.notify_all()

    def _acquire(self, variant: Variant, progress: Progress) -> tuple[_Entry, _Ready, LoadOrigin]:
        with self._changed:
            while (entry := self._entries.get(variant)) is not None:
                if entry.ready is not None:
                    entry.leases += 1
                    self._entries.move_to_end(variant)
                    return entry, entry.ready, "memory"
                progress(0, 0, "another visitor loads it already")
                self._changed.wait(_WAIT_S)
            entry = self._entries[variant] = _Entry(leases=1)
        try:
            with self._my_turn(progress):
                self._drop_outdated(variant)
                brought = self._load(variant, progress)
                with self._changed:
                    entry.ready = ready = _Ready(brought, brought.stored or brought.loaded.storage())
                    self._changed.notify_all()
        except BaseException:
            with self._changed:
                del self._entries[variant]
                self._changed.notify_all()
            raise
        return entry, ready, brought.origin

    @contextmanager
    def _my_turn(self, progress: Progress) -> Iterator[None]:
        while not self._turn.acquire(timeout=_WAIT_S):
            progress(0, 0, "another model is being loaded")
        try:
            yield
        finally:
            self._turn.release()

    def _load(self, variant: Variant, progress: Progress) -> LoadResult:
        for need in self.needs(variant) if self.needs else (_whole(variant, self.estimate(variant)),):
            self._make_room(need)
        try:
            return self.load(variant, progress)
        except OutOfMemory:
            if not self.drop_unused():
                raise
        return self.load(variant, progress)

    def _make_room(self, need: Need) -> None:
        """Drop what lies on the same devices, the least recently used first, until a need is met.

        Raises OutOfMemory where it never will be.
        """
        wanted = set(need.devices)
        while (free := sum(map(self._free, need.devices))) < need.nbytes:
            if not self._drop_oldest(lambda variant, entry: not wanted.isdisjoint(_held(variant, entry))):
                where = f" on {need.devices[0]}" if len(need.devices) == 1 and need.devices[0] != "cpu" else ""
                raise OutOfMemory(
                    f"This needs about {need.nbytes / 1e6:,.0f} MB{where}, and {free / 1e6:,.0f} MB are free for it.",
                    "Choose fewer bits or a smaller model, wait until others are done, or free some memory.",
                )

    def _free(self, device: str) -> int:
        held = self.held_bytes(device)
        return max(0, self.budget(device, held) - held)

    def room(self, device: str) -> int:
        """Bytes that one more variant may take on a device, once all that nobody uses is dropped."""
        with self._changed:
            used = sum(_held(it, entry).get(device, 0) for it, entry in self._entries.items() if entry.leases)
        return max(0, self.budget(device, self.held_bytes(device)) - used)

    def held_bytes(self, device: str) -> int:
        """Bytes that the variants took on a device when they were loaded."""
        with self._changed:
            return sum(_held(variant, entry).get(device, 0) for variant, entry in self._entries.items())

    def held(self) -> dict[str, int]:
        """Bytes that the variants took when they were loaded, by device."""
        found: dict[str, int] = {}
        with self._changed:
            for variant, entry in self._entries.items():
                for device, nbytes in _held(variant, entry).items():
                    found[device] = found.get(device, 0) + nbytes
        return found

    def drop_unused(self) -> int:
        """Drop every variant without a lease. Returns how many went."""
        dropped = 0
        while self._drop_oldest():
            dropped += 1
        return dropped

    def _drop_outdated(self, variant: Variant) -> None:
        """Drop what was loaded, at any precision, of files that were overwritten since: nobody asks for that again."""
        model = variant.model
        while self._drop_oldest(lambda held, _: held.model != model and _place(held.model) == _place(model)):
            pass

    def _drop_oldest(self, which: Callable[[Variant, _Entry], bool] = lambda _variant, _entry: True) -> bool:
        with self._changed:
            idle = [(it, entry) for it, entry in self._entries.items() if entry.ready and not entry.leases]
            oldest = next((it for it, entry in idle if which(it, entry)), None)
            ready = self._entries.pop(oldest).ready if oldest is not None else None
            self.evictions += ready is not None
        if ready is None:
            return False
        ready.brought.loaded.close()
        return True

    def __contains__(self, variant: Variant) -> bool:
        entry = self._entries.get(variant)
        return entry is not None and entry.ready is not None


def _place(model: Model) -> Model:
    """The model by the place of its files alone, whatever state they are in."""
    return replace(model, identity="")


def _whole(variant: Variant, nbytes: int) -> Need:
    return Need((variant.placement.device,), nbytes)


def _held(variant: Variant, entry: _Entry) -> Mapping[str, int]:
    """Bytes of a loaded variant by device."""
    if entry.ready is None:
        return {}
    stored = entry.ready.stored
    return stored.devices or {variant.placement.device: stored.total}
