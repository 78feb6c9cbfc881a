CREATE TABLE "account_tier" (
	"account_id" uuid PRIMARY KEY NOT NULL,
	"tier" text NOT NULL,
	"changed_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "free_counter" (
	"bucket" smallint NOT NULL,
	"account_id" uuid NOT NULL,
	"name" text NOT NULL,
	"period" text NOT NULL,
	"used" integer NOT NULL,
	CONSTRAINT "free_counter_account_id_name_period_bucket_pk" PRIMARY KEY("account_id","name","period","bucket"),
	CONSTRAINT "free_counter_used" CHECK ("free_counter"."used" >= 0)
);
--> statement-breakpoint
CREATE TABLE "free_take" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"account_id" uuid NOT NULL,
	"name" text NOT NULL,
	"period" text NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	CONSTRAINT "free_take_id_name_bucket_pk" PRIMARY KEY("id","name","bucket")
);
--> statement-breakpoint
CREATE TABLE "api_key_former" (
	"hash" "bytea" PRIMARY KEY NOT NULL,
	"key_id" uuid NOT NULL,
	"valid_until" timestamp with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "ledger_cap" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"per_call" bigint,
	"per_hour" bigint,
	"total" bigint,
	"hour_start" timestamp with time zone NOT NULL,
	"hour_spent" bigint NOT NULL,
	"spent" bigint NOT NULL,
	"held" bigint NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "ledger_cap_id_bucket_pk" PRIMARY KEY("id","bucket"),
	CONSTRAINT "ledger_cap_used" CHECK ("ledger_cap"."hour_spent" >= 0 AND "ledger_cap"."spent" >= 0 AND "ledger_cap"."held" >= 0),
	CONSTRAINT "ledger_cap_hour" CHECK ("ledger_cap"."hour_spent" <= "ledger_cap"."per_hour"),
	CONSTRAINT "ledger_cap_total" CHECK ("ledger_cap"."spent" + "ledger_cap"."held" <= "ledger_cap"."total")
);
--> statement-breakpoint
ALTER TABLE "catalog_price_list" ADD COLUMN "free" jsonb;--> statement-breakpoint
ALTER TABLE "api_key" ADD COLUMN "ancestor_ids" uuid[] DEFAULT '{}' NOT NULL;--> statement-breakpoint
ALTER TABLE "api_key" ADD COLUMN "cap_ids" uuid[] DEFAULT '{}' NOT NULL;--> statement-breakpoint
ALTER TABLE "api_key" ADD COLUMN "tools" text[];--> statement-breakpoint
ALTER TABLE "ledger_hold" ADD COLUMN "cap_ids" uuid[];--> statement-breakpoint
ALTER TABLE "ledger_hold" ADD COLUMN "cap_hour" timestamp with time zone;--> statement-breakpoint
CREATE INDEX "free_take_counter" ON "free_take" USING btree ("account_id","name","period");--> statement-breakpoint
CREATE INDEX "api_key_former_key" ON "api_key_former" USING btree ("key_id");