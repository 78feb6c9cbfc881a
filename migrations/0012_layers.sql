CREATE TABLE "catalog_layer" (
	"sha256" text PRIMARY KEY NOT NULL,
	"size" bigint NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "catalog_layer_sha256" CHECK ("catalog_layer"."sha256" ~ '^[0-9a-f]{64}$')
);
--> statement-breakpoint
CREATE TABLE "catalog_layer_part" (
	"sha256" text NOT NULL,
	"number" integer NOT NULL,
	"content" "bytea" NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "catalog_layer_part_sha256_number_pk" PRIMARY KEY("sha256","number"),
	CONSTRAINT "catalog_layer_part_size" CHECK (octet_length("catalog_layer_part"."content") BETWEEN 1 AND 8388608)
);
--> statement-breakpoint
CREATE TABLE "catalog_layer_recipe" (
	"recipe_hash" text PRIMARY KEY NOT NULL,
	"sha256" text NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"used_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "catalog_layer_recipe_hash" CHECK ("catalog_layer_recipe"."recipe_hash" ~ '^[0-9a-f]{64}$')
);
--> statement-breakpoint
ALTER TABLE "catalog_layer_recipe" ADD CONSTRAINT "catalog_layer_recipe_sha256_catalog_layer_sha256_fk" FOREIGN KEY ("sha256") REFERENCES "public"."catalog_layer"("sha256") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "catalog_layer_recipe_layer" ON "catalog_layer_recipe" USING btree ("sha256");