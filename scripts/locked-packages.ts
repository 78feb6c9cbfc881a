import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Whether what npm wrote down of its installation in a folder has the versions of the folder's lock file. */
export function hasLockedPackages(folder: string): boolean {
  const record = join(folder, 'node_modules/.package-lock.json');
  if (!existsSync(record)) return false;
  const there = readVersions(record);
  return [...readVersions(join(folder, 'package-lock.json'))].every(
    ([path, { version, isOptional }]) => there.get(path)?.version === version || isOptional,
  );
}

type Version = { version: string; isOptional: boolean };

function readVersions(path: string): Map<string, Version> {
  const lock: { packages: Record<string, { version: string; optional?: boolean }> } = JSON.parse(
    readFileSync(path, 'utf8'),
  );
  const packages = Object.entries(lock.packages).filter(([folder]) => folder !== '');
  return new Map(
    packages.map(([folder, { version, optional }]) => [folder, { version, isOptional: optional === true }]),
  );
}
