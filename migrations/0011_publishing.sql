ALTER TABLE "catalog_server" ALTER COLUMN "language" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "catalog_version" ALTER COLUMN "runtime" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "catalog_publisher" ADD COLUMN "stored_bytes" bigint DEFAULT 0 NOT NULL;