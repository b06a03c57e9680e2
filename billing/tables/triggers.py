"""What the database itself enforces of the ledger, beyond constraints: balance, immutability, frozen prices.

STATEMENTS run after the tables exist, in this order, and may run again; migrations carry a copy, and
tests/infra/test_migrations.py keeps the two equal.
"""

from collections.abc import Sequence

from sqlalchemy import DDL, event

from infra.database import Base

# By the whole set that a statement wrote. Foreign keys would ask for each entry's transfer and account one by one;
# neither can go away once it is there. Plain subqueries are looked up by index whatever the statistics say of a young
# table; joins and EXISTS may read all of it.
_APPLY_ENTRIES = """
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
"""

_REQUIRE_ENTRIES = """
CREATE OR REPLACE FUNCTION billing_require_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM entries WHERE transfer_id = NEW.id) THEN
    RAISE EXCEPTION 'transfer % has no entries', NEW.key USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$
"""

_GUARD_BALANCE = """
CREATE OR REPLACE FUNCTION billing_guard_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' AND NEW.balance_microusd <> 0 OR TG_OP = 'UPDATE' AND pg_trigger_depth() = 1 THEN
    RAISE EXCEPTION 'the balance of % is moved by entries alone', NEW.id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$
"""

_REFUSE_CHANGE = """
CREATE OR REPLACE FUNCTION billing_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% on %: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'check_violation';
END $$
"""

# A hold counts in the period in which its window begins, with what is held, and then with what was captured of it.
_COUNT_BUDGETS = """
CREATE OR REPLACE FUNCTION billing_count_budgets() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE before text[];
BEGIN
  IF TG_OP = 'UPDATE' THEN
    before := OLD.budgets;
    UPDATE budget_periods p SET used_microusd = p.used_microusd
      + coalesce(NEW.captured_microusd, NEW.amount_microusd) - coalesce(OLD.captured_microusd, OLD.amount_microusd)
    FROM budgets b WHERE b.id = ANY (before) AND p.budget_id = b.id
      AND p.starts_at = date_trunc(b.period, coalesce(NEW.starts_at, NEW.created_at), 'UTC');
  END IF;
  INSERT INTO budget_periods (budget_id, starts_at, used_microusd)
  SELECT b.id, date_trunc(b.period, coalesce(NEW.starts_at, NEW.created_at), 'UTC'),
    coalesce(NEW.captured_microusd, NEW.amount_microusd)
  FROM budgets b WHERE b.id = ANY (NEW.budgets) AND (b.id = ANY (before)) IS NOT TRUE ORDER BY b.id
  ON CONFLICT (budget_id, starts_at) DO UPDATE
  SET used_microusd = budget_periods.used_microusd + EXCLUDED.used_microusd;
  RETURN NULL;
END $$
"""

_REFUSE_CLOSED_EPOCH = """
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
"""

_REQUIRE_CLOSED_EPOCH = """
CREATE OR REPLACE FUNCTION billing_require_closed_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM epochs WHERE number = NEW.number AND root = '') THEN
    RAISE EXCEPTION 'epoch % was opened and not closed', NEW.number USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$
"""


def _trigger(name: str, table: str, when: str, function: str) -> tuple[str, str]:
    # Dropped first, because a constraint trigger cannot be replaced.
    constraint = "CONSTRAINT " if "DEFERRABLE" in when else ""
    timing, _, level = when.partition(" | ")
    return (
        f"DROP TRIGGER IF EXISTS {name} ON {table}",
        f"CREATE {constraint}TRIGGER {name} {timing} ON {table} {level} EXECUTE FUNCTION {function}",
    )


def _immutable(table: str, why: str) -> tuple[str, ...]:
    """Rows are written once: no update, no deletion, no truncation."""
    refuse = f"billing_refuse_change('{why}')"
    return (
        *_trigger(f"{table}_immutable", table, "BEFORE UPDATE OR DELETE | FOR EACH ROW", refuse),
        *_trigger(f"{table}_kept", table, "BEFORE TRUNCATE | FOR EACH STATEMENT", refuse),
    )


