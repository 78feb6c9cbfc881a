ALTER TABLE "receipt_unlogged" ADD COLUMN "tool_id" uuid;--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ADD COLUMN "version_id" uuid;--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ADD COLUMN "lane" text;--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ADD COLUMN "seq" bigint;--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ADD COLUMN "salt" "bytea";--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ADD COLUMN "commitment" "bytea";--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ADD COLUMN "iss" text;--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ADD COLUMN "log_origin" text;--> statement-breakpoint
UPDATE "receipt_unlogged" u SET "tool_id" = r."tool_id", "version_id" = r."version_id", "lane" = r."lane", "seq" = r."seq"
  FROM "receipt" r WHERE r."id" = u."receipt_id" AND r."bucket" = u."bucket";--> statement-breakpoint
-- What has no receipt can never be logged.
DELETE FROM "receipt_unlogged" WHERE "tool_id" IS NULL;--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ALTER COLUMN "tool_id" SET NOT NULL;--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ALTER COLUMN "version_id" SET NOT NULL;--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ALTER COLUMN "lane" SET NOT NULL;--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ALTER COLUMN "seq" SET NOT NULL;--> statement-breakpoint
ALTER TABLE "receipt_unlogged" DROP CONSTRAINT "receipt_unlogged_receipt_id_bucket_pk";--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ADD CONSTRAINT "receipt_unlogged_tool_id_lane_seq_bucket_pk" PRIMARY KEY("tool_id","lane","seq","bucket");--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ADD CONSTRAINT "receipt_unlogged_fixed" CHECK (num_nulls("receipt_unlogged"."salt", "receipt_unlogged"."commitment", "receipt_unlogged"."iss", "receipt_unlogged"."log_origin") IN (0, 4)
        AND octet_length("receipt_unlogged"."salt") = 16 AND octet_length("receipt_unlogged"."commitment") = 32);
