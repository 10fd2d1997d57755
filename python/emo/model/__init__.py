"""Load models, read and edit their sites, capture activations, generate text."""

from emo.model.batch import plan_batches
from emo.model.capture import Captured, Capturer, Row
from emo.model.generate import Reply, Steering, generate, log_likelihood
from emo.model.hooks import edit, record
from emo.model.language_model import LanguageModel
from emo.model.load import load_model
from emo.model.verify import verify_family

__all__ = [
    "Captured",
    "Capturer",
    "LanguageModel",
    "Reply",
    "Row",
    "Steering",
    "edit",
    "generate",
    "load_model",
    "log_likelihood",
    "plan_batches",
    "record",
    "verify_family",
]
