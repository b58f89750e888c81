"""The public names of attncc.distributed."""

from .execution.compiling import compile as compile
from .execution.operator import DistributedAttention as DistributedAttention
from .execution.operator import ahead as ahead
from .schedules.schedule import Schedule as Schedule
from .schedules.settings import Settings as Settings
from .topology.devices import Topology as Topology
