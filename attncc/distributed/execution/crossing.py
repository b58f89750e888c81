"""Crossings: the parcels of all lanes in one exchange, and where they are delivered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from attncc.distributed.execution.channel import Channel
from attncc.distributed.execution.rows import DIM
from attncc.distributed.execution.tables import Parcel
from attncc.distributed.execution.transport import Expected, Flight, Sent, depart

#: The tensors of each store of a rank, in the order of its stores.
Stores = list[Tensor]
Delivery = Callable[[Parcel, Sequence[Tensor]], None]


@dataclass
class Crossing:
    """What a rank sends and gets in one exchange; every rank adds the same kinds of cargo in the same order."""

    sent: list[Sent] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)
    _deliveries: list[tuple[Delivery, Parcel, int]] = field(default_factory=list)
    _flight: Flight | None = None

    def add(
        self,
        sends: Sequence[Parcel],
        gets: Sequence[Parcel],
        cargo: Sequence[Sequence[Tensor]],
        deliver: Delivery,
        dtypes: Sequence[torch.dtype] | None = None,
    ) -> None:
        """Add parcels of rows of each cargo, the tensors of all stores; in `dtypes`, if they aren't the tensors'."""
        kinds = dtypes or [stores[0].dtype for stores in cargo]
        for parcel in sends:
            for stores, dtype in zip(cargo, kinds, strict=True):
                self.sent.append(Sent(parcel.peer, parcel.rows.take(stores).to(dtype)))
        for parcel in gets:
            for stores, dtype in zip(cargo, kinds, strict=True):
                shape = list(stores[0].shape)
                shape[DIM] = parcel.rows.length
                self.expected.append(Expected(parcel.peer, tuple(shape), dtype))
            self._deliveries.append((deliver, parcel, len(cargo)))

    def depart(self, channel: Channel | None, device: torch.device, what: str) -> Self:
        """Send, and go on; without a channel there is nobody to send to. Errors say that it is `what`."""
        assert channel is not None
        self._flight = depart(channel, device, self.sent, self.expected, what)
        return self

    def land(self) -> None:
        """Wait for what was expected and deliver it, in the order of senders."""
        if self._flight is None:
            return
        found = iter(self._flight.land())
        for deliver, parcel, count in self._deliveries:
            deliver(parcel, [next(found) for _ in range(count)])


def storing(stores: Sequence[Stores], number: int, length: int) -> Delivery:
    """Return a delivery into store `number` of each cargo, which holds `length` rows."""

    def deliver(parcel: Parcel, tensors: Sequence[Tensor]) -> None:
        (part,) = parcel.rows.parts
        for held, tensor in zip(stores, tensors, strict=True):
            if part.source.are_all(length):
                held[number] = tensor
                continue
            if held[number].shape[DIM] != length:
                shape = list(tensor.shape)
                shape[DIM] = length
                held[number] = tensor.new_empty(shape)
            part.source.put(held[number], tensor)

    return deliver


def adding(stores: Sequence[Stores]) -> Delivery:
    """Return a delivery that adds to the rows of each cargo."""

    def deliver(parcel: Parcel, tensors: Sequence[Tensor]) -> None:
        for held, tensor in zip(stores, tensors, strict=True):
            parcel.rows.add(held, tensor)

    return deliver
