-- The share of a capture and its fee are one row. What was captured before keeps the two it has: entries are never rewritten.
ALTER TABLE "ledger_entry" ADD COLUMN "fee" bigint DEFAULT 0 NOT NULL;
--> statement-breakpoint
ALTER TABLE "ledger_entry" ADD CONSTRAINT "ledger_entry_fee" CHECK ("fee" >= 0 AND ("fee" = 0 OR "kind" = 'share'));
--> statement-breakpoint
CREATE OR REPLACE VIEW ledger_leg AS
  SELECT transfer_id, leg, kind, debit_id AS account_id, unit, amount + fee AS debit, 0::bigint AS credit, -amount - fee AS signed, created_at, available_at FROM ledger_entry
  UNION ALL
  SELECT transfer_id, leg, kind, credit_id, unit, 0::bigint, amount, amount, created_at, available_at FROM ledger_entry
  UNION ALL
  SELECT transfer_id, leg, 'fee', (SELECT id FROM ledger_account WHERE name = 'I.fee'), unit, 0::bigint, fee, fee, created_at, created_at FROM ledger_entry WHERE fee > 0;
--> statement-breakpoint
-- Ids are not worth compressing, which takes a charge a sixtieth of its time.
ALTER TABLE receipt_batch ALTER COLUMN receipt_ids SET STORAGE EXTERNAL;
