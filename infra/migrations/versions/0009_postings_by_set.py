"""The ledger's rules by the set that a statement wrote: no foreign key is asked for each entry."""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0007'
branch_labels = None
depends_on = None

_BY_SET = (
    """
CREATE OR REPLACE FUNCTION billing_apply_entries() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE culprit record; unmoved bigint;
BEGIN
  SELECT * INTO culprit FROM (
    SELECT w.transfer_id, w.amount, w.legs, (SELECT t.key FROM transfers t WHERE t.id = w.transfer_id) AS key,
      (SELECT count(*) FROM entries e WHERE e.transfer_id = w.transfer_id) AS legs_in_all
    FROM (SELECT transfer_id, sum(amount_microusd) AS amount, count(*) AS legs FROM written GROUP BY 1) w
  ) found WHERE key IS NULL OR amount <> 0 OR legs < 2 OR legs <> legs_in_all LIMIT 1;
  IF culprit.transfer_id IS NOT NULL AND culprit.key IS NULL THEN
    RAISE EXCEPTION 'there is no transfer % for these entries', culprit.transfer_id
      USING ERRCODE = 'foreign_key_violation';
  ELSIF culprit.amount <> 0 THEN
    RAISE EXCEPTION 'transfer % does not balance', culprit.transfer_id USING ERRCODE = 'check_violation';
  ELSIF culprit.transfer_id IS NOT NULL THEN
    RAISE EXCEPTION 'the entries of transfer % are written once, together, and at least two', culprit.transfer_id
      USING ERRCODE = 'check_violation';
  END IF;
  WITH moved AS (
    SELECT account_id, sum(amount_microusd)::bigint AS amount FROM written GROUP BY 1
  ), done AS (
    UPDATE accounts a SET balance_microusd = a.balance_microusd + moved.amount
    FROM moved WHERE a.id = moved.account_id RETURNING 1
  )
  SELECT (SELECT count(*) FROM moved) - (SELECT count(*) FROM done) INTO unmoved;
  IF unmoved <> 0 THEN
    RAISE EXCEPTION '% of the accounts of these entries do not exist', unmoved USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN NULL;
END $$
""",
    "DROP TRIGGER IF EXISTS accounts_kept ON accounts",
    "CREATE TRIGGER accounts_kept BEFORE DELETE ON accounts FOR EACH ROW WHEN (true) EXECUTE FUNCTION billing_refuse_change('an account is kept')",
    "DROP TRIGGER IF EXISTS accounts_all_kept ON accounts",
    "CREATE TRIGGER accounts_all_kept BEFORE TRUNCATE ON accounts FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change('an account is kept')",
)
_ONE_BY_ONE = (
    "DROP TRIGGER accounts_all_kept ON accounts",
    "DROP TRIGGER accounts_kept ON accounts",
    """
CREATE OR REPLACE FUNCTION billing_apply_entries() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE culprit text;
BEGIN
  SELECT e.transfer_id INTO culprit FROM entries e
    WHERE e.transfer_id IN (SELECT transfer_id FROM written)
    GROUP BY e.transfer_id HAVING sum(e.amount_microusd) <> 0 LIMIT 1;
  IF culprit IS NOT NULL THEN
    RAISE EXCEPTION 'transfer % does not balance', culprit USING ERRCODE = 'check_violation';
  END IF;
  SELECT w.transfer_id INTO culprit FROM (SELECT transfer_id, count(*) AS legs FROM written GROUP BY 1) w
    WHERE w.legs < 2 OR w.legs <> (SELECT count(*) FROM entries e WHERE e.transfer_id = w.transfer_id) LIMIT 1;
  IF culprit IS NOT NULL THEN
    RAISE EXCEPTION 'the entries of transfer % are written once, together, and at least two', culprit
      USING ERRCODE = 'check_violation';
  END IF;
  UPDATE accounts a SET balance_microusd = a.balance_microusd + moved.amount
    FROM (SELECT account_id, sum(amount_microusd)::bigint AS amount FROM written GROUP BY 1) moved
    WHERE a.id = moved.account_id AND moved.amount <> 0;
  RETURN NULL;
END $$
""",
)


def upgrade() -> None:
    for name in ('fk_entries_transfer_id', 'fk_entries_account_id'):
        op.drop_constraint(op.f(name), 'entries', type_='foreignkey')
    for statement in _BY_SET:
        op.execute(sa.text(statement.replace(':', '\\:')))


def downgrade() -> None:
    for statement in _ONE_BY_ONE:
        op.execute(sa.text(statement.replace(':', '\\:')))
    op.create_foreign_key(op.f('fk_entries_transfer_id'), 'entries', 'transfers', ['transfer_id'], ['id'])
    op.create_foreign_key(op.f('fk_entries_account_id'), 'entries', 'accounts', ['account_id'], ['id'])
