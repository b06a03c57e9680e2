"""What providers say of their nodes beside offers; leases that run are not touched by it."""

from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from infra.outbox import wake
from market.errors import NotFound
from market.terms_api import NodeTermsView
from scheduler.tables import Node, NodeTerms
from scheduler.waking import PLACE


def get(session: Session, provider_id: str, node_id: str) -> NodeTermsView:
    """Raises NotFound."""
    _own_node(session, select(Node), provider_id, node_id)
    row = session.get(NodeTerms, node_id)
    return NodeTermsView() if row is None else _view(row)


def put(session: Session, provider_id: str, node_id: str, terms: NodeTermsView, now: datetime) -> NodeTermsView:
    """Say this of the node from now on. Raises NotFound."""
    node = _own_node(session, select(Node).with_for_update(), provider_id, node_id)
    row = session.get(NodeTerms, node_id) or NodeTerms(node_id=node_id)
    for name, value in terms.model_dump().items():
        setattr(row, name, value)
    row.labels, row.taints = sorted(set(terms.labels)), sorted(set(terms.taints))
    row.changed_at = now
    session.add(row)
    # A round that saw the node before places nothing on it.
    node.revision += 1
    session.flush()
    wake(session, PLACE)
    return _view(row)


def _view(row: NodeTerms) -> NodeTermsView:
    return NodeTermsView(**{name: getattr(row, name) for name in NodeTermsView.model_fields})


def _own_node(session: Session, among: Select[Node], provider_id: str, node_id: str) -> Node:
    node = session.scalar(among.where(Node.id == node_id, Node.provider_id == provider_id))
    if node is None:
        raise NotFound(f"there is no node {node_id} of yours")
    return node
