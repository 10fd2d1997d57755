"""Laws of directions and contributions, on toys whose residual stream is known."""

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from store_toys import Toy

from emo.analysis.directions import directions
from emo.analysis.score import score
from emo.sites import Site, tensor_name
from emo.store import StoreWriter

NAMES = ("anger", "disgust", "fear", "happiness", "sadness")
EXAMPLES = settings(max_examples=12, deadline=None)
TOYS = st.builds(
    Toy,
    n_groups=st.integers(2, 7),
    emotions=st.integers(2, 5).map(lambda n: NAMES[:n]),
    n_layers=st.integers(1, 2),
    d_model=st.integers(5, 12),
    n_heads=st.integers(1, 4),
    d_head=st.integers(1, 4),
    d_mlp=st.integers(1, 20),
    seed=st.integers(0, 10_000),
    transposed=st.booleans(),
)
DTYPES = st.sampled_from(["BF16", "F16", "F32"])


@contextmanager
def _made(toy, **options):
    """Make a store of a toy, with its checkpoint, in a folder that goes away."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = toy.write_checkpoint(folder / "m")
        yield toy.write_store(folder / "s", checkpoint=checkpoint, **options)


@EXAMPLES
@given(TOYS, DTYPES)
def test_unit_norm_and_weighted_sums_of_zero(toy, dtype):
    with _made(toy, dtype=dtype) as store:
        found = directions(store, threads=1)
    for site, unit in found.unit.items():
        v, norms = unit.astype(np.float64), found.norms[site]
        # float32 storage: relative rounding 6e-8 for each of at most 12 components
        np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1, atol=5e-7)
        assert (norms > 0).all()
        np.testing.assert_allclose(norms @ v, 0, atol=5e-7 * norms.sum())
        assert np.linalg.matrix_rank(norms[:, None] * v, tol=1e-5 * norms.max()) < len(v)
    for delta in found.delta.values():
        np.testing.assert_allclose(delta.sum(axis=0), 0, atol=5e-7 * np.abs(delta).sum())


@EXAMPLES
@given(TOYS, st.integers(0, 100))
def test_what_a_group_shares_changes_nothing(toy, seed):
    """Within-group centring removes any offset of a group, the global mean included."""
    rng = np.random.default_rng(seed)
    sites = [Site(0, "resid_mid"), Site(0, "mlp_act")]
    acts = {site: toy.acts()[site] for site in sites}
    offsets = {site: rng.standard_normal((toy.n_groups, a.shape[1])) for site, a in acts.items()}
    shifted = {
        site: (a + np.repeat(offsets[site], len(toy.emotions), axis=0)).astype(np.float32)
        for site, a in acts.items()
    }
    found = [_directions_of(toy, values) for values in (acts, shifted)]
    a, b = (f.unit[sites[0]] * f.norms[sites[0]][:, None] for f in found)
    np.testing.assert_allclose(a, b, atol=5e-6)
    np.testing.assert_allclose(*(f.delta[sites[1]] for f in found), atol=5e-6)


def _directions_of(toy, values):
    with tempfile.TemporaryDirectory() as name:
        plan = replace(toy.plan(), sites={site: a.shape[1] for site, a in values.items()})
        n = len(toy.samples)
        rows = np.stack([np.arange(n), np.zeros(n, np.int64)], axis=1)
        with StoreWriter(Path(name) / "s", plan) as writer:
            tensors = {tensor_name(site, "last"): a for site, a in values.items()}
            writer.write(0, tensors, {"last": rows})
            return directions(writer.finish(), threads=1)


@EXAMPLES
@given(TOYS)
def test_contributions_sum_to_the_sublayer_on_the_direction(toy):
    """Neurons sum to <mlp_out - bias, v>, heads to <attn_out, v>."""
    with _made(toy) as store:
        found = directions(store, threads=1)
        scores = score(store, found, threads=1)
    acts = toy.acts()
    for e, label in enumerate(toy.emotions):
        rows = [i for i, row in enumerate(toy.samples) if row["emotion"] == label]
        for layer in range(toy.n_layers):
            for kind, part, at, bias in (
                ("neuron", "mlp_out", "resid_post", toy.bias(layer)),
                ("head", "attn_out", "resid_mid", 0),
            ):
                v = found.unit[Site(layer, at)][e].astype(np.float64)
                output = acts[Site(layer, part)][rows].astype(np.float64) - bias
                table = scores.units[kind]
                # the toy adds up in float32: 1e-6 of the terms' size
                size = np.abs(table.mean[e, layer]).sum() + 1
                np.testing.assert_allclose(
                    table.mean[e, layer].sum(), (output @ v).mean(), atol=3e-6 * size
                )


@EXAMPLES
@given(TOYS, st.data())
def test_zeroing_a_unit_takes_its_contribution_away(toy, data):
    with _made(toy) as store:
        found = directions(store, threads=1)
        scores = score(store, found, threads=1)
    layer = data.draw(st.integers(0, toy.n_layers - 1))
    e = data.draw(st.integers(0, len(toy.emotions) - 1))
    rows = [i for i, row in enumerate(toy.samples) if row["emotion"] == toy.emotions[e]]
    for kind, part, at, weight, size in (
        ("neuron", "mlp_act", "resid_post", toy.w_down(layer), 1),
        ("head", "head_out", "resid_mid", toy.w_out(layer), toy.d_head),
    ):
        unit = data.draw(st.integers(0, weight.shape[1] // size - 1))
        v = found.unit[Site(layer, at)][e].astype(np.float64)
        full = toy.acts()[Site(layer, part)][rows].astype(np.float64)
        zeroed = full.copy()
        zeroed[:, unit * size : (unit + 1) * size] = 0
        effect = ((zeroed - full) @ weight.T.astype(np.float64) @ v).mean()
        mean = scores.units[kind].mean[e, layer, unit]
        np.testing.assert_allclose(effect, -mean, atol=1e-6 * (1 + abs(mean)))


@settings(max_examples=6, deadline=None)
@given(TOYS, DTYPES, st.data())
def test_shards_and_threads_do_not_change_a_bit(toy, dtype, data):
    n = len(toy.samples)
    cuts = data.draw(st.sets(st.integers(1, n - 1), max_size=4).map(lambda s: tuple(sorted(s))))
    results = []
    for split, threads in (((), 1), (cuts, 1), (cuts, 2), ((), 4)):
        with _made(toy, dtype=dtype, cuts=split) as store:
            found = directions(store, threads=threads)
            results.append((found, score(store, found, threads=threads)))
    first = results[0]
    for other in results[1:]:
        for name in ("unit", "norms", "delta"):
            a, b = getattr(first[0], name), getattr(other[0], name)
            assert all(np.array_equal(a[site], b[site]) for site in a)
        for kind, table in first[1].units.items():
            for name in ("n", "mean", "sd", "low", "high", "positive", "rank"):
                assert np.array_equal(getattr(table, name), getattr(other[1].units[kind], name))
