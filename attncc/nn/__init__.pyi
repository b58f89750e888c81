"""The public names of attncc.nn."""

from .attention import Attention as Attention
from .auxiliary import auxiliary_losses as auxiliary_losses
from .block import Block as Block
from .compressive_memory import CompressiveMemory as CompressiveMemory
from .compressive_memory import LearnedCompression as LearnedCompression
from .experts import Mixed as Mixed
from .experts import MixtureOfExperts as MixtureOfExperts
from .feed_forward import ChunkedFeedForward as ChunkedFeedForward
from .feed_forward import FeedForward as FeedForward
from .functional.compressive import MemorySizes as MemorySizes
from .functional.state import KeyValues as KeyValues
from .gated import GatedBlock as GatedBlock
from .gated import GruGate as GruGate
from .infini_attention import InfiniAttention as InfiniAttention
from .language_model import LanguageModel as LanguageModel
from .longformer import LongformerAttention as LongformerAttention
from .reversible import ReversibleStack as ReversibleStack
from .segment_recurrent import SegmentRecurrent as SegmentRecurrent
from .universal import Halted as Halted
from .universal import SeparableTransition as SeparableTransition
from .universal import UniversalStack as UniversalStack
