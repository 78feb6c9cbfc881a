DROP INDEX "payment_claim_owed";--> statement-breakpoint
CREATE INDEX "ledger_entry_age" ON "ledger_entry" USING brin ("created_at");--> statement-breakpoint
CREATE INDEX "ledger_exposure_closed" ON "ledger_exposure" USING btree ("updated_at") WHERE "ledger_exposure"."state" IN ('void', 'posted');--> statement-breakpoint
CREATE INDEX "ledger_hold_let_go" ON "ledger_hold" USING btree ("closed_at") WHERE "ledger_hold"."state" IN ('released', 'expired');--> statement-breakpoint
CREATE INDEX "ledger_hold_age" ON "ledger_hold" USING brin ("created_at");--> statement-breakpoint
CREATE INDEX "payment_claim_whole" ON "payment_claim" USING btree ("closed_at") WHERE "payment_claim"."state" = 'delivered' AND "payment_claim"."purpose" = 'call' AND "payment_claim"."intent" IS NOT NULL;--> statement-breakpoint
CREATE INDEX "payment_claim_unpaid" ON "payment_claim" USING btree ("closed_at") WHERE "payment_claim"."closed_at" IS NOT NULL AND "payment_claim"."reference" IS NULL AND ("payment_claim"."state" = 'failed' OR "payment_claim"."amount" = 0);--> statement-breakpoint
CREATE INDEX "payment_claim_owed" ON "payment_claim" USING btree ("payer","request_digest","created_at") WHERE "payment_claim"."answer_state" <> 'answered';