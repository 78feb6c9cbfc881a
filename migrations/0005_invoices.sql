CREATE TABLE "payment_invoice" (
	"bucket" smallint NOT NULL,
	"payment_hash" text NOT NULL,
	"quote_hash" "bytea" NOT NULL,
	"invoice" text NOT NULL,
	"msat" bigint NOT NULL,
	"price" bigint NOT NULL,
	"rate" bigint NOT NULL,
	"rate_source" text NOT NULL,
	"rate_at" timestamp with time zone NOT NULL,
	"spread" bigint NOT NULL,
	"is_hold" boolean NOT NULL,
	"preimage" "bytea",
	"state" text NOT NULL,
	"received_msat" bigint DEFAULT 0 NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"changed_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "payment_invoice_payment_hash_bucket_pk" PRIMARY KEY("payment_hash","bucket")
);
--> statement-breakpoint
CREATE TABLE "payment_invoice_cursor" (
	"node" text PRIMARY KEY NOT NULL,
	"cursor" text NOT NULL,
	"saved_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE INDEX "payment_invoice_open" ON "payment_invoice" USING btree ("expires_at") WHERE "payment_invoice"."state" = 'open';--> statement-breakpoint
CREATE INDEX "payment_invoice_arrived" ON "payment_invoice" USING btree ("changed_at") WHERE "payment_invoice"."state" IN ('held', 'paid');--> statement-breakpoint
CREATE INDEX "payment_invoice_unpaid" ON "payment_invoice" USING btree ("expires_at") WHERE "payment_invoice"."state" IN ('cancelled', 'expired');