import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import type { Root } from '../../../src/execution/index.ts';
import { injectCode } from '../../../src/execution/inject.ts';
import { openMcpSession } from '../../../src/execution/mcp-session.ts';
import { ECHO_ARGUMENTS, ECHO_CODE } from './echo-server.ts';

export type DockerPeer = { call(): Promise<void>; close(): Promise<void> } | { missing: string };

const IMAGE = 'millicent-bench-python';
const CLI_TIMEOUT_MS = 120_000;
const run = promisify(execFile);

/** `docker run` of the sandbox's own root with the same server in it, where an engine answers. */
export async function findDockerPeer(workDir: string, root: Root | undefined): Promise<DockerPeer> {
  const options = { timeout: CLI_TIMEOUT_MS };
  const isThere = await run('docker', ['version', '--format', '{{.Server.Version}}'], options).then(
    () => true,
    () => false,
  );
  if (!isThere || root === undefined) return { missing: 'no Docker engine answers' };
  await importImage(join(workDir, 'roots', `python-${root.sha256}`, 'root'));
  const program = `/usr/bin/python${root.version.split('.').slice(0, 2).join('.')}`;
  return {
    call: () => callOnce(program),
    close: async () => {
      await run('docker', ['image', 'rm', '--force', IMAGE], options);
    },
  };
}

async function importImage(folder: string): Promise<void> {
  const tar = spawn('tar', ['-C', folder, '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const docker = spawn('docker', ['import', '-', IMAGE], { stdio: ['pipe', 'ignore', 'inherit'] });
  const ended = new Promise<number | null>((resolve) => docker.once('close', resolve));
  await pipeline(tar.stdout, docker.stdin);
  if ((await ended) !== 0) throw new Error('docker import failed');
}

async function callOnce(program: string): Promise<void> {
  const hold = ['--network', 'none', '--read-only', '--cap-drop', 'ALL', '--user', '65534:65534'];
  const places = ['--tmpfs', '/tmp:mode=1777', '--tmpfs', '/mcp:uid=65534,gid=65534,mode=0700'];
  const start = [program, '-B', '/usr/lib/millicent/bootstrap.py'];
  const child = spawn('docker', ['run', '--rm', '-i', ...hold, ...places, IMAGE, ...start], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('exit', () => reject(new Error('docker run failed')));
  });
  injectCode(child, ECHO_CODE);
  const session = openMcpSession({ ...child, stderr: child.stdout }, { outputBytesMax: 1024 * 1024 });
  await session.greet('initialize');
  const reply = await session.request('tools/call', { name: 'echo', arguments: ECHO_ARGUMENTS });
  if (reply.kind !== 'result') throw new Error('the server in docker did not answer');
  // The server ends with its stdin, and the container with it; that is not part of the call.
  child.stdin.end();
}
