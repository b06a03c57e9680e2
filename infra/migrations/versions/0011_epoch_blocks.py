"""The roots of the blocks of each epoch's tree, so that a receipt reads a thousand leaves and not a million."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None

_BLOCK = 1024
_LEAVES = sa.text(
    'SELECT leaf_hash FROM usage_lines WHERE epoch = :epoch AND leaf_index >= :start AND leaf_index < :start + 1024 '
    'ORDER BY leaf_index'
)


def upgrade() -> None:
    blocks = op.create_table('epoch_blocks',
    sa.Column('epoch', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('number', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('root', sa.String(), nullable=False),
    sa.ForeignKeyConstraint(['epoch'], ['epochs.number'], name=op.f('fk_epoch_blocks_epoch')),
    sa.PrimaryKeyConstraint('epoch', 'number', name=op.f('pk_epoch_blocks'))
    )
    connection = op.get_bind()
    for epoch, count in connection.execute(sa.text('SELECT number, line_count FROM epochs')).all():
        for number in range(-(-count // _BLOCK)):
            leaves = connection.execute(_LEAVES, {'epoch': epoch, 'start': number * _BLOCK}).scalars()
            root = _root([bytes.fromhex(leaf) for leaf in leaves])
            op.bulk_insert(blocks, [{'epoch': epoch, 'number': number, 'root': root.hex()}])


def downgrade() -> None:
    op.drop_table('epoch_blocks')


def _root(nodes: list[bytes]) -> bytes:
    """As market/merkle.py has it."""
    while len(nodes) > 1:
        pairs = [nodes[at:at + 2] for at in range(0, len(nodes), 2)]
        nodes = [hashlib.sha256(b'\x01' + pair[0] + pair[1]).digest() if len(pair) == 2 else pair[0] for pair in pairs]
    return nodes[0]
