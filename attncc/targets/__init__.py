"""Facts about the devices that plans and kernels are made for, one TOML file a device, each figure with its source."""

from attncc.targets.facts import Costs, Gpu, Lanes, Library, Target
from attncc.targets.lookup import for_device, gpu, names, target

__all__ = ["Costs", "Gpu", "Lanes", "Library", "Target", "for_device", "gpu", "names", "target"]
