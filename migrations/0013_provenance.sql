CREATE TABLE "catalog_yank" (
	"version_id" uuid PRIMARY KEY NOT NULL,
	"log_index" bigint NOT NULL,
	"yanked_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "anchor_job" (
	"id" uuid PRIMARY KEY NOT NULL,
	"log" smallint NOT NULL,
	"chain_id" bigint NOT NULL,
	"contract" text NOT NULL,
	"prev_size" bigint NOT NULL,
	"tree_size" bigint NOT NULL,
	"root" "bytea" NOT NULL,
	"state" text NOT NULL,
	"tx_hash" text,
	"block_number" bigint,
	"block_hash" text,
	"block_time" bigint,
	"anchor_index" bigint,
	"gas_used" bigint,
	"header" "bytea",
	"proof" json,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "anchor_job_grows" CHECK ("anchor_job"."prev_size" >= 0 AND "anchor_job"."tree_size" > "anchor_job"."prev_size"),
	CONSTRAINT "anchor_job_root" CHECK (octet_length("anchor_job"."root") = 32),
	CONSTRAINT "anchor_job_mined" CHECK (("anchor_job"."state" IN ('mined', 'final')) <= (num_nulls("anchor_job"."tx_hash", "anchor_job"."block_number", "anchor_job"."block_hash", "anchor_job"."anchor_index") = 0))
);
--> statement-breakpoint
CREATE TABLE "log_checkpoint" (
	"log" smallint NOT NULL,
	"tree_size" bigint NOT NULL,
	"root" "bytea" NOT NULL,
	"note" text NOT NULL,
	"signed_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "log_checkpoint_log_tree_size_pk" PRIMARY KEY("log","tree_size"),
	CONSTRAINT "log_checkpoint_root" CHECK (octet_length("log_checkpoint"."root") = 32)
);
--> statement-breakpoint
CREATE TABLE "log_cosignature" (
	"log" smallint NOT NULL,
	"tree_size" bigint NOT NULL,
	"witness" text NOT NULL,
	"line" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "log_cosignature_log_tree_size_witness_pk" PRIMARY KEY("log","tree_size","witness")
);
--> statement-breakpoint
CREATE TABLE "log_tile" (
	"log" smallint NOT NULL,
	"level" integer NOT NULL,
	"n" bigint NOT NULL,
	"data" "bytea" NOT NULL,
	CONSTRAINT "log_tile_log_level_n_pk" PRIMARY KEY("log","level","n"),
	CONSTRAINT "log_tile_data" CHECK (octet_length("log_tile"."data") % 32 = 0 AND octet_length("log_tile"."data") BETWEEN 32 AND 8192)
);
--> statement-breakpoint
CREATE TABLE "receipt_commitment" (
	"bucket" smallint NOT NULL,
	"receipt_id" uuid NOT NULL,
	"leaf_index" bigint NOT NULL,
	"salt" "bytea" NOT NULL,
	"iss" text NOT NULL,
	"log_origin" text NOT NULL,
	CONSTRAINT "receipt_commitment_receipt_id_bucket_pk" PRIMARY KEY("receipt_id","bucket"),
	CONSTRAINT "receipt_commitment_salt" CHECK (octet_length("receipt_commitment"."salt") = 16)
);
--> statement-breakpoint
CREATE TABLE "receipt_lane_logged" (
	"tool_id" uuid NOT NULL,
	"lane" text NOT NULL,
	"logged_seq" bigint NOT NULL,
	CONSTRAINT "receipt_lane_logged_tool_id_lane_pk" PRIMARY KEY("tool_id","lane")
);
--> statement-breakpoint
CREATE TABLE "receipt_unlogged" (
	"bucket" smallint NOT NULL,
	"receipt_id" uuid NOT NULL,
	CONSTRAINT "receipt_unlogged_receipt_id_bucket_pk" PRIMARY KEY("receipt_id","bucket")
);
--> statement-breakpoint
CREATE TABLE "release_key" (
	"publisher_id" uuid NOT NULL,
	"key_id" text NOT NULL,
	"format" text NOT NULL,
	"public_key" "bytea" NOT NULL,
	"expires_at" timestamp with time zone,
	"added_index" bigint NOT NULL,
	"added_at" timestamp with time zone NOT NULL,
	"revoked_index" bigint,
	"revoked_at" timestamp with time zone,
	CONSTRAINT "release_key_publisher_id_key_id_pk" PRIMARY KEY("publisher_id","key_id"),
	CONSTRAINT "release_key_revoked" CHECK (num_nulls("release_key"."revoked_index", "release_key"."revoked_at") IN (0, 2))
);
--> statement-breakpoint
ALTER TABLE "log_state" DROP CONSTRAINT "log_state_single";--> statement-breakpoint
ALTER TABLE "log_entry" ADD COLUMN "log" smallint DEFAULT 1 NOT NULL;--> statement-breakpoint
ALTER TABLE "log_entry" DROP CONSTRAINT "log_entry_pkey";--> statement-breakpoint
ALTER TABLE "log_entry" ADD CONSTRAINT "log_entry_log_leaf_index_pk" PRIMARY KEY("log","leaf_index");--> statement-breakpoint
ALTER TABLE "catalog_version" ADD COLUMN "manifest" text;--> statement-breakpoint
ALTER TABLE "catalog_version" ADD COLUMN "signature" text;--> statement-breakpoint
ALTER TABLE "catalog_version" ADD COLUMN "signature_format" text;--> statement-breakpoint
ALTER TABLE "catalog_version" ADD COLUMN "signature_key_id" text;--> statement-breakpoint
ALTER TABLE "catalog_version" ADD COLUMN "is_deterministic" boolean DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE "log_state" ADD COLUMN "root" "bytea";--> statement-breakpoint
ALTER TABLE "catalog_yank" ADD CONSTRAINT "catalog_yank_version_id_catalog_version_id_fk" FOREIGN KEY ("version_id") REFERENCES "public"."catalog_version"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "anchor_job_open" ON "anchor_job" USING btree ("log","chain_id","contract") WHERE "anchor_job"."state" IN ('planned', 'sent', 'mined');--> statement-breakpoint
CREATE INDEX "anchor_job_final" ON "anchor_job" USING btree ("log","tree_size") WHERE "anchor_job"."state" = 'final';--> statement-breakpoint
ALTER TABLE "catalog_version" ADD CONSTRAINT "catalog_version_signature" CHECK (num_nulls("catalog_version"."signature", "catalog_version"."signature_format", "catalog_version"."signature_key_id") IN (0, 3));--> statement-breakpoint
ALTER TABLE "log_state" ADD CONSTRAINT "log_state_known" CHECK ("log_state"."id" IN (1, 2));
--> statement-breakpoint
CREATE TRIGGER log_checkpoint_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_checkpoint
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER log_cosignature_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON log_cosignature
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER receipt_commitment_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receipt_commitment
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER catalog_yank_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON catalog_yank
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER log_tile_append_only BEFORE DELETE OR TRUNCATE ON log_tile
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER anchor_job_append_only BEFORE DELETE OR TRUNCATE ON anchor_job
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER release_key_append_only BEFORE DELETE OR TRUNCATE ON release_key
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER receipt_lane_logged_append_only BEFORE DELETE OR TRUNCATE ON receipt_lane_logged
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
-- A tile grows at its end, and what it holds stays.
CREATE TRIGGER log_tile_grows BEFORE UPDATE ON log_tile
  FOR EACH ROW WHEN (
    (NEW.log, NEW.level, NEW.n) IS DISTINCT FROM (OLD.log, OLD.level, OLD.n)
    OR substring(NEW.data FROM 1 FOR octet_length(OLD.data)) IS DISTINCT FROM OLD.data)
  EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
