CREATE TABLE "payment_attachment" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"claim_id" uuid NOT NULL,
	"quote_hash" "bytea",
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "payment_attachment_id_bucket_pk" PRIMARY KEY("id","bucket")
);
--> statement-breakpoint
CREATE INDEX "payment_attachment_claim" ON "payment_attachment" USING btree ("claim_id");