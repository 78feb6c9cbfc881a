CREATE TABLE "payment_webhook_event" (
	"bucket" smallint NOT NULL,
	"id" text NOT NULL,
	"type" text NOT NULL,
	"received_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "payment_webhook_event_id_bucket_pk" PRIMARY KEY("id","bucket")
);
--> statement-breakpoint
CREATE INDEX "payment_webhook_event_age" ON "payment_webhook_event" USING btree ("received_at");