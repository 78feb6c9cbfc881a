CREATE TABLE "catalog_code" (
	"sha256" text PRIMARY KEY NOT NULL,
	"archive" "bytea" NOT NULL,
	"size" integer NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "catalog_code_sha256" CHECK ("catalog_code"."sha256" ~ '^[0-9a-f]{64}$'),
	CONSTRAINT "catalog_code_size" CHECK ("catalog_code"."size" = octet_length("catalog_code"."archive"))
);
--> statement-breakpoint
CREATE TABLE "catalog_namespace" (
	"namespace" text PRIMARY KEY NOT NULL,
	"publisher_id" uuid NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "catalog_price_list" (
	"server_id" uuid NOT NULL,
	"number" integer NOT NULL,
	"id" uuid NOT NULL,
	"model" text NOT NULL,
	"amount_mcents" bigint NOT NULL,
	"tools" jsonb NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "catalog_price_list_server_id_number_pk" PRIMARY KEY("server_id","number"),
	CONSTRAINT "catalog_price_list_id_unique" UNIQUE("id"),
	CONSTRAINT "catalog_price_list_amount" CHECK ("catalog_price_list"."amount_mcents" >= 0),
	CONSTRAINT "catalog_price_list_number" CHECK ("catalog_price_list"."number" > 0)
);
--> statement-breakpoint
CREATE TABLE "catalog_publisher" (
	"id" uuid PRIMARY KEY NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "catalog_server" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"publisher_id" uuid NOT NULL,
	"tier" text NOT NULL,
	"description" text NOT NULL,
	"category" text[] NOT NULL,
	"language" text NOT NULL,
	"license" text,
	"repo_url" text,
	"latest_version_id" uuid NOT NULL,
	"listed_amount_mcents" bigint NOT NULL,
	"search" "tsvector" NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	"paused_at" timestamp (3) with time zone,
	"pause_reason" text,
	CONSTRAINT "catalog_server_name" UNIQUE("name"),
	CONSTRAINT "catalog_server_paused" CHECK (num_nulls("catalog_server"."paused_at", "catalog_server"."pause_reason") IN (0, 2))
);
--> statement-breakpoint
CREATE TABLE "catalog_version" (
	"id" uuid PRIMARY KEY NOT NULL,
	"server_id" uuid NOT NULL,
	"version" text NOT NULL,
	"code_sha256" text NOT NULL,
	"runtime" text NOT NULL,
	"entrypoint" text NOT NULL,
	"tools" json NOT NULL,
	"tool_names" text[] NOT NULL,
	"tools_hash" text NOT NULL,
	"metadata_hash" text NOT NULL,
	"changelog" text,
	"log_index" bigint NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "catalog_version_number" UNIQUE("server_id","version"),
	CONSTRAINT "catalog_version_log_index" UNIQUE("log_index"),
	CONSTRAINT "catalog_version_tools_hash" CHECK ("catalog_version"."tools_hash" ~ '^[0-9a-f]{64}$'),
	CONSTRAINT "catalog_version_log" CHECK ("catalog_version"."log_index" >= 0)
);
--> statement-breakpoint
CREATE TABLE "chain_transaction" (
	"bucket" smallint NOT NULL,
	"chain_id" bigint NOT NULL,
	"wallet" text NOT NULL,
	"nonce" bigint NOT NULL,
	"ref" text NOT NULL,
	"hash" text NOT NULL,
	"raw" "bytea" NOT NULL,
	"state" text NOT NULL,
	"gas_used" bigint,
	"effective_gas_price" bigint,
	"parent_fee" bigint,
	"block_number" bigint,
	"block_hash" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"mined_at" timestamp with time zone,
	CONSTRAINT "chain_transaction_bucket_chain_id_wallet_nonce_pk" PRIMARY KEY("bucket","chain_id","wallet","nonce"),
	CONSTRAINT "chain_transaction_receipt" CHECK (("chain_transaction"."state" IN ('mined', 'reverted')) = ("chain_transaction"."block_number" IS NOT NULL))
);
--> statement-breakpoint
CREATE TABLE "chain_wallet" (
	"chain_id" bigint NOT NULL,
	"address" text NOT NULL,
	"next_nonce" bigint NOT NULL,
	CONSTRAINT "chain_wallet_chain_id_address_pk" PRIMARY KEY("chain_id","address")
);
--> statement-breakpoint
CREATE TABLE "api_key" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"hash" "bytea" NOT NULL,
	"account_id" uuid NOT NULL,
	"publisher_id" uuid,
	"parent_id" uuid,
	"scopes" text[] NOT NULL,
	"label" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp with time zone,
	"revoked_at" timestamp with time zone,
	CONSTRAINT "api_key_id_bucket_pk" PRIMARY KEY("id","bucket"),
	CONSTRAINT "api_key_hash" UNIQUE("hash"),
	CONSTRAINT "api_key_hash_length" CHECK (octet_length("api_key"."hash") = 32),
	CONSTRAINT "api_key_scoped" CHECK (cardinality("api_key"."scopes") > 0)
);
--> statement-breakpoint
CREATE TABLE "rate_window" (
	"name" text NOT NULL,
	"starts_at" timestamp with time zone NOT NULL,
	"count" integer NOT NULL,
	CONSTRAINT "rate_window_name_starts_at_pk" PRIMARY KEY("name","starts_at")
);
--> statement-breakpoint
CREATE TABLE "ledger_account" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"unit" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "ledger_account_name_unique" UNIQUE("name")
);
--> statement-breakpoint
CREATE TABLE "ledger_entry" (
	"transfer_id" uuid NOT NULL,
	"leg" smallint NOT NULL,
	"kind" text NOT NULL,
	"debit_id" uuid NOT NULL,
	"credit_id" uuid NOT NULL,
	"unit" text NOT NULL,
	"amount" bigint NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"available_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "ledger_entry_transfer_id_leg_created_at_pk" PRIMARY KEY("transfer_id","leg","created_at"),
	CONSTRAINT "ledger_entry_positive" CHECK ("ledger_entry"."amount" > 0),
	CONSTRAINT "ledger_entry_two_accounts" CHECK ("ledger_entry"."debit_id" <> "ledger_entry"."credit_id")
);
--> statement-breakpoint
CREATE TABLE "ledger_exposure" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"rail" text NOT NULL,
	"payer" text NOT NULL,
	"payee_id" uuid NOT NULL,
	"unit" text NOT NULL,
	"units" bigint NOT NULL,
	"amount" bigint NOT NULL,
	"state" text NOT NULL,
	"is_loss" smallint DEFAULT 0 NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "ledger_exposure_id_bucket_pk" PRIMARY KEY("id","bucket")
);
--> statement-breakpoint
CREATE TABLE "ledger_exposure_payer" (
	"payer" text NOT NULL,
	"unit" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "ledger_exposure_payer_key" UNIQUE("payer","unit")
);
--> statement-breakpoint
CREATE TABLE "ledger_external" (
	"rail" text NOT NULL,
	"external_ref" text NOT NULL,
	"transfer_id" uuid NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "ledger_external_rail_external_ref_pk" PRIMARY KEY("rail","external_ref")
);
--> statement-breakpoint
CREATE TABLE "ledger_hold" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"account_id" uuid NOT NULL,
	"key_id" uuid,
	"payee_id" uuid NOT NULL,
	"subject" uuid,
	"label" text NOT NULL,
	"amount" bigint NOT NULL,
	"fee" bigint NOT NULL,
	"backing" text NOT NULL,
	"state" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"closed_at" timestamp with time zone,
	CONSTRAINT "ledger_hold_id_bucket_pk" PRIMARY KEY("id","bucket"),
	CONSTRAINT "ledger_hold_fee" CHECK ("ledger_hold"."fee" >= 0 AND "ledger_hold"."amount" >= "ledger_hold"."fee")
);
--> statement-breakpoint
CREATE TABLE "ledger_payer" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"balance" bigint NOT NULL,
	"held" bigint NOT NULL,
	"promo" bigint NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "ledger_payer_id_bucket_pk" PRIMARY KEY("id","bucket"),
	CONSTRAINT "ledger_payer_covers_holds" CHECK ("ledger_payer"."held" >= 0 AND "ledger_payer"."balance" >= "ledger_payer"."held"),
	CONSTRAINT "ledger_payer_promo" CHECK ("ledger_payer"."promo" >= 0)
);
--> statement-breakpoint
CREATE TABLE "payment_answer" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"payer" text NOT NULL,
	"sealed" "bytea" NOT NULL,
	"bytes" integer NOT NULL,
	"expires_at" timestamp with time zone,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "payment_answer_id_bucket_pk" PRIMARY KEY("id","bucket")
);
--> statement-breakpoint
CREATE TABLE "payment_claim" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"claim_key" text NOT NULL,
	"purpose" text NOT NULL,
	"rail" text,
	"wire" text,
	"payer" text NOT NULL,
	"account_id" uuid NOT NULL,
	"amount" bigint NOT NULL,
	"request_digest" text NOT NULL,
	"quote_hash" "bytea",
	"mode" text NOT NULL,
	"state" text NOT NULL,
	"answer_state" text NOT NULL,
	"worker" text NOT NULL,
	"context" jsonb NOT NULL,
	"intent" jsonb,
	"failure" jsonb,
	"reference" text,
	"attempts" integer DEFAULT 0 NOT NULL,
	"next_attempt_at" timestamp with time zone DEFAULT now() NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"closed_at" timestamp with time zone,
	CONSTRAINT "payment_claim_id_bucket_pk" PRIMARY KEY("id","bucket")
);
--> statement-breakpoint
CREATE TABLE "payment_worker" (
	"id" text PRIMARY KEY NOT NULL,
	"host" text NOT NULL,
	"pid" integer NOT NULL,
	"started_at" timestamp with time zone DEFAULT now() NOT NULL,
	"heartbeat_at" timestamp with time zone DEFAULT now() NOT NULL,
	"stopped_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "log_entry" (
	"leaf_index" bigint PRIMARY KEY NOT NULL,
	"entry" "bytea" NOT NULL,
	"leaf_hash" "bytea" NOT NULL,
	"dedup_key" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "log_entry_dedup_key" UNIQUE("dedup_key"),
	CONSTRAINT "log_entry_length" CHECK (octet_length("log_entry"."entry") BETWEEN 1 AND 65535),
	CONSTRAINT "log_entry_hash_length" CHECK (octet_length("log_entry"."leaf_hash") = 32)
);
--> statement-breakpoint
CREATE TABLE "log_state" (
	"id" smallint PRIMARY KEY NOT NULL,
	"tree_size" bigint NOT NULL,
	CONSTRAINT "log_state_single" CHECK ("log_state"."id" = 1)
);
--> statement-breakpoint
CREATE TABLE "receipt" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"tool_id" uuid NOT NULL,
	"version_id" uuid NOT NULL,
	"tool_name" text NOT NULL,
	"lane" text NOT NULL,
	"seq" bigint NOT NULL,
	"payer" text NOT NULL,
	"price" bigint NOT NULL,
	"fee" bigint NOT NULL,
	"rail" text NOT NULL,
	"payment_ref" text NOT NULL,
	"request_hash" "bytea" NOT NULL,
	"response_hash" "bytea" NOT NULL,
	"batch_id" uuid,
	"issued_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "receipt_id_bucket_pk" PRIMARY KEY("id","bucket"),
	CONSTRAINT "receipt_seq" UNIQUE("tool_id","lane","seq"),
	CONSTRAINT "receipt_seq_positive" CHECK ("receipt"."seq" > 0),
	CONSTRAINT "receipt_price" CHECK ("receipt"."price" > 0 AND "receipt"."fee" >= 0 AND "receipt"."fee" <= "receipt"."price"),
	CONSTRAINT "receipt_hash_length" CHECK (octet_length("receipt"."request_hash") = 32 AND octet_length("receipt"."response_hash") = 32)
);
--> statement-breakpoint
CREATE TABLE "receipt_batch" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"leaf_count" integer NOT NULL,
	"receipt_ids" uuid[] NOT NULL,
	"opened_at" timestamp with time zone DEFAULT now() NOT NULL,
	"leaf_hashes" "bytea",
	"root" "bytea",
	"jws" text,
	"signed_at" timestamp with time zone,
	CONSTRAINT "receipt_batch_id_bucket_pk" PRIMARY KEY("id","bucket"),
	CONSTRAINT "receipt_batch_leaves" CHECK ("receipt_batch"."leaf_count" > 0 AND "receipt_batch"."leaf_count" = cardinality("receipt_batch"."receipt_ids")),
	CONSTRAINT "receipt_batch_sealed" CHECK (num_nulls("receipt_batch"."leaf_hashes", "receipt_batch"."root", "receipt_batch"."jws", "receipt_batch"."signed_at") IN (0, 4))
);
--> statement-breakpoint
CREATE TABLE "receipt_lane" (
	"tool_id" uuid NOT NULL,
	"lane" text NOT NULL,
	"last_seq" bigint NOT NULL,
	CONSTRAINT "receipt_lane_tool_id_lane_pk" PRIMARY KEY("tool_id","lane")
);
--> statement-breakpoint
CREATE TABLE "tool_failure" (
	"bucket" smallint NOT NULL,
	"id" uuid NOT NULL,
	"tool_id" uuid NOT NULL,
	"payer" text NOT NULL,
	"reason" text NOT NULL,
	"sold_before" bigint NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "tool_failure_id_bucket_pk" PRIMARY KEY("id","bucket")
);
--> statement-breakpoint
ALTER TABLE "catalog_namespace" ADD CONSTRAINT "catalog_namespace_publisher_id_catalog_publisher_id_fk" FOREIGN KEY ("publisher_id") REFERENCES "public"."catalog_publisher"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "catalog_price_list" ADD CONSTRAINT "catalog_price_list_server_id_catalog_server_id_fk" FOREIGN KEY ("server_id") REFERENCES "public"."catalog_server"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "catalog_server" ADD CONSTRAINT "catalog_server_publisher_id_catalog_publisher_id_fk" FOREIGN KEY ("publisher_id") REFERENCES "public"."catalog_publisher"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "catalog_version" ADD CONSTRAINT "catalog_version_server_id_catalog_server_id_fk" FOREIGN KEY ("server_id") REFERENCES "public"."catalog_server"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "catalog_version" ADD CONSTRAINT "catalog_version_code_sha256_catalog_code_sha256_fk" FOREIGN KEY ("code_sha256") REFERENCES "public"."catalog_code"("sha256") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "catalog_namespace_publisher" ON "catalog_namespace" USING btree ("publisher_id");--> statement-breakpoint
CREATE INDEX "catalog_server_publisher" ON "catalog_server" USING btree ("publisher_id");--> statement-breakpoint
CREATE INDEX "catalog_server_by_time" ON "catalog_server" USING btree ("created_at","id") WHERE "catalog_server"."paused_at" IS NULL;--> statement-breakpoint
CREATE INDEX "catalog_server_by_name" ON "catalog_server" USING btree ("name" COLLATE "C") WHERE "catalog_server"."paused_at" IS NULL;--> statement-breakpoint
CREATE INDEX "catalog_server_by_price" ON "catalog_server" USING btree ("listed_amount_mcents","id") WHERE "catalog_server"."paused_at" IS NULL;--> statement-breakpoint
CREATE INDEX "catalog_server_search" ON "catalog_server" USING gin ("search");--> statement-breakpoint
CREATE INDEX "catalog_server_category" ON "catalog_server" USING gin ("category");--> statement-breakpoint
CREATE INDEX "catalog_version_code" ON "catalog_version" USING btree ("code_sha256");--> statement-breakpoint
CREATE UNIQUE INDEX "chain_transaction_ref" ON "chain_transaction" USING btree ("bucket","chain_id","wallet","ref") WHERE "chain_transaction"."state" <> 'dropped';--> statement-breakpoint
CREATE INDEX "chain_transaction_open" ON "chain_transaction" USING btree ("chain_id","wallet","nonce") WHERE "chain_transaction"."state" = 'signed';--> statement-breakpoint
CREATE INDEX "api_key_account" ON "api_key" USING btree ("account_id","created_at");--> statement-breakpoint
CREATE INDEX "ledger_entry_share" ON "ledger_entry" USING btree ("credit_id","created_at") WHERE "ledger_entry"."kind" = 'share';--> statement-breakpoint
CREATE INDEX "ledger_exposure_of_payer" ON "ledger_exposure" USING btree ("payer","unit","created_at");--> statement-breakpoint
CREATE INDEX "ledger_exposure_loss" ON "ledger_exposure" USING btree ("updated_at") WHERE "ledger_exposure"."is_loss" = 1;--> statement-breakpoint
CREATE INDEX "ledger_hold_account" ON "ledger_hold" USING btree ("account_id","created_at");--> statement-breakpoint
CREATE INDEX "ledger_hold_due" ON "ledger_hold" USING btree ("expires_at") WHERE "ledger_hold"."state" = 'held';--> statement-breakpoint
CREATE INDEX "payment_answer_payer" ON "payment_answer" USING btree ("payer");--> statement-breakpoint
CREATE INDEX "payment_answer_expiry" ON "payment_answer" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "payment_claim_open" ON "payment_claim" USING btree ("next_attempt_at") WHERE "payment_claim"."state" IN ('running', 'settling');--> statement-breakpoint
CREATE INDEX "payment_claim_let_go" ON "payment_claim" USING btree ("next_attempt_at") WHERE "payment_claim"."state" = 'failed' AND "payment_claim"."reference" IS NULL AND "payment_claim"."rail" IS NOT NULL;--> statement-breakpoint
CREATE INDEX "payment_claim_waiting" ON "payment_claim" USING btree ("worker") WHERE "payment_claim"."answer_state" = 'waiting';--> statement-breakpoint
CREATE INDEX "payment_claim_owed" ON "payment_claim" USING btree ("payer","request_digest","created_at");--> statement-breakpoint
CREATE INDEX "receipt_batch_open" ON "receipt_batch" USING btree ("opened_at") WHERE "receipt_batch"."signed_at" IS NULL;--> statement-breakpoint
CREATE INDEX "tool_failure_tool" ON "tool_failure" USING btree ("tool_id","created_at");--> statement-breakpoint
CREATE INDEX "tool_failure_payer" ON "tool_failure" USING btree ("payer","tool_id","created_at");