"""An epoch is opened, stamped and closed in one transaction; stamps are checked by the set, not a lookup each."""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None

_BY_SET = (
    """
CREATE OR REPLACE FUNCTION billing_refuse_closed_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE culprit bigint;
BEGIN
  SELECT s.epoch INTO culprit FROM (SELECT DISTINCT epoch FROM stamped) s
    WHERE s.epoch IS NOT NULL AND NOT EXISTS (SELECT 1 FROM epochs e WHERE e.number = s.epoch AND e.root = '') LIMIT 1;
  IF culprit IS NOT NULL THEN
    RAISE EXCEPTION 'epoch % is closed, or was never opened, and takes no line', culprit
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$
""",
    """
CREATE OR REPLACE FUNCTION billing_require_closed_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM epochs WHERE number = NEW.number AND root = '') THEN
    RAISE EXCEPTION 'epoch % was opened and not closed', NEW.number USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$
""",
    "DROP TRIGGER IF EXISTS usage_lines_stamp ON usage_lines",
    "CREATE TRIGGER usage_lines_stamp AFTER UPDATE ON usage_lines REFERENCING NEW TABLE AS stamped FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_closed_epoch()",
    "DROP TRIGGER IF EXISTS epochs_closed_once ON epochs",
    "CREATE TRIGGER epochs_closed_once BEFORE UPDATE ON epochs FOR EACH ROW WHEN (OLD.root <> '' OR OLD.number IS DISTINCT FROM NEW.number OR OLD.secret IS DISTINCT FROM NEW.secret OR OLD.closed_at IS DISTINCT FROM NEW.closed_at) EXECUTE FUNCTION billing_refuse_change('a closed epoch never changes')",
    "DROP TRIGGER IF EXISTS epochs_undeleted ON epochs",
    "CREATE TRIGGER epochs_undeleted BEFORE DELETE ON epochs FOR EACH ROW WHEN (true) EXECUTE FUNCTION billing_refuse_change('a closed epoch never changes')",
    "DROP TRIGGER IF EXISTS epochs_closed ON epochs",
    "CREATE CONSTRAINT TRIGGER epochs_closed AFTER INSERT ON epochs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_require_closed_epoch()",
)
_ONE_BY_ONE = (
    "DROP TRIGGER epochs_closed ON epochs",
    "DROP TRIGGER epochs_undeleted ON epochs",
    "DROP TRIGGER epochs_closed_once ON epochs",
    "DROP TRIGGER usage_lines_stamp ON usage_lines",
    "DROP FUNCTION billing_require_closed_epoch()",
    """CREATE OR REPLACE FUNCTION billing_refuse_closed_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM epochs WHERE number = NEW.epoch) THEN
    RAISE EXCEPTION 'epoch % is closed and takes no further line', NEW.epoch USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$""",
    "CREATE TRIGGER usage_lines_stamp BEFORE UPDATE OF epoch ON usage_lines FOR EACH ROW WHEN (NEW.epoch IS NOT NULL) EXECUTE FUNCTION billing_refuse_closed_epoch()",
    "CREATE TRIGGER epochs_immutable BEFORE UPDATE OR DELETE ON epochs FOR EACH ROW EXECUTE FUNCTION billing_refuse_change('a closed epoch never changes')",
)
_COUNTS = "number >= 1 AND line_count >= 0 AND total_microusd >= 0 AND (root = '') = (line_count = 0)"
_COUNTS_BEFORE = "number >= 1 AND line_count >= 1 AND total_microusd >= 0"


def upgrade() -> None:
    op.drop_constraint(op.f('fk_usage_lines_epoch'), 'usage_lines', type_='foreignkey')
    _counts(_COUNTS)
    for statement in ("DROP TRIGGER epochs_immutable ON epochs", *_BY_SET):
        op.execute(sa.text(statement.replace(':', '\\:')))


def downgrade() -> None:
    for statement in _ONE_BY_ONE:
        op.execute(sa.text(statement.replace(':', '\\:')))
    _counts(_COUNTS_BEFORE)
    op.create_foreign_key(
        op.f('fk_usage_lines_epoch'), 'usage_lines', 'epochs', ['epoch'], ['number'], initially='DEFERRED', deferrable=True
    )


def _counts(condition: str) -> None:
    op.drop_constraint(op.f('ck_epochs_counts'), 'epochs', type_='check')
    op.create_check_constraint(op.f('ck_epochs_counts'), 'epochs', condition)
