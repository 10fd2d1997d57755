"""Reading and editing sites, on every family."""

from __future__ import annotations

import pytest
import torch
from tiny_models import NAMES, random_prompts, tiny_model, tiny_module

from emo.errors import ModelError, UsageError
from emo.model import edit, record
from emo.model.batch import pad_batch
from emo.sites import PARTS, Site


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return tiny_model(request.param)


@pytest.fixture(scope="module")
def batch():
    return pad_batch(random_prompts([9, 5, 7]), side="left")


def run(model, batch):
    with torch.inference_mode():
        return model.logits(model.hidden(batch))


def hooks_left(model) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in model.module.modules()
    )


def test_recording_changes_no_bit(model, batch) -> None:
    plain = run(model, batch)
    sites = [Site(layer, part) for layer in range(model.n_layers) for part in PARTS]
    with record(model, sites) as seen:
        assert torch.equal(run(model, batch), plain)
    assert {site: tuple(value.shape) for site, value in seen.items()} == {
        site: (3, 9, model.width(site)) for site in sites
    }
    assert hooks_left(model) == 0


def test_logits_are_those_of_the_model_that_nobody_touched(model, batch) -> None:
    """The same bits as a model that was never wrapped: hooks on, hooks gone, after an edit."""
    name = model.family.name
    inputs = {"input_ids": batch.ids, "attention_mask": batch.mask.long(), "use_cache": False}
    with torch.inference_mode():
        untouched = tiny_module(name).eval()(**inputs).logits
        with record(model, [Site(layer, part) for layer in range(3) for part in PARTS]):
            assert torch.equal(model.module(**inputs).logits, untouched)
        with edit(model, {Site(1, "resid_post"): lambda value, _: value + 1}):
            assert not torch.equal(model.module(**inputs).logits, untouched)
        assert torch.equal(model.module(**inputs).logits, untouched)


def test_layers_follow_each_other(model, batch) -> None:
    sites = [Site(0, "resid_post"), Site(1, "resid_pre")]
    with record(model, sites) as seen:
        run(model, batch)
    assert torch.equal(seen[sites[0]], seen[sites[1]])


@pytest.mark.parametrize("part", PARTS)
def test_identity_edit_changes_no_bit(model, batch, part) -> None:
    if model.family.tap(part) is None:
        pytest.skip("derived in parallel blocks")
    plain = run(model, batch)
    with edit(model, {Site(1, part): lambda value, _positions: value.clone()}):
        assert torch.equal(run(model, batch), plain)


@pytest.mark.parametrize("part", PARTS)
def test_edit_reaches_everything_downstream(model, batch, part) -> None:
    """After an edit the identities hold again, with the edited value in them."""
    if model.family.tap(part) is None:
        pytest.skip("derived in parallel blocks")
    sites = [Site(1, name) for name in PARTS]
    wanted = torch.linspace(-1, 1, model.width(Site(1, part)))
    with record(model, sites) as seen, edit(model, {Site(1, part): lambda v, _: v * 0 + wanted}):
        run(model, batch)
    at = {site.part: value for site, value in seen.items()}
    assert torch.equal(at[part], wanted.expand_as(at[part]))
    if part != "resid_post":
        torch.testing.assert_close(at["resid_mid"] + at["mlp_out"], at["resid_post"])
    if part != "resid_mid":
        torch.testing.assert_close(at["resid_pre"] + at["attn_out"], at["resid_mid"])


def test_edit_sees_absolute_positions(model, batch) -> None:
    seen = []

    def look(value, positions):
        seen.append(positions)
        return value

    with edit(model, {Site(0, "resid_post"): look}):
        run(model, batch)
    assert seen[0].tolist() == [
        list(range(9)),
        [-1] * 4 + list(range(5)),
        [-1] * 2 + list(range(7)),
    ]


def test_hooks_are_gone_after_an_exception(model, batch) -> None:
    def fail(_value, _positions):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):  # noqa: SIM117
        with record(model, [Site(0, "resid_mid")]), edit(model, {Site(1, "mlp_act"): fail}):
            run(model, batch)
    assert hooks_left(model) == 0


def test_hooks_are_gone_when_a_site_does_not_exist(model) -> None:
    with (
        pytest.raises(UsageError, match="layer 9 does not exist"),
        record(model, [Site(0, "resid_mid"), Site(9, "resid_mid")]),
    ):
        pass
    assert hooks_left(model) == 0


def test_edit_with_another_shape_is_refused(model, batch) -> None:
    with (
        pytest.raises(ModelError, match=r"the edit of L0.head_out returned the shape"),
        edit(model, {Site(0, "head_out"): lambda value, _: value[:1]}),
    ):
        run(model, batch)


def test_gradients_pass_through_an_edited_residual(model, batch) -> None:
    if model.family.parallel:
        pytest.skip("derived in parallel blocks")
    shift = torch.zeros(model.d_model, requires_grad=True)
    last = Site(model.n_layers - 1, "resid_post")
    with (
        record(model, [last]) as seen,
        edit(model, {Site(1, "resid_mid"): lambda value, _: value * (1 + shift)}),
    ):
        model.hidden(batch)
    seen[last].sum().backward()
    assert torch.isfinite(shift.grad).all()
    assert shift.grad.abs().sum() > 0


def test_parallel_residual_is_derived_and_not_edited() -> None:
    model = tiny_model("gpt_neox")
    site = Site(0, "resid_mid")
    with (
        pytest.raises(UsageError, match="blocks of gpt_neox are parallel") as caught,
        edit(model, {site: lambda value, _: value}),
    ):
        pass
    assert caught.value.hint == "edit L0.attn_out or L0.resid_post"
    assert hooks_left(model) == 0


def test_positions_of_cached_steps(tiny_llama) -> None:
    from emo.model.cache import RowCache
    from emo.model.language_model import cache_name

    cache, name = RowCache(tiny_llama.n_layers, 8), cache_name(tiny_llama.body)
    seen = []

    def look(value, positions):
        seen.append(positions.tolist())
        return value

    with torch.inference_mode(), edit(tiny_llama, {Site(0, "resid_post"): look}):
        for token in (3, 4):
            tiny_llama.module(torch.tensor([[token]]), use_cache=True, **{name: cache})
    assert seen == [[[0]], [[1]]]
