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
;;
CREATE OR REPLACE FUNCTION billing_require_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM entries WHERE transfer_id = NEW.id) THEN
    RAISE EXCEPTION 'transfer % has no entries', NEW.key USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$
;;
CREATE OR REPLACE FUNCTION billing_guard_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' AND NEW.balance_microusd <> 0 OR TG_OP = 'UPDATE' AND pg_trigger_depth() = 1 THEN
    RAISE EXCEPTION 'the balance of % is moved by entries alone', NEW.id USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$
;;
CREATE OR REPLACE FUNCTION billing_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% on %: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'check_violation';
END $$
;;
CREATE OR REPLACE FUNCTION billing_refuse_closed_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM epochs WHERE number = NEW.epoch) THEN
    RAISE EXCEPTION 'epoch % is closed and takes no further line', NEW.epoch USING ERRCODE = 'check_violation';
  END IF;
  RETURN NEW;
END $$
;;
DROP TRIGGER IF EXISTS entries_apply ON entries
;;
CREATE TRIGGER entries_apply AFTER INSERT ON entries REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION billing_apply_entries()
;;
DROP TRIGGER IF EXISTS transfers_have_entries ON transfers
;;
CREATE CONSTRAINT TRIGGER transfers_have_entries AFTER INSERT ON transfers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_require_entries()
;;
DROP TRIGGER IF EXISTS accounts_begin_empty ON accounts
;;
CREATE TRIGGER accounts_begin_empty BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION billing_guard_balance()
;;
DROP TRIGGER IF EXISTS accounts_moved_by_entries ON accounts
;;
CREATE TRIGGER accounts_moved_by_entries BEFORE UPDATE ON accounts FOR EACH ROW WHEN (OLD.balance_microusd IS DISTINCT FROM NEW.balance_microusd) EXECUTE FUNCTION billing_guard_balance()
;;
DROP TRIGGER IF EXISTS accounts_frozen ON accounts
;;
CREATE TRIGGER accounts_frozen BEFORE UPDATE ON accounts FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.kind IS DISTINCT FROM NEW.kind) EXECUTE FUNCTION billing_refuse_change('an account keeps its name and kind')
;;
DROP TRIGGER IF EXISTS transfers_immutable ON transfers
;;
CREATE TRIGGER transfers_immutable BEFORE UPDATE OR DELETE ON transfers FOR EACH ROW EXECUTE FUNCTION billing_refuse_change('a transfer never changes; correct it by another')
;;
DROP TRIGGER IF EXISTS transfers_kept ON transfers
;;
CREATE TRIGGER transfers_kept BEFORE TRUNCATE ON transfers FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change('a transfer never changes; correct it by another')
;;
DROP TRIGGER IF EXISTS entries_immutable ON entries
;;
CREATE TRIGGER entries_immutable BEFORE UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION billing_refuse_change('an entry never changes; correct it by another transfer')
;;
DROP TRIGGER IF EXISTS entries_kept ON entries
;;
CREATE TRIGGER entries_kept BEFORE TRUNCATE ON entries FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change('an entry never changes; correct it by another transfer')
;;
DROP TRIGGER IF EXISTS holds_settled_once ON holds
;;
CREATE TRIGGER holds_settled_once BEFORE UPDATE ON holds FOR EACH ROW WHEN (OLD.settled_at IS NOT NULL OR NEW.amount_microusd > OLD.amount_microusd OR OLD.id IS DISTINCT FROM NEW.id OR OLD.job_id IS DISTINCT FROM NEW.job_id OR OLD.organization_id IS DISTINCT FROM NEW.organization_id OR OLD.attempt_number IS DISTINCT FROM NEW.attempt_number OR OLD.window_number IS DISTINCT FROM NEW.window_number) EXECUTE FUNCTION billing_refuse_change('a hold is settled once, and only shrinks before')
;;
DROP TRIGGER IF EXISTS windows_settled_once ON windows
;;
CREATE TRIGGER windows_settled_once BEFORE UPDATE ON windows FOR EACH ROW WHEN (OLD.settled_at IS NOT NULL) EXECUTE FUNCTION billing_refuse_change('a window is settled once')
;;
DROP TRIGGER IF EXISTS metered_leases_frozen ON metered_leases
;;
CREATE TRIGGER metered_leases_frozen BEFORE UPDATE ON metered_leases FOR EACH ROW WHEN (OLD.lease_id IS DISTINCT FROM NEW.lease_id OR OLD.job_id IS DISTINCT FROM NEW.job_id OR OLD.organization_id IS DISTINCT FROM NEW.organization_id OR OLD.provider_id IS DISTINCT FROM NEW.provider_id OR OLD.node_id IS DISTINCT FROM NEW.node_id OR OLD.unit IS DISTINCT FROM NEW.unit OR OLD.quantity_milli IS DISTINCT FROM NEW.quantity_milli OR OLD.price_microusd_per_unit_hour IS DISTINCT FROM NEW.price_microusd_per_unit_hour OR OLD.fee_basis_points IS DISTINCT FROM NEW.fee_basis_points OR OLD.granted_at IS DISTINCT FROM NEW.granted_at OR NEW.metered_ms < OLD.metered_ms OR NEW.charged_microusd < OLD.charged_microusd) EXECUTE FUNCTION billing_refuse_change('price, fee and parties of a lease are frozen, its counters only grow')
;;
DROP TRIGGER IF EXISTS usage_lines_frozen ON usage_lines
;;
CREATE TRIGGER usage_lines_frozen BEFORE UPDATE ON usage_lines FOR EACH ROW WHEN (OLD.epoch IS NOT NULL OR OLD.id IS DISTINCT FROM NEW.id OR OLD.window_id IS DISTINCT FROM NEW.window_id OR OLD.lease_id IS DISTINCT FROM NEW.lease_id OR OLD.window_number IS DISTINCT FROM NEW.window_number OR OLD.job_id IS DISTINCT FROM NEW.job_id OR OLD.attempt_number IS DISTINCT FROM NEW.attempt_number OR OLD.organization_id IS DISTINCT FROM NEW.organization_id OR OLD.provider_id IS DISTINCT FROM NEW.provider_id OR OLD.unit IS DISTINCT FROM NEW.unit OR OLD.quantity_milli IS DISTINCT FROM NEW.quantity_milli OR OLD.price_microusd_per_unit_hour IS DISTINCT FROM NEW.price_microusd_per_unit_hour OR OLD.fee_basis_points IS DISTINCT FROM NEW.fee_basis_points OR OLD.from_ms IS DISTINCT FROM NEW.from_ms OR OLD.to_ms IS DISTINCT FROM NEW.to_ms OR OLD.charged_before_microusd IS DISTINCT FROM NEW.charged_before_microusd OR OLD.amount_microusd IS DISTINCT FROM NEW.amount_microusd OR OLD.provider_microusd IS DISTINCT FROM NEW.provider_microusd OR OLD.fee_microusd IS DISTINCT FROM NEW.fee_microusd OR OLD.rounding_microusd IS DISTINCT FROM NEW.rounding_microusd OR OLD.capped IS DISTINCT FROM NEW.capped OR OLD.captured_at IS DISTINCT FROM NEW.captured_at) EXECUTE FUNCTION billing_refuse_change('a usage line never changes')
;;
DROP TRIGGER IF EXISTS usage_lines_begin_open ON usage_lines
;;
CREATE TRIGGER usage_lines_begin_open BEFORE INSERT ON usage_lines FOR EACH ROW WHEN (NEW.epoch IS NOT NULL) EXECUTE FUNCTION billing_refuse_change('a line begins unstamped')
;;
DROP TRIGGER IF EXISTS usage_lines_stamp ON usage_lines
;;
CREATE TRIGGER usage_lines_stamp BEFORE UPDATE OF epoch ON usage_lines FOR EACH ROW WHEN (NEW.epoch IS NOT NULL) EXECUTE FUNCTION billing_refuse_closed_epoch()
;;
DROP TRIGGER IF EXISTS usage_lines_kept ON usage_lines
;;
CREATE TRIGGER usage_lines_kept BEFORE DELETE ON usage_lines FOR EACH ROW WHEN (true) EXECUTE FUNCTION billing_refuse_change('a usage line is kept')
;;
DROP TRIGGER IF EXISTS epochs_immutable ON epochs
;;
CREATE TRIGGER epochs_immutable BEFORE UPDATE OR DELETE ON epochs FOR EACH ROW EXECUTE FUNCTION billing_refuse_change('a closed epoch never changes')
;;
DROP TRIGGER IF EXISTS epochs_kept ON epochs
;;
CREATE TRIGGER epochs_kept BEFORE TRUNCATE ON epochs FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change('a closed epoch never changes')
;;
DROP TRIGGER IF EXISTS payouts_ended_once ON payouts
;;
CREATE TRIGGER payouts_ended_once BEFORE UPDATE ON payouts FOR EACH ROW WHEN (OLD.state <> 'open') EXECUTE FUNCTION billing_refuse_change('a payout that has ended never changes')
;;
DROP TRIGGER IF EXISTS payouts_kept ON payouts
;;
CREATE TRIGGER payouts_kept BEFORE DELETE ON payouts FOR EACH ROW WHEN (true) EXECUTE FUNCTION billing_refuse_change('a payout is kept')
;;
DROP TRIGGER IF EXISTS settlement_signings_decided_once ON settlement_signings
;;
CREATE TRIGGER settlement_signings_decided_once BEFORE UPDATE ON settlement_signings FOR EACH ROW WHEN (OLD.outcome IS NOT NULL OR OLD.signature IS DISTINCT FROM NEW.signature OR OLD.batch_id IS DISTINCT FROM NEW.batch_id OR OLD.number IS DISTINCT FROM NEW.number OR OLD.wire IS DISTINCT FROM NEW.wire OR OLD.last_valid_block_height IS DISTINCT FROM NEW.last_valid_block_height) EXECUTE FUNCTION billing_refuse_change('a signing keeps its bytes and is decided once')
;;
DROP TRIGGER IF EXISTS deposit_credits_immutable ON deposit_credits
;;
CREATE TRIGGER deposit_credits_immutable BEFORE UPDATE OR DELETE ON deposit_credits FOR EACH ROW EXECUTE FUNCTION billing_refuse_change('a credit never changes')
;;
DROP TRIGGER IF EXISTS deposit_credits_kept ON deposit_credits
;;
CREATE TRIGGER deposit_credits_kept BEFORE TRUNCATE ON deposit_credits FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change('a credit never changes')