CREATE TRIGGER log_state_grows BEFORE UPDATE ON log_state
  FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.tree_size < OLD.tree_size
    OR (NEW.tree_size = OLD.tree_size AND OLD.root IS NOT NULL AND NEW.root IS DISTINCT FROM OLD.root))
  EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
-- A final anchor is final, and a job never changes what it anchors where.
CREATE TRIGGER anchor_job_keeps BEFORE UPDATE ON anchor_job
  FOR EACH ROW WHEN (
    (NEW.id, NEW.log, NEW.chain_id, NEW.contract, NEW.prev_size, NEW.tree_size, NEW.root)
      IS DISTINCT FROM (OLD.id, OLD.log, OLD.chain_id, OLD.contract, OLD.prev_size, OLD.tree_size, OLD.root)
    OR (OLD.state = 'final' AND NEW.state <> 'final'))
  EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
-- A key is added once and revoked once.
CREATE TRIGGER release_key_keeps BEFORE UPDATE ON release_key
  FOR EACH ROW WHEN (
    (NEW.publisher_id, NEW.key_id, NEW.format, NEW.public_key, NEW.expires_at, NEW.added_index, NEW.added_at)
      IS DISTINCT FROM (OLD.publisher_id, OLD.key_id, OLD.format, OLD.public_key, OLD.expires_at, OLD.added_index, OLD.added_at)
    OR OLD.revoked_at IS NOT NULL)
  EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
-- What was sold before there was a receipts log enters it now; the receipts of open batches follow with their seal.
INSERT INTO receipt_unlogged (bucket, receipt_id)
  SELECT r.bucket, r.id FROM receipt r LEFT JOIN receipt_batch b ON b.id = r.batch_id
  WHERE r.batch_id IS NULL OR b.signed_at IS NOT NULL;
