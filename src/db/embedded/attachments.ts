import { randomUUID } from 'node:crypto';
import { readdir, readlink, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { identifyProcess, isRunning } from './process-identity.ts';

/** Notes that this process uses the server; the answer is the note, to be withdrawn with `detach`. */
export async function attach(folder: string): Promise<string> {
  const note = join(folder, `${process.pid}.${randomUUID()}`);
  await symlink(identifyProcess(process.pid) ?? String(process.pid), note);
  return note;
}

export async function detach(note: string): Promise<void> {
  await rm(note, { force: true });
}

/** Whether any living process uses the server; the notes of dead ones are swept away. */
export async function isAnyoneAttached(folder: string): Promise<boolean> {
  let living = 0;
  for (const name of await readdir(folder)) {
    const note = join(folder, name);
    if (isRunning(await readlink(note))) living += 1;
    else await detach(note);
  }
  return living > 0;
}
