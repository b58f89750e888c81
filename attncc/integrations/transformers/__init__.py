"""Hugging Face Transformers: `register()` makes attncc an attention implementation of its models."""

from attncc.integrations.transformers.names import register as register
