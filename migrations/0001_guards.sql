-- What drizzle-kit cannot say. Statement triggers cost the hot path nothing: it only ever inserts into these tables.
CREATE FUNCTION refuse_rewrite() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% on % is refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END $$;
--> statement-breakpoint
CREATE TRIGGER ledger_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('this table is append-only');
--> statement-breakpoint
CREATE TRIGGER ledger_external_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_external
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('this table is append-only');
--> statement-breakpoint
CREATE TRIGGER log_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_entry
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER receipt_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receipt
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER log_state_append_only BEFORE DELETE OR TRUNCATE ON log_state
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER receipt_lane_append_only BEFORE DELETE OR TRUNCATE ON receipt_lane
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER receipt_batch_append_only BEFORE DELETE OR TRUNCATE ON receipt_batch
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER receipt_batch_sealed_once BEFORE UPDATE ON receipt_batch
  FOR EACH ROW WHEN (OLD.signed_at IS NOT NULL) EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER catalog_version_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON catalog_version
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what was published never changes');
--> statement-breakpoint
CREATE TRIGGER catalog_code_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON catalog_code
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what was published never changes');
--> statement-breakpoint
CREATE TRIGGER catalog_price_list_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON catalog_price_list
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what was published never changes');
--> statement-breakpoint
-- The journal leg by leg, with signs (credit minus debit), to be summed by hand.
CREATE VIEW ledger_leg AS
  SELECT transfer_id, leg, kind, debit_id AS account_id, unit, amount AS debit, 0::bigint AS credit, -amount AS signed, created_at, available_at FROM ledger_entry
  UNION ALL
  SELECT transfer_id, leg, kind, credit_id, unit, 0::bigint, amount, amount, created_at, available_at FROM ledger_entry;
