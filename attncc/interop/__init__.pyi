"""The public names of attncc.interop."""

from .block_mask import from_block_mask as from_block_mask
from .block_mask import to_block_mask as to_block_mask
from .cudnn import IntervalEndpoints as IntervalEndpoints
from .cudnn import to_interval_endpoints as to_interval_endpoints
from .flash_attention import BlockSparsity as BlockSparsity
from .flash_attention import to_block_sparsity as to_block_sparsity
from .flashinfer import BlockSparseRows as BlockSparseRows
from .flashinfer import PackedMask as PackedMask
from .flashinfer import VariableBlocks as VariableBlocks
from .flashinfer import to_block_sparse_rows as to_block_sparse_rows
from .flashinfer import to_packed_mask as to_packed_mask
from .flashinfer import to_variable_blocks as to_variable_blocks
from .flashmask import ColumnBounds as ColumnBounds
from .flashmask import to_column_bounds as to_column_bounds
from .magi import AttentionSlices as AttentionSlices
from .magi import to_slices as to_slices
