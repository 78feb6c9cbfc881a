CREATE TABLE "ledger_verified" (
	"bucket" smallint NOT NULL,
	"account_id" uuid NOT NULL,
	"unit" text NOT NULL,
	"balance" numeric(78, 0) NOT NULL,
	CONSTRAINT "ledger_verified_account_id_unit_bucket_pk" PRIMARY KEY("account_id","unit","bucket")
);
--> statement-breakpoint
CREATE TABLE "ledger_verified_mark" (
	"id" smallint PRIMARY KEY NOT NULL,
	"up_to" timestamp with time zone NOT NULL,
	"full_at" timestamp with time zone NOT NULL,
	CONSTRAINT "ledger_verified_mark_one" CHECK ("ledger_verified_mark"."id" = 1)
);
--> statement-breakpoint
CREATE TABLE "rate_bucket" (
	"name" text PRIMARY KEY NOT NULL,
	"tokens" double precision NOT NULL,
	"updated_at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
-- What a charge writes carries the bucket of its payer, so that a charge cut by bucket touches one shard. Nobody
-- writes meanwhile: a row that came after it was copied would be lost.
LOCK TABLE ledger_payer, ledger_hold, ledger_cap, ledger_entry, free_take, payment_claim, payment_answer, receipt, receipt_lane,
  receipt_batch, receipt_unlogged, receipt_commitment IN ACCESS EXCLUSIVE MODE;
--> statement-breakpoint
-- `bucketOf` of core/ids.ts.
CREATE FUNCTION pg_temp.bucket_of(id uuid) RETURNS smallint LANGUAGE sql IMMUTABLE AS
  $$ SELECT (get_byte(uuid_send(id), 15) % 64)::smallint $$;
--> statement-breakpoint
UPDATE ledger_hold SET bucket = pg_temp.bucket_of(account_id) WHERE bucket <> pg_temp.bucket_of(account_id);
--> statement-breakpoint
UPDATE ledger_cap c SET bucket = pg_temp.bucket_of(k.account_id) FROM api_key k WHERE k.id = c.id;
--> statement-breakpoint
UPDATE free_take SET bucket = pg_temp.bucket_of(account_id) WHERE bucket <> pg_temp.bucket_of(account_id);
--> statement-breakpoint
ALTER TABLE receipt_lane ADD COLUMN bucket smallint DEFAULT 0 NOT NULL,
  DROP CONSTRAINT receipt_lane_tool_id_lane_pk,
  ADD CONSTRAINT receipt_lane_tool_id_lane_bucket_pk PRIMARY KEY (tool_id, lane, bucket);
--> statement-breakpoint
ALTER TABLE receipt_batch ADD COLUMN receipt_buckets smallint[];
--> statement-breakpoint
-- The journal, by month.
DROP VIEW ledger_leg;
--> statement-breakpoint
ALTER TABLE ledger_entry RENAME TO ledger_entry_whole;
--> statement-breakpoint
CREATE TABLE ledger_entry (
  bucket smallint NOT NULL,
  transfer_id uuid NOT NULL,
  leg smallint NOT NULL,
  kind text NOT NULL,
  debit_id uuid NOT NULL,
  credit_id uuid NOT NULL,
  unit text NOT NULL,
  amount bigint NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  available_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT ledger_entry_transfer_id_leg_created_at_bucket_pk PRIMARY KEY (transfer_id, leg, created_at, bucket),
  CONSTRAINT ledger_entry_positive CHECK (amount > 0),
  CONSTRAINT ledger_entry_two_accounts CHECK (debit_id <> credit_id)
) PARTITION BY RANGE (created_at);
--> statement-breakpoint
CREATE TABLE ledger_entry_default PARTITION OF ledger_entry DEFAULT;
--> statement-breakpoint
-- From the first month that has entries to three months from now; later ones are made by a job.
DO $$
DECLARE month timestamp := date_trunc('month', coalesce((SELECT min(created_at) FROM ledger_entry_whole), now()) AT TIME ZONE 'UTC');
BEGIN
  WHILE month <= (now() AT TIME ZONE 'UTC') + interval '3 months' LOOP
    EXECUTE format('CREATE TABLE %I PARTITION OF ledger_entry FOR VALUES FROM (%L) TO (%L)',
      'ledger_entry_' || to_char(month, 'YYYY_MM'), month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
    month := month + interval '1 month';
  END LOOP;
END $$;
--> statement-breakpoint
INSERT INTO ledger_entry (bucket, transfer_id, leg, kind, debit_id, credit_id, unit, amount, created_at, available_at)
SELECT pg_temp.bucket_of(coalesce(p.payer_id, e.transfer_id)), e.transfer_id, e.leg, e.kind, e.debit_id, e.credit_id, e.unit,
  e.amount, e.created_at, e.available_at
FROM ledger_entry_whole e LEFT JOIN (
  SELECT transfer_id, min(payer_id::text)::uuid AS payer_id FROM (
    SELECT x.transfer_id, y.id AS payer_id FROM ledger_entry_whole x JOIN ledger_payer y ON y.id = x.debit_id
    UNION ALL
    SELECT x.transfer_id, y.id FROM ledger_entry_whole x JOIN ledger_payer y ON y.id = x.credit_id) s
  GROUP BY transfer_id) p ON p.transfer_id = e.transfer_id;
--> statement-breakpoint
DROP TABLE ledger_entry_whole;
--> statement-breakpoint
CREATE INDEX ledger_entry_share ON ledger_entry USING btree (credit_id, created_at) WHERE kind = 'share';
--> statement-breakpoint
-- The journal leg by leg, with signs (credit minus debit), to be summed by hand.
CREATE VIEW ledger_leg AS
  SELECT transfer_id, leg, kind, debit_id AS account_id, unit, amount AS debit, 0::bigint AS credit, -amount AS signed, created_at, available_at FROM ledger_entry
  UNION ALL
  SELECT transfer_id, leg, kind, credit_id, unit, 0::bigint, amount, amount, created_at, available_at FROM ledger_entry;
--> statement-breakpoint
-- Receipts, claims and answers, by bucket.
ALTER TABLE receipt RENAME TO receipt_whole;
--> statement-breakpoint
CREATE TABLE receipt (
  bucket smallint NOT NULL,
  id uuid NOT NULL,
  tool_id uuid NOT NULL,
  version_id uuid NOT NULL,
  tool_name text NOT NULL,
  lane text NOT NULL,
  seq bigint NOT NULL,
  payer text NOT NULL,
  price bigint NOT NULL,
  fee bigint NOT NULL,
  rail text NOT NULL,
  payment_ref text NOT NULL,
  request_hash bytea NOT NULL,
  response_hash bytea NOT NULL,
  batch_id uuid,
  issued_at timestamp with time zone DEFAULT now() NOT NULL,
  CONSTRAINT receipt_seq_positive CHECK (seq > 0),
  CONSTRAINT receipt_price CHECK (price > 0 AND fee >= 0 AND fee <= price),
  CONSTRAINT receipt_hash_length CHECK (octet_length(request_hash) = 32 AND octet_length(response_hash) = 32)
) PARTITION BY HASH (bucket);
--> statement-breakpoint
ALTER TABLE payment_claim RENAME TO payment_claim_whole;
--> statement-breakpoint
CREATE TABLE payment_claim (LIKE payment_claim_whole INCLUDING DEFAULTS) PARTITION BY HASH (bucket);
--> statement-breakpoint
ALTER TABLE payment_answer RENAME TO payment_answer_whole;
--> statement-breakpoint
CREATE TABLE payment_answer (LIKE payment_answer_whole INCLUDING DEFAULTS) PARTITION BY HASH (bucket);
--> statement-breakpoint
DO $$
DECLARE
  parent text;
  part integer;
BEGIN
  FOREACH parent IN ARRAY ARRAY['receipt', 'payment_claim', 'payment_answer'] LOOP
    FOR part IN 0..3 LOOP
      EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS 4, REMAINDER %s)', parent || '_p' || part, parent, part);
    END LOOP;
  END LOOP;
END $$;
--> statement-breakpoint
INSERT INTO receipt (bucket, id, tool_id, version_id, tool_name, lane, seq, payer, price, fee, rail, payment_ref, request_hash,
  response_hash, batch_id, issued_at)
SELECT coalesce(h.bucket, r.bucket), r.id, r.tool_id, r.version_id, r.tool_name, r.lane, r.seq, r.payer, r.price, r.fee, r.rail,
  r.payment_ref, r.request_hash, r.response_hash, r.batch_id, r.issued_at
FROM receipt_whole r LEFT JOIN ledger_hold h ON h.id = r.id;
--> statement-breakpoint
INSERT INTO payment_claim SELECT * FROM payment_claim_whole;
--> statement-breakpoint
INSERT INTO payment_answer SELECT * FROM payment_answer_whole;
--> statement-breakpoint
DROP TABLE receipt_whole, payment_claim_whole, payment_answer_whole;
--> statement-breakpoint
ALTER TABLE receipt
  ADD CONSTRAINT receipt_id_bucket_pk PRIMARY KEY (id, bucket),
  ADD CONSTRAINT receipt_seq UNIQUE (tool_id, lane, seq, bucket);
--> statement-breakpoint
ALTER TABLE payment_claim ADD CONSTRAINT payment_claim_id_bucket_pk PRIMARY KEY (id, bucket);
--> statement-breakpoint
CREATE INDEX payment_claim_open ON payment_claim USING btree (next_attempt_at) WHERE state IN ('running', 'settling');
--> statement-breakpoint
CREATE INDEX payment_claim_let_go ON payment_claim USING btree (next_attempt_at) WHERE state = 'failed' AND reference IS NULL AND rail IS NOT NULL;
--> statement-breakpoint
CREATE INDEX payment_claim_not_final ON payment_claim USING btree (next_attempt_at)
  WHERE state IN ('delivered', 'failed') AND reference IS NOT NULL AND final_at IS NULL AND rail IS NOT NULL;
--> statement-breakpoint
CREATE INDEX payment_claim_waiting ON payment_claim USING btree (worker) WHERE answer_state = 'waiting';
--> statement-breakpoint
CREATE INDEX payment_claim_owed ON payment_claim USING btree (payer, request_digest, created_at);
--> statement-breakpoint
ALTER TABLE payment_answer ADD CONSTRAINT payment_answer_id_bucket_pk PRIMARY KEY (id, bucket);
--> statement-breakpoint
CREATE INDEX payment_answer_payer ON payment_answer USING btree (payer);
--> statement-breakpoint
CREATE INDEX payment_answer_expiry ON payment_answer USING btree (expires_at);
--> statement-breakpoint
-- What is found beside a receipt is where the receipt is. Not one of these is a fact that was proven.
ALTER TABLE receipt_commitment DISABLE TRIGGER receipt_commitment_append_only;
--> statement-breakpoint
UPDATE receipt_commitment c SET bucket = r.bucket FROM receipt r WHERE r.id = c.receipt_id AND r.bucket <> c.bucket;
--> statement-breakpoint
ALTER TABLE receipt_commitment ENABLE TRIGGER receipt_commitment_append_only;
--> statement-breakpoint
UPDATE receipt_unlogged u SET bucket = r.bucket FROM receipt r WHERE r.id = u.receipt_id AND r.bucket <> u.bucket;
--> statement-breakpoint
UPDATE receipt_batch b SET receipt_buckets = (
  SELECT array_agg(r.bucket ORDER BY t.ord) FROM unnest(b.receipt_ids) WITH ORDINALITY AS t(id, ord) JOIN receipt r ON r.id = t.id)
  WHERE b.signed_at IS NULL;
--> statement-breakpoint
-- A statement trigger does not see who addresses a partition: each has its own.
CREATE TRIGGER ledger_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('this table is append-only');
--> statement-breakpoint
CREATE TRIGGER receipt_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receipt
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite('what is proven here is never rewritten');
--> statement-breakpoint
DO $$
DECLARE part record;
BEGIN
  FOR part IN SELECT c.relname AS name, p.relname AS parent FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_class p ON p.oid = i.inhparent WHERE i.inhparent IN ('ledger_entry'::regclass, 'receipt'::regclass)
  LOOP
    EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite(%L)',
      part.parent || '_append_only', part.name,
      CASE part.parent WHEN 'receipt' THEN 'what is proven here is never rewritten' ELSE 'this table is append-only' END);
  END LOOP;
END $$;
