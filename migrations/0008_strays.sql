CREATE TABLE "payment_stray_cursor" (
	"source" text PRIMARY KEY NOT NULL,
	"cursor" bigint NOT NULL,
	"saved_at" timestamp with time zone DEFAULT now() NOT NULL
);
