"""`UpdateBatch`: the uploads of one round as n rows of named parameter blocks, dense or row-sparse.

Everything here is in one sign: an update is what the client would *add* to the model.
"""

from fedsiege.updates.batch import Delta, UpdateBatch
from fedsiege.updates.dense import DenseBlock
from fedsiege.updates.sparse import RowBlock
from fedsiege.updates.spec import BlockSpec, ModelSpec

__all__ = ["BlockSpec", "Delta", "DenseBlock", "ModelSpec", "RowBlock", "UpdateBatch"]
