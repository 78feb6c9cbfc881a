ALTER TABLE "catalog_version" ADD COLUMN "root_sha256" text;--> statement-breakpoint
ALTER TABLE "catalog_version" ADD COLUMN "layer_sha256" text;--> statement-breakpoint
ALTER TABLE "catalog_version" ADD COLUMN "limits" json DEFAULT '{}'::json NOT NULL;--> statement-breakpoint
ALTER TABLE "catalog_version" ADD COLUMN "hosts" text[] DEFAULT '{}' NOT NULL;--> statement-breakpoint
ALTER TABLE "catalog_version" ADD COLUMN "face" json DEFAULT '{"capabilities":{"tools":{}},"info":{}}'::json NOT NULL;--> statement-breakpoint
ALTER TABLE "catalog_version" ADD COLUMN "endpoint_url" text;