"""Names of sites and layers."""

import pytest

from emo.errors import UsageError
from emo.sites import DEFAULT_PARTS, PARTS, Site, parse_layers, parse_part, tensor_name


@pytest.mark.parametrize("part", PARTS)
def test_a_site_comes_back_from_its_name(part):
    site = Site(12, part)
    assert Site.parse(str(site)) == site
    assert Site.parse(f" blocks.12.{part} ") == site


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("blocks.12.mlp.hook_post", Site(12, "mlp_act")),
        ("blocks.0.hook_resid_pre", Site(0, "resid_pre")),
        ("blocks.0.hook_resid_mid", Site(0, "resid_mid")),
        ("blocks.0.hook_resid_post", Site(0, "resid_post")),
        ("blocks.3.attn.hook_z", Site(3, "head_out")),
        ("blocks.3.hook_attn_out", Site(3, "attn_out")),
        ("blocks.3.hook_mlp_out", Site(3, "mlp_out")),
        ("L3.z", Site(3, "head_out")),
    ],
)
def test_names_of_transformer_lens_are_understood(name, site):
    assert Site.parse(name) == site


@pytest.mark.parametrize(
    "name", ["L12", "12.mlp_act", "L-1.mlp_act", "Lx.z", "", "L1.mlp_act@last"]
)
def test_other_names_are_refused(name):
    with pytest.raises(UsageError, match="unknown site"):
        Site.parse(name)


def test_a_misspelt_part_gets_a_hint():
    with pytest.raises(UsageError, match="unknown site 'mlp_atc'") as caught:
        parse_part("mlp_atc")
    assert caught.value.hint == "did you mean 'mlp_act'?"


def test_default_parts_are_parts_and_sites_sort_by_layer():
    assert set(DEFAULT_PARTS) <= set(PARTS)
    assert sorted([Site(10, "mlp_act"), Site(2, "resid_mid")])[0].layer == 2
    assert tensor_name(Site(12, "mlp_act"), "last") == "L12.mlp_act@last"


@pytest.mark.parametrize(
    ("text", "n", "layers"),
    [
        ("all", 3, (0, 1, 2)),
        ("1-2", 4, (1, 2)),
        ("3,1,3", 4, (1, 3)),
        ("0-1, 3", 4, (0, 1, 3)),
        ("0.0-1.0", 4, (0, 1, 2, 3)),
        ("0.4-0.7", 10, (4, 5, 6)),
        ("0.5-0.5", 4, (2,)),
        ("1.0", 4, (3,)),
        ("0.4-0.7", 1, (0,)),
    ],
)
def test_layers_are_inclusive_ranges_or_shares_of_the_depth(text, n, layers):
    assert parse_layers(text, n) == layers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "layer 5 does not exist: the model has 4 layers"),
        ("2-9", "layer 4 does not exist"),
        ("3-1", "runs backwards"),
        ("0.7-0.4", "between 0 and 1"),
        ("0.5-1.5", "between 0 and 1"),
        ("", "cannot read the layers"),
        ("1,,2", "cannot read the layers"),
        ("-1", "cannot read the layers"),
        ("first", "cannot read the layers"),
    ],
)
def test_layers_that_make_no_sense_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_layers(text, 4)
