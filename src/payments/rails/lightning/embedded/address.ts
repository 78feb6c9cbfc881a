import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { addressSchema, type ServiceAddress } from './api.ts';

const ADDRESS_FILE = 'service.json';

/** Where the service of a folder is, or was when it last ran. */
export function readAddress(folder: string): ServiceAddress | undefined {
  const path = join(folder, ADDRESS_FILE);
  if (!existsSync(path)) return undefined;
  return addressSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
}

/** Says where the service is; whoever reads meanwhile finds the old place or the new one. */
export function writeAddress(folder: string, address: ServiceAddress): void {
  const path = join(folder, ADDRESS_FILE);
  writeFileSync(`${path}.draft`, JSON.stringify(address), { mode: 0o600 });
  renameSync(`${path}.draft`, path);
}
