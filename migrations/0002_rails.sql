CREATE TABLE "ledger_float" (
	"account" text NOT NULL,
	"name" text NOT NULL,
	"unit" text NOT NULL,
	"units" numeric(78, 0) NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "ledger_float_account_name_pk" PRIMARY KEY("account","name")
);
--> statement-breakpoint
CREATE TABLE "payment_pending" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"sealed" "bytea" NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	CONSTRAINT "payment_pending_id_bucket_pk" PRIMARY KEY("id","bucket")
);
--> statement-breakpoint
ALTER TABLE "payment_claim" ADD COLUMN "final_at" timestamp with time zone;--> statement-breakpoint
CREATE INDEX "payment_pending_expiry" ON "payment_pending" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "payment_claim_not_final" ON "payment_claim" USING btree ("next_attempt_at") WHERE "payment_claim"."state" IN ('delivered', 'failed') AND "payment_claim"."reference" IS NOT NULL AND "payment_claim"."final_at" IS NULL AND "payment_claim"."rail" IS NOT NULL;