def _frozen(name: str, table: str, condition: str, why: str, event_: str = "UPDATE") -> tuple[str, str]:
    """Refuses changes for which the condition over OLD and NEW holds."""
    refuse = f"billing_refuse_change('{why}')"
    return _trigger(name, table, f"BEFORE {event_} | FOR EACH ROW WHEN ({condition})", refuse)


def _differs(*columns: str) -> str:
    return " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in columns)


_LINE_COLUMNS = [
    "id",
    "window_id",
    "lease_id",
    "window_number",
    "job_id",
    "attempt_number",
    "organization_id",
    "provider_id",
    "unit",
    "quantity_milli",
    "price_microusd_per_unit_hour",
    "fee_basis_points",
    "discount_basis_points",
    "from_ms",
    "to_ms",
    "minimum_ms",
    "charged_before_microusd",
    "amount_microusd",
    "provider_microusd",
    "fee_microusd",
    "rounding_microusd",
    "capped",
    "captured_at",
]

STATEMENTS: Sequence[str] = (
    _APPLY_ENTRIES,
    _REQUIRE_ENTRIES,
    _GUARD_BALANCE,
    _REFUSE_CHANGE,
    _COUNT_BUDGETS,
    _REFUSE_CLOSED_EPOCH,
    _REQUIRE_CLOSED_EPOCH,
    *_trigger(
        "entries_apply",
        "entries",
        "AFTER INSERT | REFERENCING NEW TABLE AS written FOR EACH STATEMENT",
        "billing_apply_entries()",
    ),
    *_trigger(
        "transfers_have_entries",
        "transfers",
        "AFTER INSERT | DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
        "billing_require_entries()",
    ),
    *_trigger("accounts_begin_empty", "accounts", "BEFORE INSERT | FOR EACH ROW", "billing_guard_balance()"),
    *_trigger(
        "accounts_moved_by_entries",
        "accounts",
        f"BEFORE UPDATE | FOR EACH ROW WHEN ({_differs('balance_microusd')})",
        "billing_guard_balance()",
    ),
    *_frozen("accounts_frozen", "accounts", _differs("id", "kind"), "an account keeps its name and kind"),
    *_frozen("accounts_kept", "accounts", "true", "an account is kept", "DELETE"),
    *_trigger(
        "accounts_all_kept",
        "accounts",
        "BEFORE TRUNCATE | FOR EACH STATEMENT",
        "billing_refuse_change('an account is kept')",
    ),
    *_immutable("transfers", "a transfer never changes; correct it by another"),
    *_immutable("entries", "an entry never changes; correct it by another transfer"),
    *_frozen(
        "holds_settled_once",
        "holds",
        "OLD.settled_at IS NOT NULL OR NEW.amount_microusd > OLD.amount_microusd OR "
        + _differs("id", "job_id", "organization_id", "attempt_number", "window_number"),
        "a hold is settled once, and only shrinks before",
    ),
    *_trigger(
        "holds_counted_new",
        "holds",
        "AFTER INSERT | FOR EACH ROW WHEN (NEW.budgets IS NOT NULL)",
        "billing_count_budgets()",
    ),
    *_trigger(
        "holds_counted",
        "holds",
        "AFTER UPDATE | FOR EACH ROW WHEN (NEW.budgets IS NOT NULL)",
        "billing_count_budgets()",
    ),
    *_frozen("windows_settled_once", "windows", "OLD.settled_at IS NOT NULL", "a window is settled once"),
    *_frozen(
        "metered_leases_frozen",
        "metered_leases",
        _differs(
            "lease_id",
            "job_id",
            "organization_id",
            "provider_id",
            "node_id",
            "unit",
            "quantity_milli",
            "price_microusd_per_unit_hour",
            "fee_basis_points",
            "discount_basis_points",
            "granted_at",
        )
        + " OR NEW.metered_ms < OLD.metered_ms OR NEW.charged_microusd < OLD.charged_microusd"
        " OR NEW.minimum_ms > OLD.minimum_ms",
        "price, fee and parties of a lease are frozen, its counters only grow",
    ),
    *_immutable("metered_components", "what the price of a lease was made of never changes"),
    *_frozen(
        "usage_lines_frozen",
        "usage_lines",
        f"OLD.epoch IS NOT NULL OR {_differs(*_LINE_COLUMNS)}",
        "a usage line never changes",
    ),
    *_frozen("usage_lines_begin_open", "usage_lines", "NEW.epoch IS NOT NULL", "a line begins unstamped", "INSERT"),
    *_trigger(
        "usage_lines_stamp",
        "usage_lines",
        "AFTER UPDATE | REFERENCING NEW TABLE AS stamped FOR EACH STATEMENT",
        "billing_refuse_closed_epoch()",
    ),
    *_frozen("usage_lines_kept", "usage_lines", "true", "a usage line is kept", "DELETE"),
    *_frozen(
        "epochs_closed_once",
        "epochs",
        "OLD.root <> '' OR " + _differs("number", "secret", "closed_at"),
        "a closed epoch never changes",
    ),
    *_frozen("epochs_undeleted", "epochs", "true", "a closed epoch never changes", "DELETE"),
    *_trigger(
        "epochs_kept",
        "epochs",
        "BEFORE TRUNCATE | FOR EACH STATEMENT",
        "billing_refuse_change('a closed epoch never changes')",
    ),
    *_trigger(
        "epochs_closed",
        "epochs",
        "AFTER INSERT | DEFERRABLE INITIALLY DEFERRED FOR EACH ROW",
        "billing_require_closed_epoch()",
    ),
    *_frozen("payouts_ended_once", "payouts", "OLD.state <> 'open'", "a payout that has ended never changes"),
    *_frozen(
        "withdrawals_frozen",
        "withdrawals",
        "OLD.payout_id IS NOT NULL OR OLD.cancelled_at IS NOT NULL OR "
        + _differs("id", "organization_id", "wallet_address", "amount_microusd", "payable_from"),
        "a withdrawal is sent or cancelled once, and nothing else of it changes",
    ),
    *_frozen("withdrawals_kept", "withdrawals", "true", "a withdrawal is kept", "DELETE"),
    *_frozen("pulls_ended_once", "pulls", "OLD.state <> 'open'", "a pull that has ended never changes"),
    *_frozen("pulls_kept", "pulls", "true", "a pull is kept", "DELETE"),
    *_frozen(
        "allowances_frozen",
        "allowances",
        "OLD.state = 'ended' OR OLD.state = 'active' AND (NEW.state = 'waiting' OR "
        + _differs("id", "organization_id", "delegate", "mint", "token_account", "owner")
        + ")",
        "whose account an allowance is never changes, and an ended one not at all",
    ),
    *_frozen("payouts_kept", "payouts", "true", "a payout is kept", "DELETE"),
    *_frozen(
        "settlement_signings_decided_once",
        "settlement_signings",
        "OLD.outcome IS NOT NULL OR " + _differs("signature", "batch_id", "number", "wire", "last_valid_block_height"),
        "a signing keeps its bytes and is decided once",
    ),
    *_immutable("deposit_credits", "a credit never changes"),
    *_frozen(
        "adjustments_frozen",
        "adjustments",
        "NEW.recovered_microusd < OLD.recovered_microusd OR "
        + _differs(
            "id",
            "line_id",
            "number",
            "job_id",
            "organization_id",
            "provider_id",
            "amount_microusd",
            "provider_microusd",
            "fee_microusd",
            "rounding_microusd",
            "owed_microusd",
            "borne_microusd",
            "cause",
            "reason",
            "by",
            "adjusted_at",
        ),
        "an adjustment never changes",
    ),
    *_frozen("adjustments_kept", "adjustments", "true", "an adjustment is kept", "DELETE"),
)


def _on_postgresql(statement: str) -> DDL:
    # DDL() takes % for its own formatting. SQLAlchemy leaves its constructor untyped.
    return DDL(statement.replace("%", "%%")).execute_if(dialect="postgresql")  # type: ignore[no-untyped-call]


for _statement in STATEMENTS:
    event.listen(Base.metadata, "after_create", _on_postgresql(_statement))
