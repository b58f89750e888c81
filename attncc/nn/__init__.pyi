"""The public names of attncc.nn."""

from .longformer import LongformerAttention as LongformerAttention
