-- Nobody writes meanwhile: a row that came after it was copied would be lost.
LOCK TABLE "receipt", "receipt_lane", "receipt_batch", "receipt_unlogged", "receipt_commitment" IN ACCESS EXCLUSIVE MODE;
--> statement-breakpoint
ALTER TABLE "receipt_batch" DROP COLUMN "version_ids";
--> statement-breakpoint
-- What waits becomes runs of one.
ALTER TABLE "receipt_unlogged" DROP CONSTRAINT "receipt_unlogged_fixed";
--> statement-breakpoint
ALTER TABLE "receipt_unlogged" RENAME COLUMN "salt" TO "salts";
--> statement-breakpoint
ALTER TABLE "receipt_unlogged" RENAME COLUMN "commitment" TO "commitments";
--> statement-breakpoint
ALTER TABLE "receipt_unlogged" DROP COLUMN "receipt_id";
--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ADD COLUMN "receipt_count" integer DEFAULT 1 NOT NULL;
--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ALTER COLUMN "receipt_count" DROP DEFAULT;
--> statement-breakpoint
UPDATE "receipt_unlogged" u SET "bucket" = l."bucket" FROM "receipt_lane" l
  WHERE l."tool_id" = u."tool_id" AND l."lane" = u."lane" AND l."bucket" <> u."bucket";
--> statement-breakpoint
ALTER TABLE "receipt_unlogged" ADD CONSTRAINT "receipt_unlogged_fixed" CHECK ("receipt_unlogged"."receipt_count" > 0 AND num_nulls("receipt_unlogged"."salts", "receipt_unlogged"."commitments", "receipt_unlogged"."iss", "receipt_unlogged"."log_origin") IN (0, 4)
        AND octet_length("receipt_unlogged"."salts") = 16 * "receipt_unlogged"."receipt_count" AND octet_length("receipt_unlogged"."commitments") = 32 * "receipt_unlogged"."receipt_count"
        AND ("receipt_unlogged"."salts" IS NOT NULL OR "receipt_unlogged"."receipt_count" = 1));
--> statement-breakpoint
-- What is logged becomes runs of what stands there one after another. A new table: rows of the old one are never rewritten.
ALTER TABLE "receipt_commitment" RENAME TO "receipt_commitment_single";
--> statement-breakpoint
CREATE TABLE "receipt_commitment" (
	"bucket" smallint NOT NULL,
	"tool_id" uuid NOT NULL,
	"lane" text NOT NULL,
	"seq" bigint NOT NULL,
	"leaf_index" bigint NOT NULL,
	"receipt_count" integer NOT NULL,
	"salts" "bytea" NOT NULL,
	"iss" text NOT NULL,
	"log_origin" text NOT NULL,
	CONSTRAINT "receipt_commitment_tool_id_lane_seq_bucket_pk" PRIMARY KEY("tool_id","lane","seq","bucket"),
	CONSTRAINT "receipt_commitment_salts" CHECK ("receipt_commitment"."receipt_count" > 0 AND octet_length("receipt_commitment"."salts") = 16 * "receipt_commitment"."receipt_count")
);
--> statement-breakpoint
INSERT INTO "receipt_commitment" ("bucket", "tool_id", "lane", "seq", "leaf_index", "receipt_count", "salts", "iss", "log_origin")
  SELECT coalesce(min(l."bucket"), 0), s."tool_id", s."lane", min(s."seq"), min(s."leaf_index"), count(*), string_agg(s."salt", ''::bytea ORDER BY s."seq"), s."iss", s."log_origin"
  FROM (SELECT r."tool_id", r."lane", r."seq", c."leaf_index", c."salt", c."iss", c."log_origin",
      -- The same for what follows each other in the lane and in the log, under one issuer.
      r."seq" - row_number() OVER (PARTITION BY r."tool_id", r."lane", c."iss", c."log_origin", c."leaf_index" - r."seq" ORDER BY r."seq") AS island
    FROM "receipt_commitment_single" c JOIN "receipt" r ON r."id" = c."receipt_id" AND r."bucket" = c."bucket") s
  LEFT JOIN (SELECT "tool_id", "lane", min("bucket") AS "bucket" FROM "receipt_lane" GROUP BY "tool_id", "lane") l
    ON l."tool_id" = s."tool_id" AND l."lane" = s."lane"
  GROUP BY s."tool_id", s."lane", s."iss", s."log_origin", s."leaf_index" - s."seq", s.island, s."seq" / 1000;
--> statement-breakpoint
ANALYZE "receipt_commitment";
--> statement-breakpoint
DO $$
DECLARE lost bigint;
BEGIN
  SELECT count(*) INTO lost FROM "receipt_commitment_single" c
    JOIN "receipt" r ON r."id" = c."receipt_id" AND r."bucket" = c."bucket"
    LEFT JOIN LATERAL (SELECT * FROM "receipt_commitment" n WHERE n."tool_id" = r."tool_id" AND n."lane" = r."lane" AND n."seq" <= r."seq"
      ORDER BY n."seq" DESC LIMIT 1) n ON true
    WHERE (n."leaf_index" + r."seq" - n."seq", substring(n."salts" FROM (r."seq" - n."seq")::int * 16 + 1 FOR 16), n."iss", n."log_origin")
      IS DISTINCT FROM (c."leaf_index", c."salt", c."iss", c."log_origin");
  IF lost > 0 THEN
    RAISE EXCEPTION '% receipts would not be opened any more as they were: nothing was changed', lost;
  END IF;
END $$;
--> statement-breakpoint
DROP TABLE "receipt_commitment_single";
--> statement-breakpoint
CREATE TRIGGER receipt_commitment_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receipt_commitment
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
-- Random bytes do not get smaller, and one salt is read without the others.
ALTER TABLE "receipt_unlogged" ALTER COLUMN "salts" SET STORAGE EXTERNAL, ALTER COLUMN "commitments" SET STORAGE EXTERNAL;
--> statement-breakpoint
ALTER TABLE "receipt_commitment" ALTER COLUMN "salts" SET STORAGE EXTERNAL;
--> statement-breakpoint
ALTER TABLE "receipt_batch" ALTER COLUMN "leaf_hashes" SET STORAGE EXTERNAL;
