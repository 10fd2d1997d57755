"""How to read the report: definitions and signs."""

from __future__ import annotations

from emo.report.markup import Markup, join, tag
from emo.report.tables import paragraph

PAPER = "https://arxiv.org/abs/2510.11328"
_TERMS = (
    (
        "Layer, site",
        "Layers and units count from 0. L12.resid_mid is the residual stream of layer 12 after "
        "attention was added, L12.resid_post after the MLP was added; both before any norm. "
        "L12.mlp_act holds the neurons, L12.head_out the heads side by side.",
    ),
    (
        "Group",
        "One scenario with one outcome (positive, neutral or negative). All emotions are elicited "
        "in every group, so what groups differ in cancels.",
    ),
    (
        "Direction",
        "Within each group with all emotions accepted, the activation of an emotion minus the mean "
        "over the emotions; averaged over groups; scaled to length 1. Positive along a direction "
        "means more of the emotion. Directions of one site sum to zero when weighted by their raw "
        "lengths, so E emotions span at most E − 1 dimensions.",
    ),
    (
        "Contribution",
        "What one neuron or head adds to the projection of the residual stream on a direction. "
        "Positive pushes towards the emotion. Zeroing the unit changes the projection by minus its "
        "contribution. The contributions of all units of a sublayer sum to the projection of its "
        "output (without bias).",
    ),
    (
        "Steering",
        "h becomes h + α · s(h) · v at the chosen layers, from the last prompt token on, with v of "
        "length 1. s(h) is the length |h| or the root mean square RMS(h) = |h| / √d of the "
        "residual stream, as the run's settings say (relative: norm or rms); d is the width of "
        "the model. Positive α pushes towards the emotion; α = 0 leaves the model as it is.",
    ),
    (
        "Random vectors",
        "The control of steering: the same layers, the same α, but vectors of the same length in "
        "random directions. What random vectors also achieve is no effect of the emotion's "
        "direction. They are one draw; intervals cover the replies, not other draws.",
    ),
    (
        "Accuracy, chance",
        "Share of labelled replies that the judge gave their target. Replies without a label are "
        "counted apart, never as misses. Chance is 1 / number of emotions: no method whose replies "
        "ignore their target can exceed it over all emotions.",
    ),
    (
        "Intervals",
        "95 %. Wilson for shares, Newcombe for differences of shares, Student's t for mean "
        "contributions. They treat replies as independent; replies to one scenario resemble each "
        "other, so the truth is somewhat less certain than they say.",
    ),
    (
        "Perplexity",
        "exp of the mean negative log-likelihood per token of the replies under the untouched "
        "model. Higher is less fluent; very low can mean repetition.",
    ),
    (
        "Probe",
        "A linear classifier of emotions on one layer's activations, scored on held-out groups by "
        "macro-F1, the mean F1 over emotions. Shuffled labels show what it reaches by chance.",
    ),
    (
        "Layers alike, overlap",
        "Two layers arrange the emotions alike when the distances between the emotions' directions "
        "correlate; relabeling the emotions of one layer shows what chance reaches. Two layers use "
        "the same dimensions when the subspaces that their directions span overlap: 1 when they "
        "are the same, k / d on average for random ones of k dimensions in a space of d.",
    ),
)


def reading_section() -> Markup:
    """Definitions, signs and the source of the method."""
    entries = [tag("div", tag("dt", term), tag("dd", words)) for term, words in _TERMS]
    source = paragraph(
        "Source of the method: ",
        tag(
            "a",
            "Do LLMs “Feel”? Emotion Circuits Discovery and Control, arXiv 2510.11328",
            href=PAPER,
            rel="noreferrer",
        ),
        "; directions and steering are defined in its section 5.",
    )
    return join([tag("dl", *entries, class_="terms"), source])
