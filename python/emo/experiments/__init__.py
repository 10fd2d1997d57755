"""Where model, judge and analysis meet: capture, elicitation, evaluation, strength, probes."""
