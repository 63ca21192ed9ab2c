"""The cache of loaded variants, with fakes that hold no memory but count as if they did."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from quantlab.errors import ModelError, OutOfMemory, Stopped
from quantlab.records import Model, Precision, Progress, ResolvedPlacement, Variant
from quantlab.runtime.session import Storage
from quantlab.runtime.variant_cache import LoadResult, Need, VariantCache

MODEL = Model("demo", "demo", None)


def variant(name: str, device: str = "cpu") -> Variant:
    return Variant(MODEL, Precision(name, "dense", 16, ""), ResolvedPlacement(device, "float32"))


A, B, C, D = map(variant, "ABCD")


@dataclass
class FakeModel:
    size: int
    closed: int = 0

    def storage(self) -> Storage:
        return Storage(self.size, {"mlp": self.size}, self.size, 0, 0)

    def close(self) -> None:
        self.closed += 1


@dataclass
class Device:
    """Memory of `capacity` bytes that every variant takes `size` of; `before_load` is called with each variant."""

    capacity: int = 1_000
    size: int = 300
    loads: list[str] = field(default_factory=list)
    models: list[FakeModel] = field(default_factory=list)
    before_load: object = lambda variant: None

    def used(self) -> int:
        return sum(model.size for model in self.models if not model.closed)

    def load(self, variant: Variant, progress: Progress) -> LoadResult:
        self.loads.append(variant.precision.name)
        self.before_load(variant)
        for done in range(3):
            progress(done, 3, "tensor")
        if self.used() + self.size > self.capacity:
            raise OutOfMemory("full")
        self.models.append(FakeModel(self.size))
        return LoadResult(self.models[-1])

    def cache(self, budget: int | None = None, estimate: int | None = None) -> VariantCache:
        """With its true size as the estimate, and all that is left as the budget, unless said otherwise."""

        def free(_device: str, held: int) -> int:
            assert held == self.used(), "the cache must know what its variants hold"
            return self.capacity if budget is None else budget

        return VariantCache(self.load, lambda _: self.size if estimate is None else estimate, free)


def use(cache: VariantCache, *variants: Variant) -> list[str]:
    """Lease each for a moment; where they came from."""
    origins = []
    for one in variants:
        with cache.lease(one) as lease:
            origins.append(lease.origin)
    return origins


def test_a_variant_is_built_once_and_then_comes_from_memory():
    device = Device()
    cache = device.cache()
    assert use(cache, A, A, B, A) == ["built", "memory", "built", "memory"]
    assert device.loads == ["A", "B"]
    assert A in cache and C not in cache
    with cache.lease(A) as lease:
        assert lease.loaded is device.models[0]
        assert lease.stored.total == 300


def test_the_same_precision_at_another_place_is_another_variant():
    elsewhere = Variant(MODEL, A.precision, ResolvedPlacement("cpu", "bfloat16"))
    assert use(Device().cache(), A, elsewhere) == ["built", "built"]


def test_the_least_recently_used_goes_first():
    device = Device()
    cache = device.cache()
    use(cache, A, B, C, A)
    assert use(cache, D) == ["built"]
    assert [v in cache for v in (A, B, C, D)] == [True, False, True, True]
    assert [model.closed for model in device.models] == [0, 1, 0, 0]


def test_what_it_holds_and_what_went_is_told():
    device = Device()
    cache = device.cache()
    assert cache.held() == {} and cache.evictions == 0
    use(cache, A, B, C, D)
    assert cache.held() == {"cpu": device.used()} == {"cpu": 900} and cache.evictions == 1
    with cache.lease(D):
        cache.drop_unused()
        assert cache.held() == {"cpu": 300} and cache.evictions == sum(model.closed for model in device.models) == 3


def test_what_is_leased_never_goes():
    device = Device()
    cache = device.cache()
    with cache.lease(A) as first, cache.lease(B), cache.lease(C):
        with pytest.raises(OutOfMemory, match="needs about 0 MB, and 0 MB are free") as error, cache.lease(D):
            pass
        assert "wait until others are done" in error.value.advice
        assert cache.drop_unused() == 0
        assert not first.loaded.closed
    assert D not in cache and device.loads == ["A", "B", "C"]
    assert use(cache, D) == ["built"], "after the leases there is room"


def test_two_leases_of_one_variant_pin_it_until_both_end():
    cache = Device().cache()
    with cache.lease(A):
        with pytest.raises(ZeroDivisionError), cache.lease(A):
            raise ZeroDivisionError  # a lease ends with an error too
        assert cache.drop_unused() == 0
    assert cache.drop_unused() == 1 and A not in cache


def test_out_of_memory_drops_the_unused_and_tries_once_more():
    device = Device(capacity=800)
    cache = device.cache(budget=10_000)  # a budget too large, so that only the load itself finds out
    use(cache, A, B)
    assert use(cache, C) == ["built"]
    assert device.loads == ["A", "B", "C", "C"]
    assert [model.closed for model in device.models] == [1, 1, 0]
    assert cache.held_bytes("cpu") == 300


def test_out_of_memory_with_nothing_to_drop_is_tried_once():
    device = Device(capacity=200)
    cache = device.cache(budget=10_000)
    with pytest.raises(OutOfMemory, match="full"):
        use(cache, A)
    assert device.loads == ["A"] and A not in cache
    device.capacity = 300
    assert use(cache, A) == ["built"], "a failure leaves nothing behind"


def test_out_of_memory_again_after_the_drop_is_the_error():
    device = Device(capacity=500)
    cache = device.cache(budget=10_000)
    use(cache, A)
    device.size = 600
    with pytest.raises(OutOfMemory, match="full"):
        use(cache, B)
    assert device.loads == ["A", "B", "B"]
    assert cache.held_bytes("cpu") == 0 == device.used()


def test_an_estimate_above_the_budget_is_refused_without_a_try():
    device = Device()
    cache = device.cache(budget=1_000, estimate=5_000_000)
    with pytest.raises(OutOfMemory, match="needs about 5 MB") as error:
        use(cache, A)
    assert device.loads == [] and "fewer bits" in error.value.advice


def test_the_bytes_held_are_counted_for_each_device():
    device = Device(capacity=10_000)
    cache = device.cache(budget=10_000)
    cache.budget = lambda *_: 10_000
    use(cache, A, B, variant("A", "cuda"))
    assert (cache.held_bytes("cpu"), cache.held_bytes("cuda"), cache.held_bytes("cuda:1")) == (600, 300, 0)
    assert cache.drop_unused() == 3
    assert cache.held_bytes("cpu") == cache.held_bytes("cuda") == device.used() == 0


def test_many_threads_asking_for_one_variant_load_it_once():
    device = Device(before_load=lambda _: time.sleep(0.1))
    cache = device.cache()
    ready = threading.Barrier(8)

    def ask(_: int) -> tuple[str, FakeModel]:
        ready.wait()
        with cache.lease(A) as lease:
            return lease.origin, lease.loaded

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert device.loads == ["A"]
    assert sorted(origin for origin, _ in answers) == ["built"] + ["memory"] * 7
    assert {id(loaded) for _, loaded in answers} == {id(device.models[0])}


def test_one_variant_loads_at_a_time_so_that_no_two_count_on_the_same_room():
    running, most = threading.Semaphore(1), []

    def alone(_variant: Variant) -> None:
        most.append(running.acquire(blocking=False))
        time.sleep(0.05)
        running.release()

    device = Device(capacity=700, before_load=alone)
    cache = device.cache()
    ready = threading.Barrier(4)

    def ask(one: Variant) -> str:
        ready.wait()
        with cache.lease(one) as lease:
            return lease.origin

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, (A, B, C, D))) == ["built"] * 4
    assert most == [True] * 4, "two loads overlapped"
    assert device.used() == 600 and len(device.loads) == 4


def test_waiters_wake_when_a_load_fails_and_try_themselves():
    begun, fail = threading.Event(), threading.Event()

    def first_fails(_variant: Variant) -> None:
        if len(device.loads) == 1:
            begun.set()
            assert fail.wait(5)
            raise ModelError("the file is damaged")

    device = Device(before_load=first_fails)
    cache = device.cache()
    told = []

    def wait_for_it(_: int) -> str:
        assert begun.wait(5)
        with cache.lease(A, lambda *step: told.append(step)) as lease:
            return lease.origin

    with ThreadPoolExecutor(3) as pool:
        failing = pool.submit(use, cache, A)
        waiting = [pool.submit(wait_for_it, i) for i in range(2)]
        while len([step for step in told if "another visitor" in step[2]]) < 2:
            time.sleep(0.01)
        fail.set()
        with pytest.raises(ModelError, match="damaged"):
            failing.result(5)
        assert sorted(one.result(5) for one in waiting) == ["built", "memory"]
    assert device.loads == ["A", "A"]


@pytest.mark.parametrize("other", [A, B], ids=["the same variant", "another variant"])
def test_who_waits_for_another_load_can_be_stopped(other):
    begun, finish = threading.Event(), threading.Event()

    def slow(_variant: Variant) -> None:
        begun.set()
        assert finish.wait(5)

    device = Device(before_load=slow)
    cache = device.cache()

    def stop(_done: int, _total: int, what: str) -> None:
        assert "another" in what
        raise Stopped

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(use, cache, A)
        assert begun.wait(5)
        asked = time.perf_counter()
        with pytest.raises(Stopped), cache.lease(other, stop):
            pass
        assert time.perf_counter() - asked < 1
        finish.set()
        assert loading.result(5) == ["built"]
    assert device.loads == ["A"]
    assert use(cache, A) == ["memory"]


def test_stopping_a_load_lets_the_next_one_in():
    cache = Device().cache()

    def stop(done: int, _total: int, _what: str) -> None:
        if done == 1:
            raise Stopped

    with pytest.raises(Stopped), cache.lease(A, stop):
        pass
    assert A not in cache
    assert use(cache, A) == ["built"]


def test_a_cached_variant_is_leased_in_under_ten_milliseconds():
    cache = Device().cache()
    use(cache, A)
    samples = []
    for _ in range(20):
        begun = time.perf_counter()
        with cache.lease(A) as lease:
            samples.append(time.perf_counter() - begun)
            assert lease.load_s < 0.01
    assert sorted(samples)[10] < 0.01


@dataclass
class Machine:
    """Devices with so many bytes each; a variant takes on each what `lies` says of its name."""

    rooms: dict[str, int]
    lies: dict[str, dict[str, int]]
    loads: list[str] = field(default_factory=list)

    def load(self, variant: Variant, _progress: Progress) -> LoadResult:
        self.loads.append(variant.precision.name)
        lies = self.lies[variant.precision.name]
        model = FakeModel(sum(lies.values()))
        model.storage = lambda: Storage(model.size, {}, model.size, 0, 0, devices=lies)
        return LoadResult(model)

    def cache(self, needs) -> VariantCache:
        total = {name: sum(lies.values()) for name, lies in self.lies.items()}
        return VariantCache(
            self.load, lambda one: total[one.precision.name], lambda device, _: self.rooms[device], needs
        )


def spread_over(*devices: str):
    """The need of a variant that accelerate spreads over these devices as it sees fit: 30 GB."""
    return lambda _variant: (Need(devices, 30),)


def test_what_one_device_could_not_hold_fits_where_it_is_spread_over_two():
    machine = Machine({"cuda": 20, "cuda:1": 20}, {"A": {"cuda": 15, "cuda:1": 15}})
    a = variant("A", "cuda")
    assert use(machine.cache(spread_over("cuda", "cuda:1")), a) == ["built"]
    with pytest.raises(OutOfMemory, match="needs about 0 MB on cuda"):
        use(machine.cache(None), a)


def test_each_device_of_a_map_has_to_hold_its_own_share():
    machine = Machine({"cuda": 20, "cuda:1": 20, "cpu": 100}, {"A": {"cuda": 15, "cuda:1": 15}})
    even = machine.cache(lambda _: (Need(("cuda",), 15), Need(("cuda:1",), 15)))
    assert use(even, variant("A", "cuda")) == ["built"]
    uneven = machine.cache(lambda _: (Need(("cuda",), 5), Need(("cuda:1",), 25_000_000)))
    with pytest.raises(OutOfMemory, match="about 25 MB on cuda:1, and 0 MB are free"):
        use(uneven, variant("A", "cuda"))


def test_what_is_held_is_counted_where_it_lies():
    lies = {"A": {"cuda": 5, "cuda:1": 10, "disk": 50}, "B": {"cuda": 1, "cuda:1": 2}}
    cache = Machine({"cuda": 20, "cuda:1": 20}, lies).cache(lambda _: (Need(("cuda", "cuda:1"), 3),))
    use(cache, variant("A", "cuda"), variant("B", "cuda"))
    assert [cache.held_bytes(it) for it in ("cuda", "cuda:1", "cpu", "disk")] == [6, 12, 0, 50]


def test_only_what_lies_on_the_same_device_makes_room():
    lies = {"A": {"cpu": 15}, "B": {"cuda": 15}, "C": {"cuda": 15}, "D": {"cuda": 5, "cuda:1": 15}}
    machine = Machine({"cuda": 20, "cuda:1": 20, "cpu": 20}, lies)
    cache = machine.cache(lambda one: tuple(Need((it,), n) for it, n in lies[one.precision.name].items()))
    a, b, c, d = variant("A"), variant("B", "cuda"), variant("C", "cuda"), variant("D", "cuda")
    use(cache, a, b)
    use(cache, c)
    assert (a in cache, b in cache, c in cache) == (True, False, True), "the one on the CPU gives no room"
    use(cache, d)
    assert (a in cache, c in cache, d in cache) == (True, True, True)
    with cache.lease(c), pytest.raises(OutOfMemory, match="on cuda, and"):
        use(cache, b)
    assert a in cache


def test_what_was_loaded_of_files_since_overwritten_goes_before_the_new_is_loaded():
    device = Device(capacity=300)
    cache = device.cache()
    old, new = (Variant(replace(MODEL, identity=it), A.precision, A.placement) for it in ("old", "new"))
    use(cache, old)
    assert use(cache, new) == ["built"] and [model.closed for model in device.models] == [1, 0]
    with cache.lease(new):
        device.capacity = 600
        assert use(cache, old) == ["built"], "one in use stays"
    assert new in cache and cache.held_bytes("cpu") == 600
    elsewhere = Variant(replace(MODEL, name="another"), A.precision, A.placement)
    device.capacity = 900
    use(cache, elsewhere)
    assert use(cache, replace(new, precision=B.precision)) == ["built"]
    assert (new in cache, old in cache, elsewhere in cache) == (True, False, True), "at any precision, of that model"
