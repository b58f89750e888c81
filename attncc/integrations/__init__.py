"""Integrations: attncc under the conventions of other libraries, which are imported when they are asked for."""
