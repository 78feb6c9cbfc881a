import { bigint, customType, timestamp } from 'drizzle-orm/pg-core';

/** The column types that every schema uses. */
export const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' });
export const time = (name: string) => timestamp(name, { withTimezone: true });
/** A 64-bit integer as a bigint: amounts, counts, indexes. */
export const int8 = (name: string) => bigint(name, { mode: 'bigint' });
