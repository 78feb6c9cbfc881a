import { sql } from 'drizzle-orm';
import {
  bigint,
  boolean,
  check,
  customType,
  index,
  integer,
  json,
  jsonb,
  pgTable,
  primaryKey,
  text,
  timestamp,
  unique,
  uuid,
} from 'drizzle-orm/pg-core';

const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' });
const tsvector = customType<{ data: string }>({ dataType: () => 'tsvector' });
/** Milliseconds, which a Date holds exactly: cursors compare for equality. */
const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });
const amount = (name: string) => bigint(name, { mode: 'bigint' });

/** Whoever may publish: an account of its own, so that a lost key takes no listing with it. */
export const catalogPublisher = pgTable('catalog_publisher', {
  id: uuid('id').primaryKey(),
  /** Bytes of the code and layers of its versions, each counted once. */
  storedBytes: amount('stored_bytes').notNull().default(sql`0`),
  createdAt: time('created_at').notNull(),
});

/** The first half of names, and the one publisher who may use it. */
export const catalogNamespace = pgTable(
  'catalog_namespace',
  {
    namespace: text('namespace').primaryKey(),
    publisherId: uuid('publisher_id')
      .notNull()
      .references(() => catalogPublisher.id),
    createdAt: time('created_at').notNull(),
  },
  (table) => [index('catalog_namespace_publisher').on(table.publisherId)],
);

/** A listed MCP server, as its newest version describes it. */
export const catalogServer = pgTable(
  'catalog_server',
  {
    id: uuid('id').primaryKey(),
    name: text('name').notNull(),
    publisherId: uuid('publisher_id')
      .notNull()
      .references(() => catalogPublisher.id),
    tier: text('tier', { enum: ['hobbyist', 'pro'] }).notNull(),
    description: text('description').notNull(),
    category: text('category').array().notNull(),
    /** Null when a self-hosted server does not tell. */
    language: text('language', { enum: ['python', 'node', 'go'] }),
    license: text('license'),
    repoUrl: text('repo_url'),
    /** Written before the version's own row, in the same transaction: no foreign key. */
    latestVersionId: uuid('latest_version_id').notNull(),
    /** What lists are sorted by: a copy out of the newest price list, which alone decides a charge. */
    listedAmountMcents: amount('listed_amount_mcents').notNull(),
    search: tsvector('search').notNull(),
    createdAt: time('created_at').notNull(),
    updatedAt: time('updated_at').notNull(),
    pausedAt: time('paused_at'),
    pauseReason: text('pause_reason'),
  },
  (table) => [
    unique('catalog_server_name').on(table.name),
    index('catalog_server_publisher').on(table.publisherId),
    index('catalog_server_by_time').on(table.createdAt, table.id).where(sql`${table.pausedAt} IS NULL`),
    index('catalog_server_by_name').on(sql`${table.name} COLLATE "C"`).where(sql`${table.pausedAt} IS NULL`),
    index('catalog_server_by_price')
      .on(table.listedAmountMcents, table.id)
      .where(sql`${table.pausedAt} IS NULL`),
    index('catalog_server_search').using('gin', table.search),
    index('catalog_server_category').using('gin', table.category),
    check('catalog_server_paused', sql`num_nulls(${table.pausedAt}, ${table.pauseReason}) IN (0, 2)`),
  ],
);

/** Code by what it is: the archive whose SHA-256 is the key. */
export const catalogCode = pgTable(
  'catalog_code',
  {
    sha256: text('sha256').primaryKey(),
    archive: bytea('archive').notNull(),
    /** Bytes of the archive. */
    size: integer('size').notNull(),
    createdAt: time('created_at').notNull(),
  },
  (table) => [
    check('catalog_code_sha256', sql`${table.sha256} ~ '^[0-9a-f]{64}$'`),
    check('catalog_code_size', sql`${table.size} = octet_length(${table.archive})`),
  ],
);

