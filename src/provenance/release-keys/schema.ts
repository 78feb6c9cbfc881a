import { sql } from 'drizzle-orm';
import { check, pgTable, primaryKey, text, uuid } from 'drizzle-orm/pg-core';
import { bytea, int8, time } from '../../db/columns.ts';

/** A publisher's public key for releases, as the version log has it. */
export const releaseKey = pgTable(
  'release_key',
  {
    publisherId: uuid('publisher_id').notNull(),
    /** The fingerprint: `SHA256:...` of SSH, hex of OpenPGP, the key id of minisign. */
    keyId: text('key_id').notNull(),
    format: text('format', { enum: ['ssh', 'openpgp', 'minisign'] }).notNull(),
    publicKey: bytea('public_key').notNull(),
    expiresAt: time('expires_at'),
    addedIndex: int8('added_index').notNull(),
    addedAt: time('added_at').notNull(),
    revokedIndex: int8('revoked_index'),
    revokedAt: time('revoked_at'),
  },
  (table) => [
    primaryKey({ columns: [table.publisherId, table.keyId] }),
    check('release_key_revoked', sql`num_nulls(${table.revokedIndex}, ${table.revokedAt}) IN (0, 2)`),
  ],
);
