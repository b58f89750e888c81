"""From a pattern to what travels between ranks and what each computes: data, without tensors."""