/** One published version: what ran, what it offered, and where the log says so. */
export const catalogVersion = pgTable(
  'catalog_version',
  {
    id: uuid('id').primaryKey(),
    serverId: uuid('server_id')
      .notNull()
      .references(() => catalogServer.id),
    version: text('version').notNull(),
    codeSha256: text('code_sha256')
      .notNull()
      .references(() => catalogCode.sha256),
    /** Null for a self-hosted server. */
    runtime: text('runtime', { enum: ['python', 'node', 'elf'] }),
    entrypoint: text('entrypoint').notNull(),
    /** The root file system it was inspected on; null for versions from before it was noted. */
    rootSha256: text('root_sha256'),
    layerSha256: text('layer_sha256'),
    /** `Limits` that it declared; the defaults stand for the rest. */
    limits: json('limits').notNull().default({}),
    hosts: text('hosts').array().notNull().default([]),
    /** What it said of itself (`ServerFace`). */
    face: json('face')
      .notNull()
      .default({ capabilities: { tools: {} }, info: {} }),
    /** Where a self-hosted server answers; null for hosted code. */
    endpointUrl: text('endpoint_url'),
    /** `json` and not `jsonb`: agents see the members of a schema in the order its author chose. */
    tools: json('tools').notNull(),
    toolNames: text('tool_names').array().notNull(),
    /** SHA-256 of the canonical JSON of `tools`. */
    toolsHash: text('tools_hash').notNull(),
    /** SHA-256 of everything the publisher said about this version but its code. */
    metadataHash: text('metadata_hash').notNull(),
    changelog: text('changelog'),
    /** The canonical JSON whose SHA-256 the log names; null for versions whose leaf names `toolsHash` instead. */
    manifest: text('manifest'),
    /** The publisher's detached signature over the archive, as it came, and the registered key it verified under. */
    signature: text('signature'),
    signatureFormat: text('signature_format', { enum: ['ssh', 'openpgp', 'minisign'] }),
    signatureKeyId: text('signature_key_id'),
    /** The same arguments give the same result, and anyone may have the code to see it. */
    isDeterministic: boolean('is_deterministic').notNull().default(false),
    logIndex: amount('log_index').notNull(),
    createdAt: time('created_at').notNull(),
  },
  (table) => [
    unique('catalog_version_number').on(table.serverId, table.version),
    unique('catalog_version_log_index').on(table.logIndex),
    index('catalog_version_code').on(table.codeSha256),
    check('catalog_version_tools_hash', sql`${table.toolsHash} ~ '^[0-9a-f]{64}$'`),
    check('catalog_version_log', sql`${table.logIndex} >= 0`),
    check(
      'catalog_version_signature',
      sql`num_nulls(${table.signature}, ${table.signatureFormat}, ${table.signatureKeyId}) IN (0, 3)`,
    ),
  ],
);

/** Versions that their publisher took back: nothing new starts on them. */
export const catalogYank = pgTable('catalog_yank', {
  versionId: uuid('version_id')
    .primaryKey()
    .references(() => catalogVersion.id),
  logIndex: amount('log_index').notNull(),
  yankedAt: time('yanked_at').notNull(),
});

/** What calls cost from some moment on; a server's highest number applies. */
export const catalogPriceList = pgTable(
  'catalog_price_list',
  {
    serverId: uuid('server_id')
      .notNull()
      .references(() => catalogServer.id),
    /** Counts from 1 without a gap, so that clocks do not decide which list is newest. */
    number: integer('number').notNull(),
    id: uuid('id').notNull().unique(),
    model: text('model', { enum: ['free', 'per_call'] }).notNull(),
    amountMcents: amount('amount_mcents').notNull(),
    /** Tool name to millicents, for the tools with a price of their own. */
    tools: jsonb('tools').notNull(),
    /** Calls that are free, as the publish JSON spells them. */
    free: jsonb('free'),
    settle: text('settle', { enum: ['after-run', 'before-run'] })
      .notNull()
      .default('after-run'),
    createdAt: time('created_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.serverId, table.number] }),
    check('catalog_price_list_amount', sql`${table.amountMcents} >= 0`),
    check('catalog_price_list_number', sql`${table.number} > 0`),
  ],
);
