import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Why Go's tests cannot run here; undefined when there is Go, which `debian-packages.ts` installs. */
export function requireGo(): string | undefined {
  if (spawnSync('go', ['version'], { stdio: 'ignore' }).status === 0) return undefined;
  return 'Go is missing: install it (on Debian, as root: apt-get install golang-go).';
}

export type GoProgram = { path: string; remove(): void };

const BUILD_TIMEOUT_MS = 240_000;

/** Builds the program of a folder, with nothing from the network. */
export function buildGo(folder: string): GoProgram {
  const out = mkdtempSync(join(tmpdir(), 'millicent-go-'));
  const path = join(out, 'program');
  runGo(folder, ['build', '-o', path, '.']);
  return { path, remove: () => rmSync(out, { recursive: true, force: true }) };
}

/** Runs `go` in a folder; throws with what it complained about. */
export function runGo(folder: string, args: string[]): string {
  const { status, stdout, stderr } = spawnSync('go', args, {
    cwd: folder,
    env: { ...process.env, GOPROXY: 'off', GOFLAGS: '-mod=mod', GOTOOLCHAIN: 'local', CGO_ENABLED: '0' },
    encoding: 'utf8',
    timeout: BUILD_TIMEOUT_MS,
  });
  if (status !== 0) throw new Error(`go ${args.join(' ')}: ${stderr || stdout}`);
  return stdout;
}
